"""Trackers are told every point once, whatever happens to the run, and can never change it."""

from __future__ import annotations

import json
import logging
import sys
from types import ModuleType

import numpy as np
import pytest
import torch
from kit.runs import status
from kit.sessions import Died

from vaebench import tracking
from vaebench.errors import UserError
from vaebench.running import session, tasks
from vaebench.running.reevaluate import opened, stored
from vaebench.running.tasks import Task, work
from vaebench.settings.records import KINDS
from vaebench.tracking.base import Subject, Tracker
from vaebench.tracking.follower import Follower
from vaebench.tracking.jsonl import Jsonl
from vaebench.tracking.names import as_folder, as_key
from vaebench.tracking.pictures import grid
from vaebench.work.events import nobody

VALIDATED = [15, 30, 45, 50]
"""Updates of a whole run at which the curve has a point."""


class Listening(Tracker):
    """Keeps all that it is told in ``told``, and raises an error at the event ``fail``.

    An entry is (seed, event, update, further facts of the event).
    """

    told: list
    fail = ""

    def __init__(self, subject):
        self.subject = subject
        self._tell("begin", subject.update)

    def point(self, update, values):
        self._tell("point", update, values)

    def image(self, name, update, pixels):
        self._tell("image", update, name, pixels)

    def text(self, name, update, lines):
        self._tell("text", update, name, lines)

    def finish(self, status, update, measures):
        self._tell("finish", update, str(status), measures)

    def close(self):
        self._tell("close", None)

    def _tell(self, event, update, *facts):
        if event == self.fail:
            raise RuntimeError(f"no connection\nwhile told of {event}")
        self.told.append((self.subject.seed, event, update, *facts))


@pytest.fixture
def listener(monkeypatch):
    """The class of a tracker that only listens, in the place of ``jsonl``."""
    module = ModuleType("listener")

    # A new class for each test, with a list of its own.
    module.Listener = type("Listener", (Listening,), {"told": []})
    monkeypatch.setitem(sys.modules, "listener", module)
    monkeypatch.setitem(tracking.TRACKERS, "jsonl", ("listener", "Listener", "json"))

    return module.Listener


@pytest.fixture
def tracked(make_cell, load_bits):
    """Function that makes a tiny cell followed by ``jsonl``."""
    return lambda changes=None: make_cell({"run.track": ["jsonl"], **(changes or {})})


def points(listener, seed=0):
    """Return the updates of the points that were told of a seed, in order."""
    return [t[2] for t in listener.told if t[:2] == (seed, "point")]


def test_every_point_is_told_once_and_the_result_last(tracked, listener, store):
    cell = tracked()

    work(Task(cell, (0, 1)))

    for seed in (0, 1):
        told = [t for t in listener.told if t[0] == seed]
        assert [t[1] for t in told[:5]] == ["begin", *["point"] * 4]
        assert [t[1] for t in told[-2:]] == ["finish", "close"]
        assert points(listener, seed) == VALIDATED

        # The values are those of the curve's file, without its columns for the update and the unit.
        curve = [json.loads(json.dumps(t[3])) for t in told if t[1] == "point"]
        lines = (store.run_dir(cell.key, seed) / "curve.csv").read_text().splitlines()
        names = lines[0].split(",")

        for values, line in zip(curve, lines[1:], strict=True):
            row = dict(zip(names, line.split(","), strict=True))
            assert values == {k: float(v) for k, v in row.items() if k not in ("update", "unit")}

        final = store.read_result(cell.key, seed)
        assert told[-2][3] == "done"

        assert {m.name: m.value for m in told[-2][4]} == {
            m["name"]: m["value"] for m in final["measures"]
        }


def test_a_run_that_goes_on_tells_the_new_points_alone(tracked, listener):
    cell = tracked()
    seen = 0

    def stop_after_two_points():
        nonlocal seen
        seen = len(points(listener))
        return seen >= 2

    work(Task(cell, (0,)), should_stop=stop_after_two_points)

    assert points(listener) == VALIDATED[:2]
    assert [t[1] for t in listener.told][-1] == "close"

    work(Task(cell, (0,)))
    assert points(listener) == VALIDATED

    # The second session began at update 30, where the first was stopped.
    assert [t[2] for t in listener.told if t[1] == "begin"] == [0, 30]


def test_points_from_before_it_was_asked_for_are_told_too(tracked, listener, make_cell):
    work(Task(make_cell({"train.updates": 30}), (0,)))

    work(Task(tracked(), (0,)))

    assert points(listener) == VALIDATED


def test_begun_again_it_is_told_again(tracked, listener):
    cell = tracked()
    work(Task(cell, (0,)))
    work(Task(cell, (0,), force=True))

    assert points(listener) == VALIDATED * 2


