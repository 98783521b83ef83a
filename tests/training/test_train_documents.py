"""Training on documents: passes as the unit, an aggressive phase, rates that fall; killed anywhere
it goes on alike."""

from __future__ import annotations

import contextlib
import copy
import itertools

import pytest
import torch

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
    def run(folder="run", stop=lambda: False, **changes):
        config = copy.deepcopy(CONFIG)
        for key, value in changes.items():
            group, _, name = key.partition("__")
            config[group][name] = value

        where = tmp_path / folder
        where.mkdir(exist_ok=True)
        (seed,) = train.train(
            config, splits, [progress_of(where, 0)], CPU, "plain", should_stop=stop
        )
        return seed

    return run


def same(a: RunState, b: RunState) -> None:
    for path in ("last", "best"):
        one, other = (checkpoint.read(getattr(s, path)) for s in (a, b))
        for part in ("params", "state", "opt"):
            mine = getattr(one, part)
            theirs = getattr(other, part)
            assert mine.keys() == theirs.keys()
            assert all(torch.equal(mine[k], theirs[k]) for k in mine), (path, part)

    curves = [[{k: v for k, v in p.items() if k != "seconds"} for p in s.curve] for s in (a, b)]
    assert curves[0] == curves[1]
    assert (a.update, a.status, a.reason, a.best_update) == (
        b.update,
        b.status,
        b.reason,
        b.best_update,
    )


def test_a_pass_is_the_unit(go, splits):
    per = build.batches_of(CONFIG, splits).per_epoch
    seed = go()
    assert [p["update"] for p in seed.curve] == [per, 2 * per, 3 * per]
    assert seed.status == "trained"
    assert {"valid_mi_batch", "valid_mi", "valid_kl", "train_inner", "train_kl"} <= set(
        seed.curve[0]
    )


def test_the_aggressive_phase_has_inner_updates_and_ends(go):
    whole = go("on", objective__mi_start=-9.0, train__updates=2)
    assert 4 <= whole.curve[0]["train_inner"] <= 7  # two windows of two at least

    # The first mutual information is a fall.
    never = go("off", objective__mi_start=1e9, train__updates=2)
    assert never.curve[0]["train_inner"] == whole.curve[0]["train_inner"]
    assert never.curve[1]["train_inner"] == 0
    assert float(checkpoint.read(never.last).state["aggressive"]) == 0.0


def test_an_update_proper_of_the_phase_moves_the_generator_alone(go, monkeypatch):
    seen = []
    real = train.Pack.advance

    def advance(self, index, noise, binarize, first, only=None):
        before = {k: v.clone() for k, v in self.params.items()}
        out = real(self, index, noise, binarize, first, only)
        moved = {self.group_of[k] for k, v in self.params.items() if not torch.equal(v, before[k])}
        seen.append((first, only, moved))
        return out

    monkeypatch.setattr(train.Pack, "advance", advance)
    go(train__updates=1, objective__inner_fixed=2)

    assert [s[1:] for s in seen[:3]] == [(("posterior",), {"posterior"})] * 2 + [
        (("model",), {"model"})
    ]
    assert [s[0] for s in seen[:6]] == [0, 0, 0, 1, 1, 1]


def test_a_run_stopped_anywhere_goes_on_as_if_it_had_not_been(go, monkeypatch):
    """The stop is asked for within inner loops and after every update; with and without a
    checkpoint at hand."""
    whole = go("whole", train__updates=2)
    for calls, save in ((1, 60.0), (3, 0.0), (9, 60.0), (40, 0.0), (60, 60.0)):
        monkeypatch.setattr(bookkeeping, "SAVE_SECONDS", save)
        left = iter([False] * calls + [True] * 9)
        with pytest.raises(Interrupted):
            go(f"{calls} {save}", stop=lambda left=left: next(left), train__updates=2)

        same(whole, go(f"{calls} {save}", train__updates=2))


def test_after_a_fall_of_the_rates_training_goes_on_from_the_best(go, monkeypatch):
    """Scripted validations: the second and third are worse than the first, so the parameters of the
    first come back."""
    script = iter([5.0, 6.0, 7.0])
    found = {"valid_mi_batch": 0.0}
    monkeypatch.setattr(
        bookkeeping, "validation", lambda *a: {"valid_bound": next(script), **found}
    )
    seed = go(objective__name="aggressive")
    best = checkpoint.read(seed.best)
    last = checkpoint.read(seed.last)

    assert seed.best_update == seed.curve[0]["update"]
    assert float(last.opt["falls"]) == 2.0
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
    monkeypatch.setattr(
        "vaebench.optim.ClippedSGD.validated", lambda self, s, loss, n: (s, Verdict(reload=True))
    )
    monkeypatch.setattr(
        bookkeeping, "validation", lambda *a: {"valid_bound": -1.0 - a[4], "valid_mi_batch": 0.0}
    )
    whole = go()

    assert whole.best_update == whole.update


