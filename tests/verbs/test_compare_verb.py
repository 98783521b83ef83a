"""``vaebench compare``: two CSVs of results against each other."""

from __future__ import annotations

from pathlib import Path

from kit.commands import call
from kit.runs import store_run

from vaebench.config import catalogue
from vaebench.config.compose import cells


def test_compare(runs, tmp_path, capsys):
    a = str(tmp_path / "a.csv")
    b = str(tmp_path / "b.csv")
    report = ["report", "table=small", f"run.results={runs}", "--format", "csv", "--output"]

    call(capsys, *report, a)
    assert call(capsys, "compare", a, a)[0] == 0

    # The same run, one nat worse.
    ws = cells(
        catalogue.load_table("small"), catalogue.load_preset("paper"), only=["SBN 200", "column=WS"]
    )[0]
    store_run(runs, ws, 0, 121.75)
    call(capsys, *report, b)

    code, out, _ = call(capsys, "compare", a, b)
    assert (code, "DIFFERS" in out) == (1, True)
    assert call(capsys, "compare", a, b, "--tol", "1.01")[0] == 0

    # The same numbers, as if averaged over more samples: another protocol.
    text = Path(b).read_text()
    Path(b).write_text(text.replace("samples:10|", "samples:20|"))

    code, _, err = call(capsys, "compare", a, b, "--tol", "1.01")
    assert (code, "protocols differ" in err) == (2, True)
    assert call(capsys, "compare", a, b, "--tol", "1.01", "--ignore-protocol")[0] == 0
