"""Packs: choice of engine, batches, sums over updates.

That the engines agree is tested for every objective in tests/contract.
"""

from __future__ import annotations

import pytest
import torch
from torch import nn

from vaebench import models, objectives
from vaebench.data.info import DataInfo
from vaebench.data.kinds import Kind
from vaebench.nn.lending import places_of
from vaebench.objectives.base import Objective
from vaebench.optim import SGD, Adam
from vaebench.running import machine
from vaebench.training import choice, kernel_engine
from vaebench.training import engines as fast
from vaebench.training.graphs import Captured

CPU = torch.device("cpu")
GPU = torch.device("cuda")


@pytest.fixture
def equipped(monkeypatch):
    """Function that makes this machine have a C++ compiler and Numba, or not.

    Without a call it has both. ``lack`` says why Numba cannot be imported.
    """

    def equip(compiler=True, lack=""):
        monkeypatch.setattr(choice, "compiler_found", lambda: compiler)
        monkeypatch.setattr(choice.kernels, "missing", lambda: lack)

    equip()
    return equip


def rule_of(model, objective, kind=Kind.BITS):
    """Build an objective around a model of four visible units; ``longest`` is for documents."""
    info = DataInfo(torch.full((4,), 0.5), kind, longest=9)

    return objectives.build(objective, models.build(model, info))


def test_what_is_not_worth_compiling_is_compiled_only_if_told(equipped):
    assert choice.choose_engine("auto", 2_000_000, CPU, worth=False) == ("plain", "")
    assert choice.choose_engine("auto", 2_000_000, GPU, worth=False) == ("packed", "")
    assert choice.choose_engine("compiled", 2_000_000, CPU, worth=False) == ("compiled", "")

    assert rule_of({"name": "sbn", "dims": [3]}, {"name": "nvil"}).worth_compiling
    assert not rule_of({"name": "rbm"}, {"name": "contrastive_divergence"}).worth_compiling


@pytest.mark.parametrize(
    ("setting", "updates", "device", "compiler", "engine"),
    [
        ("auto", 2_000_000, CPU, True, "compiled"),
        ("auto", 2_000_000, CPU, False, "plain"),
        ("auto", 100, CPU, True, "plain"),
        ("plain", 2_000_000, CPU, True, "plain"),
        ("compiled", 100, CPU, True, "compiled"),
        ("auto", 100, GPU, True, "packed"),
        ("plain", 2_000_000, GPU, True, "packed"),
        ("auto", 2_000_000, GPU, True, "compiled"),
    ],
)
def test_choice_of_engine_without_kernels_for_what_is_trained(
    equipped, setting, updates, device, compiler, engine
):
    equipped(compiler)
    assert choice.choose_engine(setting, updates, device) == (engine, "")


@pytest.mark.parametrize(
    ("setting", "updates", "device", "lack", "engine", "said"),
    [
        ("auto", 2_000_000, CPU, "", "kernel", ""),
        ("auto", 100, CPU, "", "plain", ""),
        ("kernel", 100, CPU, "", "kernel", ""),
        ("plain", 2_000_000, CPU, "", "plain", ""),
        ("compiled", 100, CPU, "", "compiled", ""),
        ("auto", 2_000_000, CPU, "No module named 'numba'", "compiled", "No module named 'numba'"),
        ("auto", 100, CPU, "No module named 'numba'", "plain", ""),
        ("kernel", 100, CPU, "No module named 'numba'", "plain", "No module named 'numba'"),
        ("auto", 2_000_000, GPU, "", "compiled", ""),
        ("kernel", 100, GPU, "", "packed", "there is none for this cell"),
    ],
)
def test_choice_of_engine_where_there_are_kernels(
    equipped, setting, updates, device, lack, engine, said
):
    equipped(lack=lack)
    assert choice.choose_engine(setting, updates, device, kernel=True) == (engine, said)


def test_a_kernel_asked_for_where_there_is_none_is_said(equipped):
    assert choice.choose_engine("kernel", 100, CPU, kernel=False) == (
        "plain",
        "there is none for this cell",
    )