def test_images_have_no_lengths(tmp_path):
    config = copy.deepcopy(CONFIG)
    with pytest.raises(
        UserError, match=r"train\.order=lengths: for documents only, and data=blank has none"
    ):
        build.batches_of(config, data.load({"name": "blank", "held_out": None, "held_out_seed": 0}))


def test_snapshots_are_the_parameters_that_training_passes_through(go):
    """Of the update before which the inner loop stands too: there only the posterior has moved."""
    kept = {
        (n, kind): checkpoint.read(path).params
        for n, kind, path in snapshots_of(go("long", train__snapshots=[0, 2, 5]))
    }

    assert list(kept) == [(0, ""), (0, "inner"), (2, ""), (2, "inner"), (5, ""), (5, "inner")]

    short = go("short", train__unit="updates", train__updates=2, train__valid_every=2)
    passed = checkpoint.read(short.last).params
    assert all(torch.equal(kept[2, ""][k], v) for k, v in passed.items())

    moved = {k for k, v in kept[2, ""].items() if not torch.equal(v, kept[2, "inner"][k])}
    assert moved
    assert all(k.startswith("model.q.") for k in moved)


def test_snapshots_change_nothing_and_survive_a_kill(go, monkeypatch):
    monkeypatch.setattr(bookkeeping, "SAVE_SECONDS", 0.0)
    whole = go("whole")
    left = iter([False] * 40 + [True] * 9)

    with pytest.raises(Interrupted):
        go("kept", stop=lambda: next(left), train__snapshots=[0, 1, 4])

    kept = go("kept", train__snapshots=[0, 1, 4])
    same(whole, kept)
    unbroken = go("unbroken", train__snapshots=[0, 1, 4])
    one, other = (
        [(n, kind, path.read_bytes()) for n, kind, path in snapshots_of(s)]
        for s in (kept, unbroken)
    )

    assert len(one) == 6
    assert one == other


def test_a_snapshot_is_what_the_update_left_even_if_the_best_came_back(go):
    """A validation after every update, and at every worse one the best parameters again; stopped
    after each update."""
    usual = {"train__unit": "updates", "train__updates": 6, "train__valid_every": 1}
    usual |= {"train__snapshots": list(range(6)), "optim__decays": 99, "optim__rate": 40.0}
    whole = go("whole", **usual)

    assert float(checkpoint.read(whole.last).opt["falls"]) > 0

    for calls in range(5):
        left = iter([False] * calls + [True] * 99)
        with pytest.raises(Interrupted):
            go(f"part{calls}", stop=lambda left=left: next(left), **usual)

        part = go(f"part{calls}", **usual)
        same(whole, part)
        kept = [
            [(n, kind, path.read_bytes()) for n, kind, path in snapshots_of(s)]
            for s in (whole, part)
        ]

        assert kept[0] == kept[1]


def snapshots_of(seed: RunState):
    return snapshots.listed(seed.folder)


def test_a_resumed_run_sums_in_the_order_of_a_fresh_one(go, monkeypatch):
    """The norm that clips is a sum over parameters, and another order would round it otherwise."""
    orders = []
    real = train.Pack.__init__

    def noted(pack, objective, optim, params, *rest):
        orders.append(list(params[0]))
        real(pack, objective, optim, params, *rest)

    monkeypatch.setattr(train.Pack, "__init__", noted)
    whole = go("whole", optim__clip=1e-2)
    parts = None

    while parts is None:  # each time as far as the next validation and a little further
        calls = itertools.count()
        with contextlib.suppress(Interrupted):
            parts = go("parts", lambda calls=calls: next(calls) > 60, optim__clip=1e-2)

    same(whole, parts)
    assert len(orders) > 3
    assert all(order == orders[0] for order in orders)


def test_the_phase_may_end_by_the_mutual_information_of_the_whole_set(go):
    """Both are in the curve; a fall of the one that is watched ends the phase."""
    for of, key in (("batches", "valid_mi_batch"), ("whole", "valid_mi")):
        seed = go(of, objective__mi_of=of, train__updates=3)
        on = True
        before = -9.0

        for point in seed.curve:
            assert (point["train_inner"] > 0) == on
            on = on and point[key] >= before
            before = point[key]

    with pytest.raises(UserError, match=r"objective\.mi_of='all': .*batches, whole"):
        go("bad", objective__mi_of="all")


def test_a_checkpoint_of_another_size_is_one_line(go, splits):
    seed = go(train__updates=1)
    config = copy.deepcopy(CONFIG)
    config["model"]["units"] += 1

    with pytest.raises(UserError, match="does not fit its settings: other sizes of"):
        build.load_model(config, splits.info, checkpoint.read(seed.best))
