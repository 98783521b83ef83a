"""What every objective must keep with every model that it trains: a pure step,
groups, packing, resuming."""

from __future__ import annotations

import copy
import sys
from functools import partial

import pytest
import torch
from torch.func import functional_call, grad

from vaebench import kernels, objectives, optim
from vaebench.objectives.base import Batch
from vaebench.rng import noise
from vaebench.training import choice
from vaebench.training import engines as fast

SEEDS = [0, 2]
UPDATES = 6
BATCH = 4

OPTIMS = {
    "sgd": {"name": "sgd", "rate": 0.01},
    "adam": {"name": "adam", "rate": 0.01, "epsilon": 1e-3},
}


def step_inputs(rule, x, draw):
    """State (not the initial one), batch and noise of one update."""
    # Markov chains are bits, everything else is a number.
    start = rule.state(0, len(x))
    chains = {name for name, v in start.items() if set(v.unique().tolist()) == {0.0, 1.0}}
    state = {name: 1 - v if name in chains else v + 0.5 for name, v in start.items()}
    batch = Batch(x, rows=torch.arange(len(x)), **clock(3))
    return state, batch, draw(rule.draws(*x.shape))


def clock(update):
    """What a step is told of the time, with six updates and six examples."""
    times = {"progress": update / UPDATES, "passes": (update + 1) * BATCH / 6}
    return {"update": torch.tensor(update), **{k: torch.tensor(v) for k, v in times.items()}}


def test_an_objective_without_tiny_settings_of_its_own_fails(request, monkeypatch):
    cases = next(
        p for p in request.config.pluginmanager.get_plugins() if hasattr(p, "objective_cases")
    )
    assert {case.objective["name"] for case in cases.objective_cases()} == set(
        objectives.OBJECTIVES
    )

    # Those of the class that it derives from do not count.
    monkeypatch.delattr(objectives.Aggressive, "tiny")
    (case,) = [case for case in cases.objective_cases() if case.missing]
    with pytest.raises(pytest.fail.Exception, match=r"objective Aggressive has no tiny settings"):
        case.build()


def test_the_step_is_pure(objective_case, x, draw):
    rule = objective_case.rule()
    inputs = step_inputs(rule, x, draw)
    copies = copy.deepcopy(inputs)
    buffers = {k: v.clone() for k, v in rule.state_dict().items()}
    loss, state, metrics = rule(*inputs)
    repeated = rule(*inputs)

    # Twice the same step: the same bits.
    for first, second in zip(
        ({"loss": loss}, state, metrics), ({"loss": repeated[0]}, *repeated[1:]), strict=True
    ):
        assert first.keys() == second.keys()
        assert all(torch.equal(first[k], second[k]) for k in first)

    # Neither the inputs nor the buffers of the objective were changed.
    torch.testing.assert_close(inputs, copies, rtol=0, atol=0)
    assert all(torch.equal(v, buffers[k]) for k, v in rule.state_dict().items())


def test_what_a_step_returns(objective_case, x, draw):
    rule = objective_case.rule()
    state, batch, draws = step_inputs(rule, x, draw)
    loss, new_state, metrics = rule(state, batch, draws)

    assert loss.shape == ()
    assert torch.isfinite(loss)
    assert {k: (v.shape, v.dtype) for k, v in new_state.items()} == {
        k: (v.shape, v.dtype) for k, v in state.items()
    }
    assert not any(v.requires_grad for v in [*new_state.values(), *metrics.values()])
    assert metrics["bound"].shape == ()
    assert {name: tuple(v.shape) for name, v in draws.items()} == {
        n: s for n, (_, s) in rule.draws(*x.shape).items()
    }


def test_every_parameter_has_one_group_and_every_group_a_rate(objective_case):
    rule = objective_case.rule()
    groups = fast.group_of(rule)  # raises when one has none or several
    assert set(groups) == {name for name, _ in rule.named_parameters()}

    # The model learns by the group of p, the posterior by that of q.
    halves = {
        {"p": "model", "q": "posterior"}[name.split(".")[0]]
        for name, _ in rule.model.named_parameters()
    }
    assert halves <= set(groups.values()) <= set(rule.groups())

    for settings in OPTIMS.values():
        assert set(rule.groups()) <= set(optim.build(settings).rates)

    # A part in no group, then a part in two.
    rule.groups = lambda: {"model": "elsewhere."}
    with pytest.raises(ValueError, match="belongs to 0 groups"):
        fast.group_of(rule)

    rule.groups = lambda: {"model": "model.", "posterior": "model", "baseline": "baseline."}
    with pytest.raises(ValueError, match="belongs to 2 groups"):
        fast.group_of(rule)


