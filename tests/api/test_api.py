"""vaebench from Python: what is loaded when, one clear line for what is refused, the same results as the command's."""

from __future__ import annotations

import shutil
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pandas as pd
import pytest
import torch

import vaebench as vb
from vaebench.api import runs, words
from vaebench.cli import main
from vaebench.models.refinement import Refinement, Steps
from vaebench.results import shipped_models

FEW = ("train.updates=20", "train.valid_every=10", "run.engine=plain", "eval.iw_samples=20")


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """A table of which one cell was run at one seed, and what ``run`` gave."""
    folder = tmp_path_factory.mktemp("api") / "runs"
    table = vb.table("nvil_mnist", *FEW, f"run.results={folder}", preset="quick")
    return table, table.run("SBN 200", "NVIL", seeds=0)


@pytest.fixture(scope="module")
def documents(tmp_path_factory):
    """A run of a model of documents."""
    folder = tmp_path_factory.mktemp("api-text") / "runs"
    few = ["train.updates=2", "train.valid_every=2", "run.engine=plain", "data=toy_text", "model.units=8"]
    table = vb.table("lagging_yahoo", *few, f"run.results={folder}", preset="quick")
    table.run("VAE + anneal", seeds=0)
    return vb.load_run(table.runs()[0])


# --------------------------------------------------------------------------------------------------- the import


def test_the_import_loads_nothing():
    code = "import sys; before = set(sys.modules); import vaebench; print(*sorted(set(sys.modules) - before))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.split() == ["vaebench"]


def test_listing_tables_needs_neither_torch_nor_pandas_nor_hydra():
    code = "import sys, vaebench as vb; vb.tables(); print(*{'torch', 'pandas', 'hydra'} & set(sys.modules))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.split() == []


def test_every_name_is_there_and_no_other():
    for name in vb.__all__:
        assert getattr(vb, name) is not None
        assert name in dir(vb)
    with pytest.raises(AttributeError, match="has no attribute 'tabels'"):
        _ = vb.tabels
    with pytest.raises(AttributeError, match="has no attribute 'importances'"):
        _ = vb.estimators.importances
    assert all(getattr(vb.estimators, name) for name in vb.estimators.__all__)
    assert all(getattr(vb.estimators.log_z, name) for name in vb.estimators.log_z.__all__)


def test_loading_a_file_hides_no_function():
    import vaebench.estimators.importance_weighted
    import vaebench.estimators.variational  # noqa: F401

    assert callable(vb.estimators.importance)
    assert callable(vb.estimators.bound)


# --------------------------------------------------------------------------------------------------- tables


def test_a_run_is_the_command_s(made, capsys):
    table, results = made
    folder = table.runs()[0].parents[1]
    given = ["table=nvil_mnist", "preset=quick", *FEW, f"run.results={folder}", "--only", "SBN 200", "--only"]
    assert main(["run", *given, "column=NVIL", "--seeds", "0", "--dry-run"]) == 0
    assert "to do: nothing" in capsys.readouterr().out

    assert main(["report", *given, "column=NVIL", "--format", "csv", "--output", str(folder / "x.csv")]) == 0
    pd.testing.assert_frame_equal(
        vb.table("nvil_mnist", *FEW, f"run.results={folder}", preset="quick").results(), results
    )
    assert main(["report", *given, "column=NVIL", "--format", "md"]) == 0
    assert capsys.readouterr().out.strip() == table.report("md", "SBN 200", "NVIL").strip()


def test_what_is_finished_is_not_run_again(made):
    table, results = made
    pd.testing.assert_frame_equal(table.run("SBN 200", "NVIL", seeds=[0]), results)
    assert len(table.runs()) == 1
    assert (table.rows[0], table.columns[:2]) == ("SBN 200", ["NVIL", "WS"])


def test_it_runs_in_a_thread_of_the_user_s(made):
    with ThreadPoolExecutor(1) as pool:
        again = pool.submit(made[0].run, "SBN 200", "NVIL", 0, force=True).result()
    wanted = made[1]
    assert list(again["value"][again["metric"] == "bound"]) == list(wanted["value"][wanted["metric"] == "bound"])