@pytest.mark.parametrize("event", ["begin", "point", "image", "finish", "close"])
def test_a_tracker_that_fails_is_dropped_and_the_run_is_the_same(
    event, tracked, make_cell, listener, states_of, caplog, monkeypatch, tmp_path
):
    plain = make_cell({"run.results": str(tmp_path / "plain")})
    work(Task(plain, (0,)))
    untracked_states = states_of(tmp_path / "plain")

    monkeypatch.setattr(listener, "fail", event)
    cell = tracked()
    with caplog.at_level(logging.WARNING):
        outcome = work(Task(cell, (0,)))

    assert [o.status for o in outcome] == ["done"]
    assert states_of(tmp_path / "runs") == untracked_states

    warnings = [r.getMessage() for r in caplog.records if "run.track" in r.getMessage()]

    # One warning of one line, though the text of the error has two.
    assert len(warnings) == 1
    assert warnings[0].endswith("run.track=jsonl failed and is dropped: no connection")


def test_a_diverged_run_is_told_as_such(tracked, listener, store):
    cell = tracked({"optim.rate": 1e30})

    work(Task(cell, (0,)))

    assert status(store, cell, 0) == "diverged"
    assert [t[3] for t in listener.told if t[1] == "finish"] == ["diverged"]


def test_pictures_are_of_the_model_and_of_test_cases(tracked, listener, splits):
    work(Task(tracked(), (0,)))

    images = {t[3]: t[4] for t in listener.told if t[1] == "image"}
    assert set(images) == {"samples", "originals", "reconstructions"}

    originals = grid(torch.from_numpy(splits.test[:16]), (3, 4))
    np.testing.assert_array_equal(images["originals"], originals)

    # Reconstructions of binary images are binary too.
    assert {*np.unique(images["reconstructions"])} <= {0.0, 1.0}


def test_grid_puts_four_images_a_line():
    # Five images of 2 by 1 pixels: four in the first line, one in the second, zeros between and
    # after them.
    x = torch.arange(1, 6).repeat_interleave(2).reshape(5, 2)

    image = grid(x, (2, 1))

    assert image.tolist() == [
        [1, 0, 2, 0, 3, 0, 4],
        [1, 0, 2, 0, 3, 0, 4],
        [0] * 7,
        [5, *[0] * 6],
        [5, *[0] * 6],
    ]


def test_jsonl_writes_one_object_a_line(tracked, store):
    cell = tracked()
    work(Task(cell, (0,)))

    lines = [
        json.loads(line)
        for line in (store.run_dir(cell.key, 0) / "track.jsonl").read_text().splitlines()
    ]

    assert [line["update"] for line in lines if line["event"] == "point"] == VALIDATED
    assert lines[0]["config"] == cell.config

    final = store.read_result(cell.key, 0)
    assert lines[-1]["event"] == "end"
    assert lines[-1]["measures"] == final["measures"]


def test_tensorboard_reads_the_curve_back(tracked, store, tmp_path):
    pytest.importorskip(
        "tensorboard", reason="tensorboard is not installed: pip install 'vaebench[tensorboard]'"
    )
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    work(Task(tracked({"run.track": ["tensorboard"]}), (0,)))

    events = EventAccumulator(
        str(tmp_path / "tensorboard" / "bits_table" / "SBN-4" / "NVIL" / "seed-0")
    )
    events.Reload()

    assert [e.step for e in events.Scalars("curve/valid_bound")] == VALIDATED
    assert "samples" in events.Tags()["images"]
    assert "final/bound" in events.Tags()["scalars"]


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")
def test_mlflow_keeps_a_run_that_goes_on_in_one_place(tracked, tmp_path, monkeypatch):
    pytest.importorskip(
        "sqlalchemy", reason="mlflow is not installed: pip install 'vaebench[mlflow]'"
    )
    mlflow = pytest.importorskip(
        "mlflow", reason="mlflow is not installed: pip install 'vaebench[mlflow]'"
    )
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    cell = tracked({"run.track": ["mlflow"]})
    questions = iter(range(1000))

    # Stopped on its way, and gone on with.
    work(Task(cell, (0,)), should_stop=lambda: next(questions) > 3)
    work(Task(cell, (0,)))

    client = mlflow.MlflowClient(f"sqlite:///{tmp_path / 'mlflow.db'}")
    experiment = client.get_experiment_by_name("vaebench/bits_table")
    (run,) = client.search_runs([experiment.experiment_id])

    assert run.info.status == "FINISHED"
    assert run.data.params["model.dims"] == "[4]"

    history = client.get_metric_history(run.info.run_id, "valid_bound")
    assert [m.step for m in history] == VALIDATED


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")
def test_wandb_offline_writes_a_folder(tracked, tmp_path, monkeypatch, store, caplog):
    pytest.importorskip("wandb", reason="wandb is not installed: pip install 'vaebench[wandb]'")
    monkeypatch.setenv("WANDB_MODE", "offline")
    cell = tracked({"run.track": ["wandb"]})

    work(Task(cell, (0,)))

    assert status(store, cell, 0) == "done"
    assert not [r for r in caplog.records if "dropped" in r.getMessage()]
    assert list((tmp_path / "wandb").glob("offline-run-*/*.wandb"))


