"""Training on documents: passes as the unit, an aggressive phase, rates that fall.

A run that was stopped anywhere goes on as if it had not been.
"""

from __future__ import annotations

import contextlib
import copy
import itertools

import pytest
import torch
from kit.parameters import equal

from vaebench import data
from vaebench.errors import Interrupted, UserError
from vaebench.optim import Verdict
from vaebench.training import bookkeeping, build, checkpoint, snapshots
from vaebench.training import loop as train
from vaebench.training.run_state import RunState, progress_of

pytestmark = pytest.mark.usefixtures("short_blocks")

CPU = torch.device("cpu")

CONFIG = {
    "data": {"name": "toy_text", "held_out": None, "held_out_seed": 0, "mirror": None},
    "model": {"name": "text_vae", "latents": 1, "embedding": 4, "units": 5, "init": "text",
              "init_scale": 0.01, "init_center": 0.0, "embedding_scale": 0.1,
              "embedding_center": 0.0},
    "objective": {"name": "aggressive", "inner_window": 2, "inner_most": 7, "kl_start": 0.1,
                  "mi_start": -9.0},
    "optim": {"name": "clipped_sgd", "rate": 1.0, "posterior_rate": None, "clip": 5.0,
              "patience": 1, "first": 0, "factor": 0.5, "decays": 5, "reload": True},
    "train": {"updates": 3, "unit": "epochs", "batch": 100, "order": "lengths", "valid_every": 1,
              "valid_samples": 1, "patience": None, "select": "valid_bound"},
}  # fmt: skip


@pytest.fixture(scope="module")
def splits():
    return data.load(CONFIG["data"])


@pytest.fixture
def go(splits, tmp_path):
    """Function that trains seed 0 from where it stands, with changes such as ``train__updates``."""

    def run(folder="run", stop=lambda: False, **changes):
        config = copy.deepcopy(CONFIG)
        for key, value in changes.items():
            group, _, name = key.partition("__")
            config[group][name] = value

        seed_folder = tmp_path / folder
        seed_folder.mkdir(exist_ok=True)
        (seed,) = train.train(
            config, splits, [progress_of(seed_folder, 0)], CPU, "plain", should_stop=stop
        )

        return seed

    return run


def same(a: RunState, b: RunState) -> None:
    """Assert that two runs are the same bit for bit, but for times."""
    for path in ("last", "best"):
        ours, theirs = (checkpoint.read(getattr(s, path)) for s in (a, b))
        for part in ("params", "state", "opt"):
            our_tensors = getattr(ours, part)
            their_tensors = getattr(theirs, part)
            assert our_tensors.keys() == their_tensors.keys()
            assert all(torch.equal(our_tensors[k], their_tensors[k]) for k in our_tensors), (
                path,
                part,
            )

    curves = [[{k: v for k, v in p.items() if k != "seconds"} for p in s.curve] for s in (a, b)]
    assert curves[0] == curves[1]
    assert (a.update, a.status, a.reason, a.best_update) == (
        b.update,
        b.status,
        b.reason,
        b.best_update,
    )


def test_a_pass_is_the_unit(go, splits):
    per_pass = build.batches_of(CONFIG, splits).per_epoch
    seed = go()

    assert [p["update"] for p in seed.curve] == [per_pass, 2 * per_pass, 3 * per_pass]
    assert seed.status == "trained"
    assert {"valid_mi_batch", "valid_mi", "valid_kl", "train_inner", "train_kl"} <= set(
        seed.curve[0]
    )


def test_the_aggressive_phase_has_inner_updates_and_ends(go):
    aggressive = go("on", objective__mi_start=-9.0, train__updates=2)

    # At least two windows of two updates, so that two can be compared; at most ``inner_most``.
    assert 4 <= aggressive.curve[0]["train_inner"] <= 7

    # The first mutual information is below mi_start, a fall, and one fall ends the phase.
    ended = go("off", objective__mi_start=1e9, train__updates=2)

    # The first pass comes before the first validation.
    assert ended.curve[0]["train_inner"] == aggressive.curve[0]["train_inner"]
    assert ended.curve[1]["train_inner"] == 0
    assert float(checkpoint.read(ended.last).state["aggressive"]) == 0.0