def test_a_run_that_fails_is_a_line_with_its_reason(made, monkeypatch, caplog):
    def fail(*_, **__):
        raise RuntimeError("out of luck")

    monkeypatch.setattr("vaebench.running.session.train", fail)
    results = made[0].run("SBN 200", "NVIL", seeds=7)
    assert list(results["status"]) == ["failed"]
    assert "out of luck" in results["reason"].item()
    assert "seed 7 failed" in caplog.text


def test_a_run_that_is_stopped_raises_keyboard_interrupt(made, monkeypatch):
    from vaebench.running import execute
    from vaebench.running.launchers import Launched

    monkeypatch.setattr(execute, "execute", lambda todo, force, until: Launched([], True))
    with pytest.raises(KeyboardInterrupt, match="the same call goes on"):
        made[0].run("SBN 200", "NVIL", seeds=8)


def test_training_now_and_evaluating_later_is_the_same_run(made, tmp_path, caplog):
    table = vb.table("nvil_mnist", *FEW, f"run.results={tmp_path}", preset="quick")
    trained = table.run("SBN 200", "NVIL", seeds=0, evaluate=False)
    assert set(trained["status"]) == {"trained"}
    assert "bound" not in set(trained["metric"])
    line = "trained and not evaluated: 1 run; the same call with evaluate=True evaluates it"
    assert [record.getMessage() for record in caplog.records] == [line]

    caplog.clear()
    again = table.run("SBN 200", "NVIL", seeds=0)
    assert not caplog.records
    assert list(zip(again["metric"], again["value"], strict=True)) == measured(made[1], again)


def test_a_call_whose_time_is_over_saves_and_the_same_call_goes_on(made, tmp_path, caplog):
    table = vb.table("nvil_mnist", *FEW, f"run.results={tmp_path}", preset="quick")
    assert not len(table.run("SBN 200", "NVIL", seeds=0, minutes=1e-9))
    over = "1e-09 minutes are over, the state is saved: 1 of 1 runs left; the same call goes on from here"
    assert [record.getMessage() for record in caplog.records] == [over]

    caplog.clear()
    again = table.run("SBN 200", "NVIL", seeds=0, minutes=90)
    assert not caplog.records
    assert list(zip(again["metric"], again["value"], strict=True)) == measured(made[1], again)


def measured(results, others):
    """Metrics and values of a run; times are those of the other one."""
    lines = zip(results["metric"], results["value"], others["value"], strict=True)
    return [(metric, other if metric in ("ms_per_update", "hours") else value) for metric, value, other in lines]


@pytest.mark.parametrize("minutes", [0, -1.5, float("nan"), float("inf"), 1e6, "90", True])
def test_a_time_that_is_none_is_refused(tmp_path, minutes):
    table = vb.table("nvil_mnist", *FEW, f"run.results={tmp_path / 'runs'}", preset="quick")
    with pytest.raises(vb.UserError, match=r"^--minutes .*: allowed: a number above 0 and below 1,000,000$"):
        table.run("SBN 200", "NVIL", seeds=0, minutes=minutes)
    assert not (tmp_path / "runs").exists()


def test_a_time_is_of_this_machine_alone(tmp_path):
    table = vb.table("nvil_mnist", "run.launcher=slurm", f"run.results={tmp_path / 'runs'}", preset="quick")
    with pytest.raises(vb.UserError, match="--minutes: for runs on this machine"):
        table.run("SBN 200", "NVIL", seeds=0, minutes=1)
    assert not (tmp_path / "runs").exists()


def test_the_number_of_threads_stays(made):
    before = torch.get_num_threads()
    torch.set_num_threads(2)
    try:
        made[0].run("SBN 200", "NVIL", seeds=0, force=True)
        assert torch.get_num_threads() == 2
    finally:
        torch.set_num_threads(before)