def test_a_package_that_is_not_here_is_named_before_anything_is_written(
    tracked, monkeypatch, tmp_path
):
    monkeypatch.setitem(
        tracking.TRACKERS,
        "wandb",
        ("vaebench.tracking.wandb", "WeightsAndBiases", "no_such_package"),
    )

    with pytest.raises(
        UserError,
        match=r"run.track=wandb: no_such_package is not installed; pip install 'vaebench\[wandb\]'",
    ):
        tasks.check([tracked({"run.track": ["jsonl", "wandb"]})])

    assert not (tmp_path / "runs").exists()


def test_the_setting_names_each_tracker_once():
    kind = KINDS["run.track"]

    assert kind.check("run.track", "jsonl") == ["jsonl"]
    assert kind.check("run.track", ["wandb", "jsonl"]) == ["wandb", "jsonl"]

    # The words of the setting list exactly the trackers that exist.
    assert set(kind.words.partition("[")[2].partition("]")[0].split(",")) == set(tracking.TRACKERS)

    for wrong in ("neptune", ["jsonl", "jsonl"], None, [["jsonl"]], 3):
        with pytest.raises(UserError, match="allowed: some of"):
            kind.check("run.track", wrong)


@pytest.mark.parametrize(
    ("text", "folder"),
    [("SBN 200-200", "SBN-200-200"), ("a/b: c", "a-b-c"), ("..", "-"), ("", "-")],
)
def test_names_of_folders(text, folder):
    assert as_folder(text) == folder


def test_names_of_metrics():
    assert as_key("final/NLL (exact)") == "final/NLL _exact_"


def test_an_evaluation_later_is_not_tracked(tracked, listener, store):
    cell = tracked()
    work(Task(cell, (0,)))
    folder = store.run_dir(cell.key, 0)
    note = json.loads((folder / "config.json").read_text())

    told_before = list(listener.told)
    with opened(stored(folder, note, 0, ["eval.iw_samples=9"])) as later:
        (result,) = later.evaluate_only(nobody)

    assert 9 in [m["samples"] for m in result["measures"]]
    assert listener.told == told_before


@pytest.mark.parametrize(
    ("error", "said"),
    [
        (UserError("this model makes none"), []),
        (RuntimeError("CUDA out of memory\nin a kernel"), ["CUDA out of memory"]),
    ],
    ids=["none", "failed"],
)
def test_pictures_that_cannot_be_made_harm_neither_run_nor_result(
    tracked, listener, caplog, monkeypatch, error, said
):
    def pictures(*args):
        raise error

    monkeypatch.setattr(session, "pictures", pictures)
    (outcome,) = work(Task(tracked(), (0,)))

    assert outcome.status == "done"
    assert [t[1] for t in listener.told[-3:]] == ["point", "finish", "close"]
    assert [m.rpartition("run.track gets no pictures: ")[2] for m in caplog.messages] == said


@pytest.mark.parametrize("cut", [1, 20, 10_000])
def test_a_line_that_was_cut_is_dropped_from_jsonl(tmp_path, cut):
    """A kill or a full disk may cut a line; what comes next has a line of its own.

    ``cut`` bytes are missing at the end of the file: a part of its last line, or all of it.
    """
    subject = Subject("t", "r", "c", 0, "k", tmp_path, tmp_path, {"a": 1})
    path = tmp_path / "track.jsonl"
    Jsonl(subject).point(5, {"valid_bound": 1.0})
    whole = path.read_bytes()
    path.write_bytes(whole[:-cut])

    Jsonl(subject).point(10, {"valid_bound": 0.9})
    events = [json.loads(line) for line in path.read_text().splitlines()]

    # The cut point of the first tracker is dropped; its beginning is left, unless all was cut.
    kept_events = [] if cut > len(whole) else ["begin"]

    assert [e["event"] for e in events] == [*kept_events, "begin", "point"]
    assert events[-1]["update"] == 10


def test_a_point_that_was_sent_but_not_noted_is_sent_again(tracked, listener, monkeypatch):
    """No point is lost, as docs/trackers.md says."""

    def die_before_the_note(*args):
        raise Died

    with monkeypatch.context() as killed:
        killed.setattr(Follower, "_note", die_before_the_note)
        with pytest.raises(Died):
            work(Task(tracked(), (0,)))

    work(Task(tracked(), (0,)))
    assert points(listener) == [VALIDATED[0], *VALIDATED]