def test_state_is_a_function_of_the_seed_and_its_rows_are_cases(objective_case):
    """State with the name of a buffer is that buffer's value. State named in ``per_case`` has a row
    for each example."""
    rule = objective_case.rule()
    state, repeated, other_seed = (rule.state(seed, 7) for seed in (0, 0, 1))
    assert all(torch.equal(v, repeated[k]) for k, v in state.items())

    # Chains, which are bits, start from the seed.
    chains = [k for k, v in state.items() if set(v.unique().tolist()) == {0.0, 1.0}]
    assert not any(torch.equal(state[k], other_seed[k]) for k in chains)
    assert set(rule.per_case) <= set(state)
    assert all(len(state[k]) == 7 for k in rule.per_case)

    for name, buffer in rule.named_buffers():
        assert name not in state or state[name].shape == buffer.shape, name


def test_functional_gradient_is_that_of_autograd(objective_case, x, draw):
    """The values in the module do not matter, only those handed over."""
    if objective_case.objective.get("gradient", "exact") != "exact":
        pytest.skip("it finds its gradient by itself")

    rule = objective_case.rule(seed=0)
    other_rule = objective_case.rule(seed=1)
    inputs = step_inputs(rule, x, draw)
    params = {k: v.detach().clone() for k, v in rule.named_parameters()}
    functional = grad(lambda p: functional_call(other_rule, p, inputs)[0])(params)
    rule(*inputs)[0].backward()

    for name, p in rule.named_parameters():
        torch.testing.assert_close(
            functional[name], p.grad, msg=lambda m, name=name: f"{name}: {m}"
        )


def test_every_group_learns(objective_case, x, draw):
    rule = objective_case.rule()
    rule(*step_inputs(rule, x, draw))[0].backward()
    for group in set(fast.group_of(rule).values()):
        grads = [
            p.grad for name, p in rule.named_parameters() if fast.group_of(rule)[name] == group
        ]
        assert any(g.abs().sum() > 0 for g in grads), group


def test_a_sum_is_the_batch_times_the_mean(objective_case, x, draw):
    if not hasattr(objective_case.rule(), "reduce"):
        pytest.skip("the mean over the cases, always")
    if objective_case.objective.get("weight_decay"):
        pytest.skip("the penalty stands beside the cases, whatever is done with these")
    total, mean = (objective_case.rule(reduce=r) for r in ("sum", "mean"))
    inputs = step_inputs(total, x, draw)
    losses = [rule(*inputs)[0] for rule in (total, mean)]

    torch.testing.assert_close(losses[0], len(x) * losses[1])

    for p, q in zip(total.parameters(), mean.parameters(), strict=True):
        (a,) = torch.autograd.grad(losses[0], p, retain_graph=True)
        (b,) = torch.autograd.grad(losses[1], q, retain_graph=True)
        torch.testing.assert_close(a, len(x) * b, rtol=1e-5, atol=1e-5)


# ------------------------------------------------------------------------------------------ packing


def make_pack(case, seeds, engine, x, parts=None, descent="sgd"):
    """A pack whose seeds start from different parameters, or that goes on from ``parts``."""
    rule = case.rule()
    update = optim.build(OPTIMS[descent])
    if parts is None:
        # Wake-sleep dreams real numbers far from what the posterior expects; with larger
        # parameters plain descent would diverge.
        dreams = case.objective["name"] == "wake_sleep" and rule.model.facts.density
        scale = 0.2 if dreams else 0.8
        params = [
            {k: v.detach() for k, v in case.rule(10 + s, scale).named_parameters()} for s in seeds
        ]
        parts = [
            (p, rule.state(s, len(x)), update.state(p)) for s, p in zip(seeds, params, strict=True)
        ]

    # Skip what the engine cannot run.
    layers = rule.model.kernel_layers
    plain_only = choice.only_plain(rule, case.kind) or layers
    if engine != "plain" and plain_only and not (layers and engine == "kernel"):
        pytest.skip("plain alone can run it")
    if engine == "kernel" and not choice.has_kernel(rule, update, case.kind):
        pytest.skip("no kernel")
    if engine == "kernel" and kernels.missing():
        pytest.skip(kernels.missing())

    # From a triple for each seed to three lists: parameters, states, optimiser states.
    parts = map(list, zip(*parts, strict=True))
    return fast.Pack(rule, update, *parts, data=x, engine=engine, updates=UPDATES, kind=case.kind)