@pytest.mark.parametrize(
    ("kind", "there"),
    [(Kind.BITS, True), (Kind.GREY, True), (Kind.COUNTS, True), (Kind.REAL, False)],
)
def test_belief_nets_have_kernels_for_bits_and_for_counts(kind, there):
    objective = rule_of({"name": "sbn", "dims": [3]}, {"name": "nvil"})

    assert choice.has_kernel(objective, SGD(0.1), kind) == there
    assert not choice.has_kernel(objective, Adam(0.1), kind)


@pytest.mark.parametrize(
    ("model", "objective", "kind", "only"),
    [
        ({"name": "gaussian_vae"}, {"name": "semi_amortised"}, Kind.BITS, False),
        (
            {"name": "gaussian_vae"},
            {"name": "semi_amortised", "gradient": "finite_difference"},
            Kind.BITS,
            True,
        ),
        ({"name": "rbm"}, {"name": "contrastive_divergence"}, Kind.BITS, False),
        ({"name": "replicated_softmax"}, {"name": "contrastive_divergence"}, Kind.COUNTS, True),
    ],
    ids=lambda value: value.get("gradient", value["name"]) if isinstance(value, dict) else None,
)
def test_settings_and_models_can_leave_the_plain_engine_alone(model, objective, kind, only):
    assert choice.only_plain(rule_of(model, objective, kind), kind) is only


def test_the_engines_that_a_run_can_go_on_with(equipped):
    assert [choice.usable(e, CPU, True) for e in ("plain", "packed", "compiled", "kernel")] == [
        True,
        False,
        True,
        True,
    ]

    assert [choice.usable(e, GPU, True) for e in ("plain", "packed", "compiled", "kernel")] == [
        False,
        True,
        True,
        False,
    ]

    equipped(False, "no numba")
    assert [choice.usable(e, CPU, True) for e in ("compiled", "kernel")] == [False, False]
    assert not choice.usable("kernel", CPU, False)


class Recorder(Objective):
    """An objective whose bound is what it saw: the mean of the batch plus the mean of the noise.

    Its only parameter grows by the rate in every update, so it counts them.
    """

    def __init__(self):
        super().__init__()
        self.p = nn.Parameter(torch.zeros(()))

    def groups(self):
        return {"model": "p"}

    def forward(self, state, batch, noise):
        new_state = {"last": batch.x.mean() + 0 * state["last"]}

        return (
            -self.p,
            new_state,
            {"bound": batch.x.mean() + noise["e"].mean(), "rows": batch.rows.float().sum()},
        )


def pack_of(data, engine, seeds=2, kind=Kind.BITS):
    """Return a pack of Recorders at 0, with a learning rate of 0.5."""
    params = [{"p": torch.zeros(())} for _ in range(seeds)]
    state = [{"last": torch.zeros(())} for _ in range(seeds)]

    return fast.Pack(Recorder(), SGD(0.5), params, state, [{}] * seeds, data, kind, engine)


def test_a_step_without_noise_is_captured_where_the_parameters_are(monkeypatch):
    """Tested as far as no GPU is needed: up to the first call of CUDA."""

    class Reached(Exception):
        pass

    def stream():
        raise Reached

    monkeypatch.setattr(torch.cuda, "Stream", stream)
    index = torch.zeros(2, 1, 4, dtype=torch.int64)

    with pytest.raises(Reached):
        Captured(None, index, {}, None, torch.arange(2), [{"p": torch.zeros(1)}, {}])


@pytest.mark.parametrize("engine", ["plain", "packed"])
def test_every_update_gets_its_own_cases_and_noise_and_metrics_are_summed(engine):
    data = torch.arange(6, dtype=torch.uint8).reshape(6, 1)
    pack = pack_of(data, engine)
    # (updates, seeds, batch), and the noise (updates, seeds, 1).
    index = torch.tensor([[[0, 1], [2, 3]], [[4, 4], [5, 1]], [[0, 0], [5, 5]]])
    noise = {"e": torch.tensor([[[0.5], [1.0]], [[0.25], [0.0]], [[0.0], [2.0]]])}
    sums = pack.advance(index, noise, None)

    # Example i has the value i. Mean of each batch plus its noise, summed over the updates.
    assert sums["bound"].tolist() == [0.5 + 4 + 0 + 0.75, 2.5 + 3 + 5 + 3.0]
    assert sums["rows"].tolist() == [1 + 8 + 0, 5 + 6 + 10]
    assert sums["bound"].dtype == torch.float64
    assert [float(pack.seed(r)[0]["p"]) for r in range(2)] == [1.5, 1.5]  # three steps of 0.5 up
    assert [float(pack.seed(r)[1]["last"]) for r in range(2)] == [0.0, 5.0]


