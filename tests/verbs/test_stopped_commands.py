"""Real commands that receive a signal while they evaluate: they end at once, and the
same command finishes."""

from __future__ import annotations

import json
import signal
import time

from vaebench.results import run_files

TINY = [
    "table=nvil_mnist",
    "preset=quick",
    "--only",
    "row=SBN 200",
    "--only",
    "column=NVIL",
    "--seeds",
    "0",
]
TINY += ["model.dims=[5]", "train.updates=100", "train.valid_every=50", "eval.iw_samples=200"]
TINY += ["run.jobs=1", "run.engine=plain"]

SLOW = """
import time, vaebench.estimators.weights as w, vaebench.running.progress as p
real, p.LINE_SECONDS = w.draws, 0.0
def draws(model, cases, first, k, seed, purpose, device):
    time.sleep(0.2 if purpose == "eval" else 0)
    return real(model, cases, first, k, seed, purpose, device)
w.draws = draws
"""
"""Code for a command: every pass of an evaluation takes a fifth of a second, and
every status has a line."""


def measures(root):
    """The measures of the only run, by signature. Times are left out, as no two runs share them."""
    (path,) = root.glob("*/seed-0/result.json")
    return {
        m["signature"]: m
        for m in json.loads(path.read_text())["measures"]
        if m["unit"] not in ("ms", "h")
    }


def stopped(command, until, number):
    """Signal a command in its evaluation: (when that was, its stderr)."""
    until(lambda: "posterior samples 3/" in command.err)

    signalled = time.time()
    command.signal_all(number)

    code, _, err = command.wait()
    assert code == 130
    assert "Traceback" not in err

    return signalled, err


def test_an_evaluation_at_the_end_of_a_run(vaebench, until, tmp_path):
    whole = tmp_path / "whole"
    root = tmp_path / "runs"

    assert vaebench("run", *TINY, f"run.results={whole}").wait()[0] == 0

    signalled, err = stopped(
        vaebench("run", *TINY, f"run.results={root}", code=SLOW), until, signal.SIGTERM
    )
    assert (
        err.splitlines()[-1]
        == "vaebench: interrupted; the state is saved, the same command goes on from here"
    )

    assert "evaluating seed 0: posterior samples 3/" in err
    assert " left\n" in err, "a time left"

    (kept,) = root.glob(f"*/seed-0/{run_files.EVALUATION}")
    # It is written soon after the signal, not when the evaluation would have ended.
    assert kept.stat().st_mtime - signalled < 2

    code, _, err = vaebench("run", *TINY, f"run.results={root}").wait()
    assert code == 0, err
    assert measures(root) == measures(whole)
    assert not kept.exists()


def test_an_evaluation_of_a_stored_run(vaebench, until, tmp_path):
    roots = [tmp_path / "whole", tmp_path / "runs"]
    for root in roots:
        assert vaebench("run", *TINY, f"run.results={root}", "eval.iw_samples=10").wait()[0] == 0

    whole, folder = (next(root.glob("*/seed-0")) for root in roots)

    more = ["eval", "eval.iw_samples=190"]
    code, _, err = vaebench(*more, str(whole)).wait()
    assert (code, err) == (0, f"{whole}: an evaluation of unknown cost\n")

    signalled, err = stopped(vaebench(*more, str(folder), code=SLOW), until, signal.SIGINT)

    last = err.splitlines()[-1]
    assert last.startswith(
        "vaebench: interrupted: the evaluation of seed 0 stopped at posterior samples "
    )
    assert last.endswith("; what it has found is kept, the same command goes on from here")
    assert (folder / run_files.EVALUATION).stat().st_mtime - signalled < 2

    before = json.loads((folder / "result.json").read_text())
    assert "190" not in {str(m["samples"]) for m in before["measures"]}, (
        "nothing is recorded of half an evaluation"
    )

    code, _, err = vaebench(*more, str(folder)).wait()
    assert code == 0, err
    assert measures(roots[1]) == measures(roots[0])
    assert not (folder / run_files.EVALUATION).exists()

    # Now that its cost is recorded, it can be told.
    _, _, err = vaebench(*more, str(folder)).wait()
    assert "an evaluation of about " in err