def test_an_update_proper_of_the_phase_moves_the_generator_alone(go, monkeypatch):
    calls = []
    real_advance = train.Pack.advance

    def advance(self, index, noise, binarize, first, only=None):
        params_before = {k: v.clone() for k, v in self.params.items()}
        sums = real_advance(self, index, noise, binarize, first, only)
        moved = {
            self.group_of[k] for k, v in self.params.items() if not torch.equal(v, params_before[k])
        }

        calls.append((first, only, moved))
        return sums

    monkeypatch.setattr(train.Pack, "advance", advance)
    go(train__updates=1, objective__inner_fixed=2)

    # Two inner updates move the inference network, and the outer one the generative model.
    assert [s[1:] for s in calls[:3]] == [(("posterior",), {"posterior"})] * 2 + [
        (("model",), {"model"})
    ]

    assert [s[0] for s in calls[:6]] == [0, 0, 0, 1, 1, 1]


def test_a_run_stopped_anywhere_goes_on_as_if_it_had_not_been(go, monkeypatch):
    """Stopped within an inner loop or after an update, with a recent checkpoint or without.

    ``calls`` is how often the training may ask before it is stopped.
    """
    whole = go("whole", train__updates=2)
    for calls, save in ((1, 60.0), (3, 0.0), (9, 60.0), (40, 0.0), (60, 60.0)):
        monkeypatch.setattr(bookkeeping, "SAVE_SECONDS", save)
        answers = iter([False] * calls + [True] * 9)

        with pytest.raises(Interrupted):
            go(f"{calls} {save}", stop=lambda answers=answers: next(answers), train__updates=2)

        same(whole, go(f"{calls} {save}", train__updates=2))


def test_after_a_fall_of_the_rates_training_goes_on_from_the_best(go, monkeypatch):
    """The second and third validations of the script are worse than the first.

    So the parameters of the first come back.
    """
    script = iter([5.0, 6.0, 7.0])
    mutual_information = {"valid_mi_batch": 0.0}
    monkeypatch.setattr(
        bookkeeping, "validation", lambda *a: {"valid_bound": next(script), **mutual_information}
    )

    seed = go(objective__name="aggressive")

    best = checkpoint.read(seed.best)
    last = checkpoint.read(seed.last)

    assert seed.best_update == seed.curve[0]["update"]
    assert float(last.opt["falls"]) == 2.0

    # Halved at each fall.
    assert float(last.opt["factor"]) == 0.25
    assert all(torch.equal(best.params[k], last.params[k]) for k in best.params)


def test_the_last_fall_is_the_end(go, monkeypatch):
    script = iter([5.0, 6.0, 7.0])
    monkeypatch.setattr(
        bookkeeping, "validation", lambda *a: {"valid_bound": next(script), "valid_mi_batch": 0.0}
    )

    seed = go(optim__decays=1)

    assert (seed.status, seed.reason) == (
        "trained",
        "the rates have fallen as often as they may (1)",
    )
    assert len(seed.curve) == 2


def test_a_fall_at_the_best_itself_needs_no_reading(go, monkeypatch):
    """Every validation is the best so far, and yet the optimiser asks for the best to come back."""
    monkeypatch.setattr(
        "vaebench.optim.ClippedSGD.validated", lambda self, s, loss, n: (s, Verdict(reload=True))
    )
    monkeypatch.setattr(
        bookkeeping, "validation", lambda *a: {"valid_bound": -1.0 - a[4], "valid_mi_batch": 0.0}
    )

    seed = go()

    assert seed.best_update == seed.update


def test_snapshots_are_the_parameters_that_training_passes_through(go):
    """A second snapshot is taken after the inner loop, where only the posterior has moved."""
    params = {
        (n, kind): checkpoint.read(path).params
        for n, kind, path in snapshots_of(go("long", train__snapshots=[0, 2, 5]))
    }

    assert list(params) == [(0, ""), (0, "inner"), (2, ""), (2, "inner"), (5, ""), (5, "inner")]

    short = go("short", train__unit="updates", train__updates=2, train__valid_every=2)
    last_params = checkpoint.read(short.last).params
    assert all(torch.equal(params[2, ""][k], v) for k, v in last_params.items())

    moved = {k for k, v in params[2, ""].items() if not torch.equal(v, params[2, "inner"][k])}
    assert moved
    assert all(k.startswith("model.q.") for k in moved)


