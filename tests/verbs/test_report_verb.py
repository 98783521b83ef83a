"""``vaebench report``: of stored runs and of CSVs, to the terminal and to files."""

from __future__ import annotations

import pytest
from kit.commands import call
from kit.tables import SMALL


def test_report_takes_all_seeds_found(runs, capsys):
    code, out, err = call(capsys, "report", "table=small", f"run.results={runs}")

    assert (code, err) == (0, "")
    assert "113.30" in out  # the mean of seeds 0 and 7
    assert "88.9" in out

    one_seed = call(capsys, "report", "table=small", "--seeds", "0", f"run.results={runs}")[1]
    assert "113.20" in one_seed
    assert "113.30" not in one_seed


def test_report_of_rows(runs, capsys):
    out = call(
        capsys,
        "report",
        "table=small",
        f"run.results={runs}",
        "--format",
        "csv",
        "--only",
        "column=WS",
    )[1]

    assert len(out.splitlines()) == 2
    assert ",WS," in out


def test_report_without_runs_says_how_to_make_them(conf, tmp_path, capsys):
    code, out, err = call(
        capsys, "report", "table=small", "preset=tuned", f"run.results={tmp_path}/none"
    )

    assert code == 0
    assert "113.1" in out
    assert err.count("\n") == 1
    assert "vaebench run table=small preset=tuned" in err


@pytest.mark.parametrize(
    "files", [["--curves"], ["--plot"], ["--format", "csv", "--output"]], ids=lambda f: f[0]
)
def test_report_without_runs_writes_no_file_of_theirs(conf, tmp_path, capsys, files):
    """One line says so, and its command keeps the settings that were changed."""
    changed = ["optim.rate=1e-2", f"run.results={tmp_path}/none"]
    file = tmp_path / ("out.png" if files == ["--plot"] else "out.csv")

    code, out, err = call(
        capsys, "report", "table=small", "preset=tuned", *changed, *files, str(file)
    )

    assert (code, out, err.count("\n")) == (2, "", 1)
    assert "no runs of small with preset=tuned optim.rate=1e-2 in" in err
    assert (
        f"vaebench run table=small preset=tuned {' '.join(changed)} makes them; nothing was written"
        in err
    )
    assert not file.exists()


@pytest.mark.parametrize("format", ["text", "md", "csv", "latex", "html"])
def test_report_formats(runs, tmp_path, capsys, format):
    arguments = ["report", "table=small", f"run.results={runs}", "--format", format]
    code, out, _ = call(capsys, *arguments)
    assert (code, "SBN 200" in out) == (0, True)

    target = tmp_path / "new" / "out.txt"
    code, printed, err = call(capsys, *arguments, "--output", str(target))

    assert (code, printed, err) == (0, "", f"vaebench: wrote {target}\n")
    assert target.read_text() == out


def as_csv(runs, file):
    """Arguments of a command that writes the results of a folder of runs to a CSV."""
    return [
        "report",
        "table=small",
        f"run.results={runs}",
        "--format",
        "csv",
        "--output",
        str(file),
    ]


def test_report_from_a_csv_is_the_report_of_the_runs(runs, conf, tmp_path, capsys):
    (conf / "table" / "other.yaml").write_text(SMALL)
    file = tmp_path / "all.csv"
    assert call(capsys, *as_csv(runs, file))[0] == 0

    direct = call(capsys, "report", "table=small", f"run.results={runs}")[1]

    assert call(capsys, "report", "table=small", "--from", str(file)) == (0, direct, "")
    assert call(capsys, "report", "table=small", "preset=paper", "--from", str(file))[1] == direct
    assert call(capsys, "report", "table=small", "--from", str(file), "--from", str(file)) == (
        0,
        direct,
        "",
    )

    for choice in (["preset=tuned"], ["--seeds", "5"]):
        code, out, err = call(capsys, "report", "table=small", *choice, "--from", str(file))

        assert (code, out) == (2, "")
        assert (
            "nothing of table small by that preset and seeds; there are preset paper: seeds 0, 7"
            in err
        )

    assert "113.20" in call(capsys, "report", "table=small", "--seeds", "0", "--from", str(file))[1]

    code, _, err = call(capsys, "report", "table=other", "--from", str(file))
    assert (code, "no rows of table other" in err) == (2, True)


@pytest.mark.parametrize(
    ("known", "odd", "says"),
    [
        ("small,SBN 200,", "small,SBN 999,", "table small has no such entry: SBN 999 / NVIL"),
        (",bound,", ",bond,", "there is no such measure: bond"),
    ],
)
def test_what_is_left_out_of_a_csv_is_named(runs, tmp_path, capsys, known, odd, says):
    file = tmp_path / "all.csv"
    call(capsys, *as_csv(runs, file))
    file.write_text(file.read_text().replace(known, odd, 1))

    code, _, err = call(capsys, "report", "table=small", "--from", str(file))

    assert (code, err.count("\n")) == (0, 1)
    assert f"left out, since {says}" in err


def test_a_report_of_some_entries_says_nothing_of_the_others(runs, capsys):
    report = ["report", "table=small", f"run.results={runs}"]
    all_entries, one_entry = (
        call(capsys, *report, *more)[1]
        for more in ([], ["--only", "SBN 200", "--only", "column=NVIL"])
    )

    assert "113.30" in one_entry
    assert ("not run" in all_entries, "not run" in one_entry) == (True, False)
    assert ("NADE 500" in all_entries, "NADE 500" in one_entry) == (True, False)
    assert "113.1" in one_entry


def test_report_of_two_tables(runs, conf, capsys):
    (conf / "table" / "other.yaml").write_text(SMALL.replace("A small table", "Another table"))
    arguments = ["report", "table=small,other", f"run.results={runs}"]

    out = call(capsys, *arguments)[1]
    assert out.count("113.30") == 2  # the same training is the same run

    table = call(capsys, *arguments, "--format", "csv")[1]
    assert (len(table.splitlines()), table.count("table,row,column")) == (7, 1)

    # A page of HTML has one table.
    assert call(capsys, *arguments, "--format", "html")[0] == 2


def test_report_writes_curves_and_plots(runs, tmp_path, capsys):
    folder = next(runs.glob("*-nvil-*")) / "seed-0"
    (folder / "curve.csv").write_text(
        "update,seconds,train_bound,valid_bound,unit\n"
        "10,1.0,120.5,121.5,nats\n"
        "20,2.0,115,116,nats\n"
    )

    curves = tmp_path / "c.csv"
    plot = tmp_path / "p.svg"
    arguments = [
        "report",
        "table=small",
        f"run.results={runs}",
        "--curves",
        str(curves),
        "--plot",
        str(plot),
    ]

    assert call(capsys, *arguments)[0] == 0

    assert curves.read_text().splitlines()[1] == "small,SBN 200,NVIL,0,10,1.0,120.5,121.5"
    assert plot.read_text().startswith("<?xml")


def test_report_that_cannot_be_written_is_one_line(runs, tmp_path, capsys):
    code, _, err = call(
        capsys, "report", "table=small", f"run.results={runs}", "--output", str(tmp_path)
    )

    assert (code, err.count("\n")) == (2, 1)
    assert "cannot write" in err