@pytest.mark.parametrize(
    ("call", "line"),
    [
        (lambda t: vb.table("nvil_mnits"), "did you mean 'nvil_mnist'"),
        (lambda t: vb.table("nvil_mnist,nvil_rates"), "one table at one preset"),
        (lambda t: vb.table("nvil_mnist", preset="quik"), "unknown preset 'quik'"),
        (lambda t: vb.table("nvil_mnist", "optim.rat=1"), "optim.rat"),
        (lambda t: t.run(rows=["SBN 20"]), "no row 'SBN 20'"),
        (lambda t: t.run(columns="NVI"), "no column 'NVI'"),
        (lambda t: t.run(seeds=[-1]), "whole numbers"),
        (lambda t: t.report("docx"), "unknown format 'docx'"),
        (lambda t: vb.reference("nvil_mnist", "quick"), "no results of nvil_mnist with preset=quick"),
        (lambda t: vb.reference("nvil"), "nvil"),
        (lambda t: vb.table("dvae_pp_smoothing").run(), "drawn from formulas"),
        (lambda t: vb.table("dvae_pp_smoothing", "optim.rate=1"), "without settings"),
        (lambda t: t.run(rows=3), "rows or columns 3: allowed: a name"),
        (lambda t: t.run(evaluate="no"), "evaluate='no': allowed: True or False"),
        (lambda t: t.run(force=1), "force=1: allowed: True or False"),
        (lambda t: vb.load_run("nowhere"), "not a run of vaebench"),
        (lambda t: vb.load_run("nvil_mnits"), "'nvil_mnits' is neither a run nor a table: did you mean 'nvil_mnist'?"),
        (lambda t: vb.load_run("nvil_mnist", None), "entry=None: allowed: a name"),
        (lambda t: vb.load_run(None), "folder=None: allowed: a name or a Path"),
        (lambda t: vb.load_run("lagging_yahoo"), "lagging_yahoo: no shipped model of that name: allowed: "),
        (lambda t: vb.load_data("digit"), "did you mean 'digits'"),
        (lambda t: vb.load_data("digits", held_out=-1), "data.held_out"),
        (lambda t: vb.build_model("sbn", vb.load_data("digits"), dims=[0]), "model.dims"),
        (lambda t: vb.build_model("text_vae", vb.load_data("digits")), "no documents"),
        (lambda t: vb.load_model("nowhere.pt"), "cannot be read"),
    ],
)
def test_bad_input_is_one_line(made, call, line):
    with pytest.raises(vb.UserError) as caught:
        call(made[0])
    assert line in str(caught.value)
    assert "\n" not in str(caught.value)


def test_shipped_results():
    frame = vb.reference("nvil_mnist", "short")
    assert set(frame["preset"]) == {"short"}
    assert vb.table("nvil_mnist", preset="short").reference().equals(frame)
    assert {"short", "paper"} <= set(vb.reference("nvil_mnist")["preset"])


def test_a_figure_of_formulas():
    figure = vb.table("dvae_pp_smoothing")
    assert len(figure.results()) == len(figure.reference()) > 100
    assert "|" in figure.report("md")


# --------------------------------------------------------------------------------------------------- runs


def test_a_run_knows_its_numbers(made):
    run = vb.load_run(made[0].runs()[0])
    assert (run.row, run.column, run.seed, run.status) == ("SBN 200", "NVIL", 0, "done")
    bound = next(m for m in run.measures if m.name == "bound")
    results = made[1]
    assert bound.value == results[results["metric"] == "bound"]["value"].item()
    assert list(run.curve["update"]) == [10, 20]
    assert run.config["train"]["updates"] == 20