def test_snapshots_change_nothing_and_survive_a_kill(go, monkeypatch):
    monkeypatch.setattr(bookkeeping, "SAVE_SECONDS", 0.0)
    without_snapshots = go("whole")
    answers = iter([False] * 40 + [True] * 9)

    with pytest.raises(Interrupted):
        go("kept", stop=lambda: next(answers), train__snapshots=[0, 1, 4])

    resumed = go("kept", train__snapshots=[0, 1, 4])
    same(without_snapshots, resumed)
    unbroken = go("unbroken", train__snapshots=[0, 1, 4])
    resumed_snapshots, unbroken_snapshots = (
        [(n, kind, path.read_bytes()) for n, kind, path in snapshots_of(s)]
        for s in (resumed, unbroken)
    )

    assert len(resumed_snapshots) == 6
    assert resumed_snapshots == unbroken_snapshots


def test_a_snapshot_is_what_the_update_left_even_if_the_best_came_back(go):
    """There is a validation after every update, and the second is worse than the first.

    So after update 2 the parameters of update 1 return, and a run that was stopped there goes on
    from those.
    """
    settings = {"train__unit": "updates", "train__updates": 6, "train__valid_every": 1}
    settings |= {"train__snapshots": list(range(6)), "optim__decays": 99, "optim__rate": 40.0}
    whole = go("whole", **settings)
    snapshots_of_whole = [(n, kind, path.read_bytes()) for n, kind, path in snapshots_of(whole)]

    # The best is read from a run that ends there, since the whole one finds a better one later.
    returned = go("returned", **{**settings, "train__updates": 2})
    best = checkpoint.read(returned.best).params
    assert returned.best_update == 1
    assert equal(checkpoint.read(returned.last).params, best)

    kept = go("kept", **{**settings, "train__updates": 2, "optim__reload": False})
    left_by_update_2 = checkpoint.read(kept.last).params
    snapshot_of_2 = next(path for n, kind, path in snapshots_of(whole) if (n, kind) == (2, ""))
    assert equal(checkpoint.read(snapshot_of_2).params, left_by_update_2)
    assert not equal(left_by_update_2, best)

    # Each of the first two updates comes after an inner loop of 6. Training asks before each inner
    # update and after each outer one; ``calls`` is how often it may ask before it is stopped.
    for calls, where in (
        (6, "at update 1"),
        (9, "within update 1"),
        (13, "at update 2"),
        (15, "at update 4"),
    ):
        answers = iter([False] * calls + [True] * 99)
        with pytest.raises(Interrupted, match=f"stopped {where};"):
            go(f"part{calls}", stop=lambda answers=answers: next(answers), **settings)

        part = go(f"part{calls}", **settings)

        same(whole, part)
        assert [
            (n, kind, path.read_bytes()) for n, kind, path in snapshots_of(part)
        ] == snapshots_of_whole


def snapshots_of(seed: RunState):
    """Return (update, kind, path) of every snapshot of a run."""
    return snapshots.listed(seed.folder)


def test_a_resumed_run_sums_in_the_order_of_a_fresh_one(go, monkeypatch):
    """The norm that clips the gradient is a sum over parameters, which another order would round
    otherwise."""
    orders = []
    real_init = train.Pack.__init__

    def noted(pack, objective, optim, params, *rest):
        orders.append(list(params[0]))
        real_init(pack, objective, optim, params, *rest)

    monkeypatch.setattr(train.Pack, "__init__", noted)

    whole = go("whole", optim__clip=1e-2)
    resumed = None

    # Each try gets as far as the next validation, which saves, and a little further.
    while resumed is None:
        questions = itertools.count()
        with contextlib.suppress(Interrupted):
            resumed = go(
                "parts", lambda questions=questions: next(questions) > 60, optim__clip=1e-2
            )

    same(whole, resumed)

    # The whole run made one pack, the other one a pack for every try.
    assert len(orders) > 3
    assert all(order == orders[0] for order in orders)


def test_the_phase_may_end_by_the_mutual_information_of_the_whole_set(go):
    """Both are in the curve; a fall of the one that is watched ends the phase."""
    for of, key in (("batches", "valid_mi_batch"), ("whole", "valid_mi")):
        seed = go(of, objective__mi_of=of, train__updates=3)
        aggressive = True
        previous = -9.0

        for point in seed.curve:
            assert (point["train_inner"] > 0) == aggressive
            aggressive = aggressive and point[key] >= previous
            previous = point[key]

    with pytest.raises(UserError, match=r"objective\.mi_of='all': .*batches, whole"):
        go("bad", objective__mi_of="all")


def test_a_checkpoint_of_another_size_is_one_line(go, splits):
    seed = go(train__updates=1)
    config = copy.deepcopy(CONFIG)
    config["model"]["units"] += 1

    with pytest.raises(UserError, match="does not fit its settings: other sizes of"):
        build.load_model(config, splits.info, checkpoint.read(seed.best))