@pytest.mark.parametrize("engine", ["plain", "packed"])
def test_grey_cases_are_binarized_anew_by_their_noise(engine):
    """Grey value v is a one with probability v / 255: never for 0, always for 255."""
    data = torch.tensor([[0, 255, 128, 128]], dtype=torch.uint8)
    pack = pack_of(data, engine, seeds=1, kind=Kind.GREY)
    index = torch.zeros(2, 1, 1, dtype=torch.int64)
    noise = {"e": torch.zeros(2, 1, 1)}
    grey = torch.tensor([[[[0.0, 0.9999999, 0.501, 0.503]]], [[[0.5, 0.0, 0.99, 0.99]]]])

    # 128 / 255 is between 0.501 and 0.503: two ones in the first update, one in the second.
    assert 4 * float(pack.advance(index, noise, grey)["bound"]) == (1 + 1) + 1


def test_cases_that_are_not_grey_enter_as_they_are():
    pack = pack_of(torch.tensor([[0, 3]], dtype=torch.uint8), "plain", seeds=1)

    assert (
        float(
            pack.advance(
                torch.zeros(1, 1, 1, dtype=torch.int64), {"e": torch.zeros(1, 1, 1)}, None
            )["bound"]
        )
        == 1.5
    )


def test_an_unknown_engine():
    with pytest.raises(ValueError, match="'fast' is not one of"):
        pack_of(torch.zeros(1, 1), "fast")


def test_parameter_names_map_to_their_groups():
    model = models.build({"name": "sbn", "dims": [2]}, DataInfo(torch.zeros(3)))
    groups = fast.group_of(objectives.build({"name": "nvil"}, model))

    assert groups["model.p.0.weight"] == "model"
    assert groups["model.q.0.bias"] == "posterior"
    assert groups["baseline.0.hidden.weight"] == "baseline"


def test_the_objective_in_the_pack_keeps_its_values():
    """Its own parameters give structure only; training must not leak into them."""
    objective = Recorder()
    pack = fast.Pack(
        objective,
        SGD(0.5),
        [{"p": torch.ones(())}],
        [{"last": torch.zeros(())}],
        [{}],
        torch.ones(1, 1),
    )
    pack.advance(torch.zeros(2, 1, 1, dtype=torch.int64), {"e": torch.zeros(2, 1, 1)}, None)

    # Two steps of 0.5 upwards, in the pack alone.
    assert float(objective.p.detach()) == 0.0
    assert float(pack.seed(0)[0]["p"]) == 2.0


class Diary(Objective):
    """An objective that notes of every case how often it was seen, and at which update last.

    It also notes how far the run was, by the clocks ``progress`` and ``passes``.
    """

    per_case = ("visits",)

    def __init__(self):
        super().__init__()
        self.p = nn.Parameter(torch.zeros(()))

    def groups(self):
        return {"model": "p"}

    def state(self, seed=0, cases=1):
        clocks = {"progress": torch.zeros(()), "passes": torch.zeros(())}

        return {"visits": torch.zeros(cases, 2, dtype=torch.uint8), **clocks}

    def forward(self, state, batch, noise):
        assert state["visits"].shape == (2, 2), "a step sees the rows of its batch alone"

        last_seen = batch.update.to(torch.uint8).expand(2, 1)
        visits = torch.cat([state["visits"][:, :1] + 1, last_seen], 1)
        clocks = {"progress": batch.progress, "passes": batch.passes}

        return -self.p, {"visits": visits, **clocks}, {"bound": self.p.detach()}