def advance(pack, seeds, rows=slice(0, UPDATES)):
    """Do the updates ``rows``, in blocks as the objective wants it; return the metrics' sums."""
    block_length = pack.objective.block or UPDATES
    totals = {}
    for block in range(rows.start // block_length, -(-rows.stop // block_length)):
        first = block * block_length

        # The steps of this block that are among the rows.
        steps = slice(max(rows.start - first, 0), min(rows.stop - first, block_length))
        draws = noise.update_block(
            pack.draws(BATCH), seeds, block, torch.device("cpu"), block_length
        )
        order = noise.order_block(len(pack.data), BATCH, "replacement", seeds, block, block_length)
        sums = pack.advance(
            order[steps], {k: v[steps] for k, v in draws.items()}, None, first + steps.start
        )
        totals = {k: v + totals.get(k, 0.0) for k, v in sums.items()}

    return totals


TRAINED = {}


def trained(case, seeds, engine, x, descent="sgd"):
    """A pack after all updates, and the metrics' sums. It is trained once and shared by the tests,
    which must not change it."""
    key = (repr(case), tuple(seeds), engine, descent)
    if key not in TRAINED:
        TRAINED[key] = _trained(case, seeds, engine, x, descent)
    return TRAINED[key]


def _trained(case, seeds, engine, x, descent):
    pack = make_pack(case, seeds, engine, x, descent=descent)
    start_parameters = pack.seed(0)[0]
    sums = advance(pack, seeds)

    # Batch normalisation takes away the biases of the layer before it. All other parameters must
    # move, or a comparison of engines would say nothing.
    moving = [
        name for name in start_parameters if not (".dense." in name and name.endswith("bias"))
    ]

    assert all(not torch.equal(pack.seed(0)[0][name], start_parameters[name]) for name in moving)

    return pack, sums


def assert_same(a, b, exactly=False, rtol=1e-4):
    """Compare parameters, state and optimiser state of a seed. The rounding of a few updates in
    float32 stays below ``rtol``."""
    for part, other_part in zip(a, b, strict=True):
        assert part.keys() == other_part.keys()
        for name, value in part.items():
            tolerance = {"rtol": 0, "atol": 0} if exactly else {"rtol": rtol, "atol": 1e-5}
            torch.testing.assert_close(
                value, other_part[name], msg=lambda m, name=name: f"{name}: {m}", **tolerance
            )


def assert_equals_plain(engine, case, x, descent="sgd", rtol=1e-4):
    """Sums of the metrics, and all that belongs to each seed, are those of the plain engine."""
    (plain, sums), (tested, tested_sums) = (
        trained(case, SEEDS, e, x, descent) for e in ("plain", engine)
    )
    assert sums.keys() == tested_sums.keys()

    for name, total in sums.items():
        assert total.shape == (len(SEEDS),)
        assert total.dtype == torch.float64
        torch.testing.assert_close(total, tested_sums[name], rtol=1e-5, atol=1e-3)

    for r in range(len(SEEDS)):
        assert_same(plain.seed(r), tested.seed(r), rtol=rtol)


def test_packed_equals_plain(objective_case, x):
    assert_equals_plain("packed", objective_case, x)


def test_packed_equals_plain_by_adam(case_of_objective, x):
    """A pack holds Adam's moments beside the parameters, whatever their shapes. One model of each
    objective."""
    # Adam divides by the root of the second moment, so a gradient near 0 passes
    # on its rounding in full.
    assert_equals_plain("packed", case_of_objective, x, "adam", rtol=5e-4)


def test_kernels_equal_plain(objective_case, x):
    assert_equals_plain("kernel", objective_case, x)


@pytest.mark.parametrize("engine", ["plain", "packed", "kernel"])
def test_a_seed_does_not_see_the_seeds_beside_it(objective_case, x, engine):
    """Nor does it matter how many they are, nor which place it has among them."""
    (together, _), (alone, _) = (trained(objective_case, s, engine, x) for s in (SEEDS, [2]))
    # A packed product may be summed in another order.
    exactly = engine != "packed"
    assert_same(together.seed(1), alone.seed(0), exactly)


@pytest.mark.parametrize("engine", ["plain", "packed", "kernel"])
def test_a_resumed_pack_goes_on_exactly(objective_case, x, engine):
    uninterrupted = make_pack(objective_case, SEEDS, engine, x)
    first_sums = advance(uninterrupted, SEEDS, slice(0, 4))

    # Copies after four updates, then the last two updates with the first pack and a resumed one.
    copies = [uninterrupted.seed(r) for r in range(len(SEEDS))]
    last_sums = advance(uninterrupted, SEEDS, slice(4, UPDATES))
    resumed = make_pack(objective_case, SEEDS, engine, x, copies)
    resumed_sums = advance(resumed, SEEDS, slice(4, UPDATES))

    # The sums have the same names in both parts.
    assert all(torch.equal(last_sums[k], resumed_sums[k]) for k in first_sums)

    for r in range(len(SEEDS)):
        assert_same(uninterrupted.seed(r), resumed.seed(r), exactly=True)


def test_copies_of_a_seed_are_copies(objective_case, x):
    pack = make_pack(objective_case, SEEDS, "plain", x)
    copies = pack.seed(1)
    values_before = [{k: v.clone() for k, v in part.items()} for part in copies]
    advance(pack, SEEDS, slice(0, 3))

    assert_same(copies, values_before, exactly=True)


COMPILED = [
    (
        {"name": "sbn", "dims": [3, 4], "posterior": "autoregressive"},
        {"name": "nvil", "baseline_units": 5},
    ),
    ({"name": "darn", "dims": [4]}, {"name": "wake_sleep"}),
    ({"name": "linear_gaussian", "dims": [2]}, {"name": "iw_bound", "samples": 3}),
    (
        {"name": "rbm_vae", "latents": 4, "groups": 2, "layers": 1, "units": 3},
        {"name": "dvae_pp", "prior_chains": 6, "prior_sweeps": 2},
    ),
    (
        {"name": "rbm_posterior", "latents": 4, "layers": 1, "units": 3},
        {"name": "dvae_sharp_sharp", "prior_chains": 6, "prior_sweeps": 2, "discrete_sweeps": 2},
    ),
]


def assert_compiled_equals_plain(request, x, model, objective):
    cases = next(p for p in request.config.pluginmanager.get_plugins() if hasattr(p, "model_cases"))
    case = cases.Case(model, objective)
    (plain, sums), (compiled, compiled_sums) = (
        trained(case, SEEDS, engine, x) for engine in ("plain", "compiled")
    )

    for name, total in sums.items():
        torch.testing.assert_close(total, compiled_sums[name], rtol=1e-5, atol=1e-3)
    for r in range(len(SEEDS)):
        assert_same(plain.seed(r), compiled.seed(r))


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore::DeprecationWarning")  # of the compiler's own making
@pytest.mark.skipif(not choice.compiler_found(), reason="no C++ compiler")
@pytest.mark.parametrize(("model", "objective"), COMPILED)
def test_compiled_equals_plain(request, x, model, objective):
    assert_compiled_equals_plain(request, x, model, objective)


def test_the_compiled_step_as_traced_equals_plain(request, x, monkeypatch):
    """All that torch.compile does but the C++: one graph, its derivative, and
    what is changed in place.

    One case with every kind of part stands for all.
    """
    monkeypatch.setattr(torch, "compile", partial(torch.compile, backend="aot_eager"))
    monkeypatch.setattr(sys.modules[__name__], "TRAINED", {})
    assert_compiled_equals_plain(request, x, *COMPILED[0])


def test_the_optimiser_takes_the_step(objective_case, x):
    """One update of a pack is p - rate * gradient with each group's own rate."""
    rates = {"model": 0.1, "posterior": 0.03, "baseline": 0.02, "noise": 0.1}
    rule = objective_case.rule()
    update = optim.build(
        {"name": "sgd", "rate": 0.1, "posterior_rate": 0.03, "baseline_rate": 0.02}
    )
    params = {k: v.detach().clone() for k, v in rule.named_parameters()}
    start = rule.state(0, len(x))
    pack = fast.Pack(
        rule, update, [params], [start], [update.state(params)], data=x, kind=objective_case.kind
    )

    # Three examples, one of them twice; and the noise of one update.
    order = torch.tensor([[[1, 4, 4]]])
    draws = {
        k: v[:1]
        for k, v in noise.update_block(
            rule.draws(3, x.shape[1]), [7], 0, torch.device("cpu")
        ).items()
    }

    # The same step by autograd: per-example state is reduced to the rows of the batch.
    batch_state = {k: v[[1, 4, 4]] if k in rule.per_case else v for k, v in start.items()}
    batch = Batch(x[[1, 4, 4]], rows=order[0, 0], **clock(0))
    rule(batch_state, batch, {k: v[0, 0] for k, v in draws.items()})[0].backward()
    pack.advance(order, draws, None)

    for name, p in rule.named_parameters():
        stepped = params[name] - rates[fast.group_of(rule)[name]] * p.grad
        torch.testing.assert_close(pack.seed(0)[0][name], stepped)