def test_an_evaluation_is_kept(made):
    run = vb.load_run(made[0].runs()[0])
    found = {m.name: m for m in run.evaluate("run.device=cpu", iw_samples=30)}
    assert found["iw_nll"].samples == 30
    assert {m.samples for m in run.measures if m.name == "iw_nll"} == {20, 30}
    x = run.data.test
    again = vb.estimators.importance(run.model, x, samples=30, seed=0)
    assert again.nll == pytest.approx(found["iw_nll"].value, rel=1e-6)
    with pytest.raises(vb.UserError, match=r"eval\.iw_samples"):
        run.evaluate(iw_samples=0)
    with pytest.raises(vb.UserError, match="keeps its training"):
        run.evaluate("optim.rate=1")


def test_a_shipped_model(made, tmp_path, monkeypatch):
    """By table and row; it is only read, and an evaluation is that of a copy."""
    (folder,) = made[0].runs()[:1]
    place = tmp_path / "models" / folder.parent.name / folder.name
    shutil.copytree(folder, place)
    monkeypatch.setattr(shipped_models, "folder", lambda: tmp_path / "models")
    run = vb.load_run("nvil_mnist", "SBN 200")
    assert run.folder == place
    assert vb.load_run("nvil_mnist").folder == place, "the only one of its table"
    assert run.sample(2).shape == (2, 64)
    before = {path.name: path.read_bytes() for path in place.iterdir()}

    measures = run.evaluate(f"run.results={tmp_path / 'mine'}", iw_samples=3)

    assert {m.samples for m in measures if m.name == "iw_nll"} == {3}
    assert run.folder == tmp_path / "mine" / folder.parent.name / folder.name
    assert {path.name: path.read_bytes() for path in place.iterdir()} == before
    with pytest.raises(vb.UserError, match="no shipped model of that name: allowed: nvil_mnist 'SBN 200' NVIL"):
        vb.load_run("nvil_mnist", "SBN 20")


def test_images(made):
    run = vb.load_run(made[0].runs()[0])
    x = run.data.test[:3]
    for images in (run.sample(3, seed=1), run.reconstruct(x), run.reconstruct(torch.from_numpy(x).float())):
        assert images.shape == (3, 64)
        assert images.dtype == np.uint8
        assert set(np.unique(images)) <= {0, 1}
    assert (run.sample(3, seed=1) == run.sample(3, seed=1)).all()
    assert (run.sample(3, seed=1) != run.sample(3, seed=2)).any()

    for wrong, line in ((x[0], "shape"), (x[:, :5], "5 dimensions"), (x + 1, "zeros and ones")):
        with pytest.raises(vb.UserError, match=line):
            run.reconstruct(wrong)
    for n in (0, 1.5, runs.MOST + 1):
        with pytest.raises(vb.UserError, match="a whole number"):
            run.sample(n)


def test_documents(documents):
    assert all(isinstance(text, str) for text in documents.sample(3))
    texts = [" ".join(documents.data.vocabulary[4:7]), documents.data.vocabulary[5]]
    assert len(documents.reconstruct(texts)) == 2
    assert len(documents.reconstruct(documents.data.test[:4])) == 4
    assert documents.reconstruct(texts) == documents.reconstruct(texts)


# --------------------------------------------------------------------------------------------------- parts, export


def test_an_exported_model_computes_the_same(made, tmp_path):
    run = vb.load_run(made[0].runs()[0])
    module = run.export(tmp_path / "sbn.pt")
    same = vb.load_model(tmp_path / "sbn.pt")
    x = torch.from_numpy(run.data.test[:20]).float()
    values = [vb.estimators.importance(m, x, samples=20, seed=3).nll for m in (run.model, module, same)]
    assert len(set(values)) == 1
    fresh = vb.build_model("sbn", run.data, dims=[200])
    assert vb.estimators.importance(fresh, x, samples=20, seed=3).nll != values[0]

    content = torch.load(tmp_path / "sbn.pt", weights_only=True)
    assert (content["model"]["name"], content["data"]["name"], content["seed"]) == ("sbn", "digits", 0)


