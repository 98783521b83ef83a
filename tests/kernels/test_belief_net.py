"""Kernels of belief nets: every switch and family against the plain engine, and the expected update
by enumeration."""

from __future__ import annotations

import pytest
import torch
from kit import packs
from kit.packs import BATCH, CPU, RATES, assert_equal_training, pack_of, train

from vaebench.data.info import DataInfo
from vaebench.data.kinds import Kind
from vaebench.estimators import exact
from vaebench.rng import noise

pytest.importorskip("numba")

CASES = 40
VISIBLE = 37

NVIL = {"name": "nvil", "baseline_units": 9}
WAKE_SLEEP = {"name": "wake_sleep"}
SBN = {"name": "sbn", "dims": [19]}
DEEP = {"name": "sbn", "dims": [5, 33, 18]}

RUNS = {
    "nvil": (SBN, NVIL),
    "three layers": (DEEP, NVIL),
    "global signals": (DEEP, {**NVIL, "local_signals": False}),
    "no constant baseline": (DEEP, {**NVIL, "constant_baseline": False}),
    "no input baseline": (DEEP, {**NVIL, "input_baseline": False}),
    "no normalisation": (SBN, {**NVIL, "variance_normalization": False}),
    "nothing of all": (
        SBN,
        {
            "name": "nvil",
            "local_signals": False,
            "constant_baseline": False,
            "input_baseline": False,
            "variance_normalization": False,
        },
    ),
    "slow statistics": (SBN, {**NVIL, "decay": 0.99}),
    "mean": (DEEP, {**NVIL, "reduce": "mean"}),
    "autoregressive posterior": ({**DEEP, "posterior": "autoregressive"}, NVIL),
    "fdarn": ({"name": "fdarn", "dims": [70]}, NVIL),
    "darn": ({"name": "darn", "dims": [20], "posterior": "autoregressive"}, NVIL),
    "wake-sleep": (SBN, WAKE_SLEEP),
    "wake-sleep, three layers": (DEEP, WAKE_SLEEP),
    "wake-sleep, mean": (SBN, {**WAKE_SLEEP, "reduce": "mean"}),
    "wake-sleep, autoregressive posterior": ({**DEEP, "posterior": "autoregressive"}, WAKE_SLEEP),
    "wake-sleep, fdarn": ({"name": "fdarn", "dims": [70]}, WAKE_SLEEP),
    "wake-sleep, darn": ({"name": "darn", "dims": [20]}, WAKE_SLEEP),
}


@pytest.fixture
def bits():
    """Training cases whose pixels differ in how often they are 1; one is always 0, one always 1."""
    generator = torch.Generator().manual_seed(1)
    x = (torch.rand(CASES, VISIBLE, generator=generator) < torch.linspace(0.02, 0.6, VISIBLE)).to(
        torch.uint8
    )
    x[:, 3] = 0
    x[:, 30] = 1
    return x


@pytest.mark.parametrize("run", RUNS)
def test_a_hundred_updates_are_those_of_the_plain_engine(bits, run):
    # Raw signals make steps so large that rounding errors grow a millionfold in these updates.
    # There the rates are a tenth.
    scale = 0.1 if run == "nothing of all" else 1
    rates = {k: v if k == "name" else scale * v for k, v in RATES.items()}

    packs.assert_a_block_is_that_of_the_plain_engine(*RUNS[run], bits, rates=rates)


@pytest.mark.parametrize("objective", [NVIL, WAKE_SLEEP], ids=["nvil", "wake-sleep"])
def test_grey_cases_are_binarized_anew(objective):
    grey = torch.randint(
        256, (CASES, VISIBLE), generator=torch.Generator().manual_seed(2), dtype=torch.uint8
    )
    both_engines = [
        pack_of(SBN, objective, grey, engine, 2, Kind.GREY) for engine in ("kernel", "plain")
    ]

    assert_equal_training(both_engines, [train(p) for p in both_engines])


@pytest.mark.parametrize("run", ["mean", "fdarn"])
def test_baselines_outside_their_signal_are_counted(bits, run):
    """Baselines whose predictions start far outside the range of the signal and come nearer in some
    updates are counted as often as by the plain engine."""
    sums_of_engines = []
    for engine in ("kernel", "plain"):
        pack = pack_of(*RUNS[run], bits, engine, 2)
        pack.params["baseline.0.output.bias"].fill_(3e3)

        # As in ``packs.train``, but for 30 updates: all sums that the engine reports are wanted.
        ids = list(range(pack.size))
        draws = noise.update_block(pack.objective.draws(BATCH, VISIBLE), ids, 0, CPU, 30)
        order = noise.order_block(CASES, BATCH, "replacement", ids, 0, 30)
        sums_of_engines.append(pack.advance(order, draws, None))

    assert sums_of_engines[0].keys() == sums_of_engines[1].keys()
    assert torch.equal(
        sums_of_engines[0]["baseline_outside"], sums_of_engines[1]["baseline_outside"]
    )
    assert (sums_of_engines[0]["baseline_outside"] > 0).all()