@pytest.mark.parametrize("engine", ["plain", "packed"])
def test_rows_of_cases_follow_their_cases_and_the_clock_tells_the_update(engine):
    objective = Diary()
    states = [objective.state(cases=4) for _ in range(2)]
    params = [{"p": torch.zeros(())} for _ in range(2)]
    pack = fast.Pack(
        objective, SGD(0.5), params, states, [{}] * 2, torch.zeros(4, 1), engine=engine, updates=40
    )
    index = torch.tensor([[[0, 1], [3, 2]], [[1, 2], [3, 0]]])  # (updates, seeds, batch)
    pack.advance(index, {}, None, first=9)
    first_seed, second_seed = (pack.seed(r)[1] for r in range(2))

    # (times seen, update of the last time) of each of the four cases; updates count from 9.
    assert first_seed["visits"].tolist() == [[1, 9], [2, 10], [1, 10], [0, 0]]
    assert second_seed["visits"].tolist() == [[1, 10], [0, 0], [1, 9], [2, 10]]
    assert first_seed["progress"] == second_seed["progress"] == 10 / 40
    # The update of number 10 is the eleventh: with it 22 cases of 4 have been seen.
    assert first_seed["passes"] == second_seed["passes"] == 22 / 4


@pytest.mark.parametrize("seeds", [1, 3])
def test_a_plain_step_leaves_the_objective_its_own_parameters(seeds):
    pack = pack_of(torch.ones(4, 2), "plain", seeds)
    own_parameter = pack.objective.p
    pack.advance(torch.zeros(2, seeds, 4, dtype=torch.int64), {"e": torch.zeros(2, seeds, 1)}, None)

    assert pack.objective.p is own_parameter
    assert float(own_parameter.detach()) == 0
    assert (pack.params["p"] != 0).all()


def test_a_step_that_fails_leaves_them_too():
    pack = pack_of(torch.ones(4, 2), "plain", 1)
    own_parameter = pack.objective.p
    with pytest.raises(KeyError):
        pack.advance(torch.zeros(1, 1, 4, dtype=torch.int64), {}, None)  # no noise
    assert pack.objective.p is own_parameter


def test_a_parameter_of_two_names_is_refused():
    tied = nn.Module()
    tied.one = nn.Linear(2, 2)
    tied.two = nn.Linear(2, 2)
    tied.two.weight = tied.one.weight

    with pytest.raises(ValueError, match="two names"):
        places_of(tied)

    # Without the second name everything has its place.
    tied.two = nn.Linear(2, 2, bias=False)
    assert set(places_of(tied)) == {"one.weight", "one.bias", "two.weight"}


@pytest.mark.parametrize("platform", ["linux", "darwin", "win32"])
def test_keeping_freed_memory_is_asked_of_glibc_alone(monkeypatch, platform):
    calls = []

    class Library:
        def __getattr__(self, name):
            if platform == "linux":
                return lambda *args: calls.append((name, *args))
            raise AssertionError("no library is opened elsewhere")

    monkeypatch.setattr(machine.sys, "platform", platform)
    monkeypatch.setattr(machine.ctypes, "CDLL", lambda name: Library())

    machine.keep_freed_memory()
    # M_TRIM_THRESHOLD and M_MMAP_THRESHOLD of glibc's malloc.h.
    trim = -1
    threshold = -3
    expected_calls = [("mallopt", threshold, 2**25), ("mallopt", trim, 2**31 - 1)]

    assert calls == (expected_calls if platform == "linux" else [])


def test_another_c_library_is_left_alone(monkeypatch):
    monkeypatch.setattr(machine.sys, "platform", "linux")
    monkeypatch.setattr(machine.ctypes, "CDLL", lambda name: object())  # musl has no mallopt
    machine.keep_freed_memory()


def test_a_kernel_refuses_what_would_be_trained_otherwise():
    """Kernels know no weight decay, and ``has_kernel`` says so before one is made."""
    objective = objectives.build(
        {"name": "wake_sleep", "weight_decay": 0.1},
        models.build({"name": "sbn", "dims": [3]}, DataInfo(torch.full((4,), 0.5))),
    )

    assert not choice.has_kernel(objective, SGD(0.1))

    params = {k: v.unsqueeze(0) for k, v in objective.state_dict().items()}
    with pytest.raises(ValueError, match="no kernel with weight decay"):
        kernel_engine.Engine(objective, SGD(0.1), params, torch.zeros(2, 4))