def test_the_command_exports_the_same(made, tmp_path, capsys):
    folder = made[0].runs()[0]
    assert main(["export", str(folder), "--output", str(tmp_path / "both")]) == 0
    names = sorted(path.name for path in (tmp_path / "both").iterdir())
    assert names == ["decoder.pt2", "encoder.pt2", "model.pt", "sample.pt2"]
    assert capsys.readouterr().err.count("vaebench: wrote ") == 4

    run = vb.load_run(folder)
    z = (torch.rand(3, 200) < 0.5).float()
    found = torch.export.load(tmp_path / "both" / "decoder.pt2").module()(z)
    torch.testing.assert_close(found, run.model.p[0].drive(z))

    assert main(["export", str(folder), "--output", str(tmp_path / "one"), "--only", "parameters"]) == 0
    assert [path.name for path in (tmp_path / "one").iterdir()] == ["model.pt"]
    assert main(["export", str(folder), "--output", str(tmp_path / "none"), "--only", "all"]) == 2
    assert not (tmp_path / "none").exists()


def test_an_exported_model_refines_its_posterior(documents, tmp_path):
    """A semi-amortised model is measured by the same posterior wherever it was loaded from."""
    model = documents.model
    model.refinement = Refinement(Steps(count=2), batch=8, seed=5)
    try:
        module = documents.export(tmp_path / "refined.pt")
        same = vb.load_model(tmp_path / "refined.pt")
        x = torch.from_numpy(documents.data.test[:6])
        values = [vb.estimators.importance(m, x, samples=5, seed=3).nll for m in (model, module, same)]
        assert len(set(values)) == 1
    finally:
        model.refinement = None
    assert vb.estimators.importance(model, x, samples=5, seed=3).nll != values[0]
    assert torch.load(tmp_path / "refined.pt", weights_only=True)["refinement"]["count"] == 2


def test_a_file_that_is_no_model_is_one_line(made, tmp_path):
    path = tmp_path / "model.pt"
    vb.load_run(made[0].runs()[0]).export(path)
    content = torch.load(path, weights_only=True)

    other = {**content, "model": {**content["model"], "dims": [7]}}
    for wrong, line in ((other, "does not fit"), ({**content, "format": 9}, "format 9"), ([1], "not a model")):
        torch.save(wrong, path)
        with pytest.raises(vb.UserError, match=line):
            vb.load_model(path)
    path.write_bytes(b"nothing")
    with pytest.raises(vb.UserError, match="not a model"):
        vb.load_model(path)


def test_a_model_begins_as_its_seed_says():
    data = vb.load_data("digits", held_out=100)
    assert len(data.valid) == 100
    a, b, c = (vb.build_model("sbn", data, seed=s, dims=(5,)).state_dict()["p.0.weight"] for s in (0, 0, 1))
    assert torch.equal(a, b)
    assert not torch.equal(a, c)


def test_a_log_z_that_is_missing_is_asked_for():
    data = vb.load_data("digits")
    model = vb.build_model("rbm_vae", data, latents=8).eval()
    for estimate in (vb.estimators.importance, vb.estimators.bound):
        with pytest.raises(vb.UserError, match="give its log_z"):
            estimate(model, data.test[:10], samples=10, seed=0)
    z = float(vb.estimators.log_z.exact(model.prior()).value)
    iw = vb.estimators.importance(model, data.test[:10], samples=10, seed=0, log_z=z)
    bound = vb.estimators.bound(model, data.test[:10], samples=10, seed=0, log_z=z)
    assert iw.nll < -bound.value
    other = vb.estimators.bound(model, data.test[:10], samples=10, seed=0, log_z=z + 1)
    assert other.value == pytest.approx(bound.value - 1)


def test_words():
    assert words.overrides("model", {"dims": (2, 1), "a": None, "b": True}) == [
        "model.dims=[2,1]",
        "model.a=null",
        "model.b=true",
    ]
    assert words.only("a", None) == ["row=a"]
    assert words.only(None, ["x", "y"]) == ["column=x", "column=y"]
    assert words.seeds(np.int64(4)) == "4"
    assert (words.seeds(None), words.seeds(3), words.seeds(range(2))) == (None, "3", "0,1")
