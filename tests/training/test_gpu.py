"""What only a GPU can show: the captured step is the plain one, and the estimators agree there too.

Deselected by default (see pyproject.toml); run with ``pytest -m gpu`` on a machine with CUDA.
"""

from __future__ import annotations

import pytest
import torch

from vaebench import models, objectives
from vaebench.check import checks as check
from vaebench.check.tiny import randomize
from vaebench.data.info import DataInfo
from vaebench.data.kinds import Kind
from vaebench.dists import autoregressive
from vaebench.estimators.importance_weighted import importance
from vaebench.optim import SGD
from vaebench.rng import noise
from vaebench.training import engines as fast

pytestmark = [
    pytest.mark.gpu,
    pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device"),
]

CPU = torch.device("cpu")
SEEDS = [0, 1, 2]
VISIBLE = 12
BATCH = 5

CASES = [
    ({"name": "sbn", "dims": [4, 6]}, {"name": "nvil", "baseline_units": 7}),
    (
        {"name": "sbn", "dims": [4, 70], "posterior": "autoregressive"},
        {"name": "nvil", "baseline_units": 7},
    ),
    ({"name": "darn", "dims": [6]}, {"name": "wake_sleep"}),
    ({"name": "linear_gaussian", "dims": [3]}, {"name": "iw_bound", "samples": 4}),
    ({"name": "bernoulli_mixture", "components": 3}, {"name": "likelihood"}),
]
IDS = [
    "sbn nvil",
    "autoregressive posterior nvil",
    "darn wake_sleep",
    "linear_gaussian iw_bound",
    "mixture, no noise",
]


@pytest.fixture(autouse=True)
def exact_products():
    """Multiply float32 in float32: products in TF32 are too coarse to be compared."""
    before = torch.backends.cuda.matmul.allow_tf32
    torch.backends.cuda.matmul.allow_tf32 = False
    yield
    torch.backends.cuda.matmul.allow_tf32 = before


def objective_of(model, objective):
    """Build an objective around a model of VISIBLE units."""
    return objectives.build(
        objective, models.build(model, DataInfo(torch.linspace(0.2, 0.7, VISIBLE)))
    )


def pack_of(config, device, engine, kind=Kind.BITS):
    """Three seeds with different parameters, drawn on the CPU."""
    objective = objective_of(*config)
    optimiser = SGD(0.003)
    parts_by_seed = []

    for seed in SEEDS:
        randomize(objective, 10 + seed, 0.3)
        params = {k: v.detach().clone().to(device) for k, v in objective.named_parameters()}
        state = {k: v.to(device) for k, v in objective.state().items()}
        parts_by_seed.append((params, state, optimiser.state(params)))

    # 50 examples, the same on each device; the bits are the grey values above the middle.
    grey = torch.randint(
        0, 256, (50, VISIBLE), generator=torch.Generator().manual_seed(0), dtype=torch.uint8
    )
    data = grey if kind is Kind.GREY else (grey > 127).to(torch.uint8)

    return fast.Pack(
        objective.to(device),
        optimiser,
        *map(list, zip(*parts_by_seed, strict=True)),
        data.to(device),
        kind,
        engine,
    )


def advance(pack, rows):
    """The updates ``rows`` of block 0, with noise that is drawn on the CPU and moved."""
    device = pack.data.device
    draws = noise.update_block(pack.objective.noise(BATCH), SEEDS, 0, CPU)

    order = noise.order_block(len(pack.data), BATCH, "replacement", SEEDS, 0)

    grey = (
        noise.binarize_block((BATCH, VISIBLE), SEEDS, 0, CPU)[rows].to(device)
        if pack.kind is Kind.GREY
        else None
    )

    return pack.advance(
        order[rows].to(device), {k: v[rows].to(device) for k, v in draws.items()}, grey
    )


def assert_same(pack, reference, exactly=False):
    """Assert that all seeds have the same parameters, states and optimiser states in both packs.

    If not exactly, they may differ by rounding, which 50 updates add up.
    """
    limits = {"rtol": 0, "atol": 0} if exactly else {"rtol": 1e-3, "atol": 1e-4}
    for r in range(len(SEEDS)):
        for part, other_part in zip(pack.seed(r), reference.seed(r), strict=True):
            assert part.keys() == other_part.keys()
            for name, v in part.items():
                torch.testing.assert_close(
                    v.cpu(),
                    other_part[name].cpu(),
                    msg=lambda m, name=name, r=r: f"seed {r}, {name}: {m}",
                    **limits,
                )


@pytest.mark.parametrize("engine", ["plain", "packed"])
@pytest.mark.parametrize("config", CASES, ids=IDS)
def test_the_same_noise_gives_the_same_training(config, engine):
    """50 updates in blocks of 20, 20 and 10: the last one is a shorter replay of the same step."""
    gpu = pack_of(config, "cuda", engine)
    cpu = pack_of(config, "cpu", "plain")
    params_at_start = gpu.seed(0)[0]

    for rows in (slice(0, 20), slice(20, 40), slice(40, 50)):
        sums = advance(gpu, rows)
        expected_sums = advance(cpu, rows)
        assert sums.keys() == expected_sums.keys()

        for name, v in sums.items():
            assert v.shape == (len(SEEDS),)
            torch.testing.assert_close(v.cpu(), expected_sums[name], rtol=1e-3, atol=1e-2)

    assert_same(gpu, cpu)

    # Something was trained, and only the packed engine captures its step.
    assert any(not torch.equal(v, params_at_start[name]) for name, v in gpu.seed(0)[0].items())
    assert (gpu._graph is None) == (engine == "plain")