def test_threads_and_packs_change_nothing(bits):
    # Three seeds packed with two threads, the same with one, and one seed alone.
    threads_before = torch.get_num_threads()
    together = pack_of(DEEP, NVIL, bits, "kernel", 3)

    try:
        torch.set_num_threads(2)
        bounds = train(together)
    finally:
        torch.set_num_threads(threads_before)

    again = pack_of(DEEP, NVIL, bits, "kernel", 3)

    assert torch.equal(bounds, train(again))

    alone = pack_of(DEEP, NVIL, bits, "kernel", 1)
    assert train(alone)[0] == bounds[0]
    for name, v in together.params.items():
        assert torch.equal(v, again.params[name])
        assert torch.equal(v[0], alone.params[name][0])


def test_batches_may_change_their_size(bits):
    """The kernel's memory is made anew for each size, and nothing of the last batch is left."""
    both_engines = [pack_of(DEEP, NVIL, bits, engine) for engine in ("kernel", "plain")]
    sums = []
    for p in both_engines:
        total = torch.zeros(1, dtype=torch.float64)
        # The size is also the number of the block, so that every size has noise of its own.
        for batch in (11, 3, 16):
            draws = noise.update_block(p.objective.draws(batch, VISIBLE), [0], batch, CPU, 5)
            total += p.advance(
                noise.order_block(CASES, batch, "replacement", [0], batch, 5), draws, None
            )["bound"]

        sums.append(total)

    assert_equal_training(both_engines, sums)


def test_values_that_are_put_are_trained_on(bits):
    """A validation may set the parameters and the state by ``Pack.put``; the next updates begin
    there."""
    pack, copy = (pack_of(DEEP, NVIL, bits, "kernel") for _ in range(2))
    train(pack)
    params, state, opt = pack.seed(0)
    copy.put(0, params, state, opt)

    assert torch.equal(train(pack), train(copy))
    for name, v in pack.params.items():
        assert torch.equal(v, copy.params[name]), name


def test_what_is_not_covered_is_refused(bits):
    with pytest.raises(ValueError, match="no kernel for IWBound"):
        pack_of(
            {"name": "linear_gaussian", "dims": [2]},
            {"name": "iw_bound", "samples": 1},
            bits,
            "kernel",
        )
    with pytest.raises(ValueError, match="zeros and ones"):
        pack_of(SBN, NVIL, 3 * bits, "kernel")


# ---------------------------------------------------------------------------------------------- law


INFO = DataInfo(torch.linspace(0.1, 0.8, 4))
"""Facts of the data of the case that is enumerated, whose mean centres it."""

TINY = [
    {"name": "sbn", "dims": [3]},
    {"name": "sbn", "dims": [2, 2], "posterior": "autoregressive"},
    {"name": "darn", "dims": [3]},
]


@pytest.mark.parametrize("model", TINY, ids=["sbn", "two layers, autoregressive", "darn"])
def test_nvil_follows_the_gradient_of_the_bound(model):
    """The expected update, by enumeration of all samples, is the gradient. Signals are raw but for
    the input-dependent baseline, which adds no bias."""
    objective = {**NVIL, "constant_baseline": False, "variance_normalization": False}
    packs.assert_nvil_is_unbiased(model, objective, torch.tensor([1.0, 0, 1, 1]), INFO)


@pytest.mark.parametrize("model", TINY, ids=["sbn", "two layers, autoregressive", "darn"])
def test_wake_sleep_follows_both_of_its_gradients(model):
    """Dreams are all sixteen cases of four pixels."""
    # Pairs of a case (1, 4) and the noise that makes the net dream it, whatever its logits.
    cases = [v[None] for v in exact.states(4)]
    dreams = [(case, packs.forced({"p0": case})["p0"]) for case in cases]
    x = torch.tensor([1.0, 0, 1, 1])

    packs.assert_wake_sleep_is_unbiased(model, WAKE_SLEEP, x, INFO, lambda rule, h: dreams)