@pytest.mark.filterwarnings("ignore::DeprecationWarning")  # of the compiler's own making
@pytest.mark.filterwarnings("ignore::UserWarning")
@pytest.mark.parametrize("config", CASES[:2], ids=IDS[:2])
def test_the_compiled_step_too(config):
    gpu = pack_of(config, "cuda", "compiled")
    cpu = pack_of(config, "cpu", "plain")

    for rows in (slice(0, 20), slice(20, 30)):
        advance(gpu, rows)
        advance(cpu, rows)

    assert_same(gpu, cpu)


def test_cases_binarized_at_each_visit():
    gpu, cpu = (
        pack_of(CASES[0], d, e, Kind.GREY) for d, e in (("cuda", "packed"), ("cpu", "plain"))
    )

    for rows in (slice(0, 20), slice(20, 25)):
        advance(gpu, rows)
        advance(cpu, rows)

    assert_same(gpu, cpu)


def test_capturing_does_not_train():
    """The updates that warm the step up before it is captured are taken back, all of them."""
    captured = pack_of(CASES[0], "cuda", "packed")
    reference = pack_of(CASES[0], "cpu", "plain")
    advance(captured, slice(0, 1))
    advance(reference, slice(0, 1))
    assert_same(captured, reference)


def test_a_captured_step_is_kept_for_shorter_blocks_and_made_anew_for_longer_ones():
    pack = pack_of(CASES[0], "cuda", "packed")
    reference = pack_of(CASES[0], "cpu", "plain")

    graphs = []

    for rows in (slice(0, 10), slice(10, 13), slice(13, 23), slice(23, 60)):
        advance(pack, rows)
        advance(reference, rows)
        graphs.append(pack._graph)

    # Blocks of 10, 3, 10 and 37 updates: only the last one is longer than the first.
    assert graphs[0] is graphs[1] is graphs[2]
    assert graphs[3] is not graphs[0]

    assert_same(pack, reference)


def test_replays_are_repeatable_and_a_resumed_pack_goes_on_exactly():
    pack, twin = (pack_of(CASES[0], "cuda", "packed") for _ in range(2))
    first = advance(pack, slice(0, 20))
    second = advance(twin, slice(0, 20))

    assert torch.equal(first["bound"], second["bound"])

    assert_same(pack, twin, exactly=True)

    state_of_twin = [twin.seed(r) for r in range(len(SEEDS))]
    resumed = fast.Pack(
        twin.objective,
        twin.optim,
        *map(list, zip(*state_of_twin, strict=True)),
        twin.data,
        engine="packed",
    )

    advance(pack, slice(20, 40))
    advance(resumed, slice(20, 40))
    assert_same(pack, resumed, exactly=True)


def test_copies_of_a_seed_outlive_the_next_replay():
    pack = pack_of(CASES[0], "cuda", "packed")
    sums = advance(pack, slice(0, 10))
    params = pack.seed(0)[0]
    sums_before = sums["bound"].clone()
    params_before = {k: v.clone() for k, v in params.items()}

    advance(pack, slice(10, 20))

    assert all(torch.equal(v, params_before[k]) for k, v in params.items())
    assert torch.equal(sums["bound"], sums_before)


@pytest.mark.parametrize("n", [1, 5, 64, 65, 130])
def test_autoregressive_sampling_is_that_of_the_cpu(n):
    """In float64: there no logit is so close to its noise that rounding would turn a bit over."""
    generator = torch.Generator().manual_seed(0)
    logits = torch.randn(20, n, generator=generator, dtype=torch.float64)
    weight = 3 * torch.randn(n, n, generator=generator, dtype=torch.float64)
    uniform = torch.rand(4, 20, n, generator=generator, dtype=torch.float64)
    expected = check.autoregressive_sample_by_units(logits, weight, uniform)

    assert torch.equal(autoregressive.sample(logits, weight, uniform), expected)
    assert torch.equal(
        autoregressive.sample(logits.cuda(), weight.cuda(), uniform.cuda()).cpu(), expected
    )


def test_passes_of_any_size_give_the_same_nll():
    model = check.tiny(check.MODELS["SBN 2-3"], 1, "cuda").requires_grad_(False)
    x = check.exact.states(check.VISIBLE).repeat(20, 1).cuda()

    results = [
        importance(model, x, 230, 0, chunk=c, batch=b)
        for c, b in ((None, None), (10, 100), (70, 300))
    ]

    # Sums in another order differ by rounding only.
    for r in results[1:]:
        assert r.nll == pytest.approx(results[0].nll, rel=1e-10)

    # Against enumeration: within 4.5 standard errors, plus the bias of the estimator, which is
    # about 1 / (2 ESS) and no part of its error.
    exact_nll = -float(check.exact.log_evidence(model, x).mean())
    assert abs(results[0].nll - exact_nll) < 4.5 * results[0].error + 0.5 / results[0].ess_min


def test_every_line_of_the_check_agrees():
    """The same lines as on the CPU. A GPU draws other numbers, as if the seeds were others."""
    lines = list(check.run(device="cuda"))
    assert len(lines) > 70
    assert [
        f"{line.name}: z = {line.z:.1f}, worst {line.worst:.1f}" for line in lines if not line.ok
    ] == []
