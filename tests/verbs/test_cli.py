"""The command: verbs, exit codes, one line for every error, instant listing, completion."""

from __future__ import annotations

import os
import re
import subprocess
import sys
import types
from pathlib import Path

import pytest

from vaebench import cli
from vaebench.cli import VERBS, main
from vaebench.config import catalogue
from vaebench.errors import DataError, Interrupted, UserError
from vaebench.protocol import signature

TABLE = """
title: A small table
paper: someone2014
where: Table 1
recipe: 3
measure: bound
margin: 0.5
margin_why: seeds differ by that much
seeds: [0, 1]
base: [data=mnist_static, model=sbn, optim=sgd, eval=bound10]
columns:
  NVIL: {set: [objective=nvil, optim.rate=3e-4]}
  WS:   {set: [objective=wake_sleep, optim.rate=1e-4]}
rows:
  SBN 200:   {set: ["model.dims=[200]"], published: {NVIL: 113.1, WS: 120.8}}
  fDARN 200: {set: [model=fdarn, "model.dims=[200]"], columns: [NVIL], published: {NVIL: 92.5}}
  NADE 500:  {columns: [], published: {NLL: 88.9}, source: Larochelle and Murray 2011}
presets:
  tuned: {set: [optim.rate=1e-3], note: chosen on validation, rows: {SBN 200: {WS: [optim.rate=2e-3]}}, seeds: [4, 5]}
ledger:
  - {topic: sum or mean, paper: silent, here: summed, why: the mean learns twenty times slower}
"""
DRAWN = """
title: A figure of formulas
paper: someone2018
where: Figure 5
drawn: smoothing
ledger:
  - {topic: temperatures, paper: silent, here: chosen, why: smooth to sharp}
"""
ROOT = Path(cli.__file__).resolve().parents[1]


@pytest.fixture
def conf(conf, tmp_path, monkeypatch):
    (conf / "table" / "small.yaml").write_text(TABLE)
    (conf / "table" / "drawing.yaml").write_text(DRAWN)
    monkeypatch.setenv("VAEBENCH_DATA", str(tmp_path / "data"))
    for name in ("VAEBENCH_MIRROR", "VAEBENCH_DEBUG"):
        monkeypatch.delenv(name, raising=False)
    return conf


@pytest.fixture
def verb(monkeypatch):
    """Put a function in the place of the verb ``bench``."""

    def put(run, configure=lambda parser: None):
        module = types.ModuleType("vaebench.verbs.bench")
        module.HELP, module.configure, module.run = "A stand-in.", configure, run
        monkeypatch.setitem(sys.modules, "vaebench.verbs.bench", module)

    return put


def call(capsys, *arguments):
    code = main(list(arguments))
    out, err = capsys.readouterr()
    return code, out, err


def python(code, *, conf=None, env=None, **options):
    """A fresh interpreter in which ``main`` is at hand, with another configuration folder if given."""
    setup = "import sys; from pathlib import Path; from vaebench.config import catalogue\n"
    setup += "from vaebench.cli import main\n"
    if conf is not None:
        setup += f"catalogue.conf_dir = lambda: Path({str(conf)!r})\n"
    environment = {k: v for k, v in os.environ.items() if not k.startswith(("VAEBENCH_", "PYTHONUNBUFFERED"))}
    environment |= {"PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1", **(env or {})}
    options = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, **options}
    return subprocess.run([sys.executable, "-c", setup + code], env=environment, text=True, timeout=60, **options)


def raising(error):
    def run(args):
        raise error

    return run


# ------------------------------------------------------------------------------------------- codes and lines


@pytest.mark.parametrize(
    ("error", "code", "line"),
    [
        (UserError("no such row"), 2, "vaebench: no such row\n"),
        (DataError("file a\nis truncated"), 2, "vaebench: file a is truncated\n"),
        (Interrupted("stopped; saved at update 5"), 130, "vaebench: stopped; saved at update 5\n"),
        (Interrupted(), 130, "vaebench: interrupted\n"),
        (KeyboardInterrupt(), 130, "vaebench: interrupted\n"),
        (BrokenPipeError(), 1, ""),
        (ValueError("odd\nthing"), 1, "vaebench: ValueError: odd thing (set VAEBENCH_DEBUG=1 for the traceback)\n"),
    ],
)
def test_errors_are_one_line_and_a_code(conf, verb, capsys, error, code, line):
    verb(raising(error))
    assert call(capsys, "bench") == (code, "", line)


@pytest.mark.parametrize("how", ["option", "environment"])
def test_debug_shows_the_traceback(conf, verb, monkeypatch, how):
    verb(raising(ValueError("odd")))
    if how == "environment":
        monkeypatch.setenv("VAEBENCH_DEBUG", "1")
    with pytest.raises(ValueError, match="odd"):
        main(["bench", *(["--debug"] if how == "option" else [])])


@pytest.mark.parametrize(("value", "code"), [(0, 0), (1, 1), (None, 0)])
def test_the_code_of_a_verb_is_passed_on(conf, verb, capsys, value, code):
    verb(lambda args: value)
    assert call(capsys, "bench")[0] == code


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--bogus"], ["--bogus", "vaebench --help"]),
        (["ls", "--bogus"], ["--bogus", "vaebench ls --help"]),
        (["ls", "modles"], ["cannot list 'modles'", "did you mean 'models'"]),
        (["ls", "tables", "foo=3"], ["does not take 'foo=3'"]),
        (["show"], ["no table", "small"]),
        (["show", "table=smal"], ["did you mean 'small'"]),
        (["show", "table=small", "optim.rate=3"], ["does not take 'optim.rate=3'"]),
        (["data", "get", "mnist_statik"], ["did you mean 'mnist_static'"]),
        (["data", "ls", "data.miror=x"], ["does not take 'data.miror=x'"]),
        (["completion"], ["required", "shell"]),
        (["compare", "a.csv", "b.csv"], ["a.csv: no such file"]),
        (["compare", "a.csv", "b.csv", "--tol", "x"], ["--tol", "'x'"]),
        (["report", "table=small", "--format", "pdf"], ["unknown format 'pdf'", "latex"]),
        (["report", "table=small", "--seeds", "x"], ["--seeds", "'x'"]),
        (["report", "table=small", "optim.rat=1"], ["did you mean 'optim.rate'"]),
        (["report", "table=small", "--from", "none.csv"], ["none.csv: no such file"]),
        (["report", "table=small", "--from", "none.csv", "optim.rate=1"], ["does not take 'optim.rate=1'"]),
        (["report", "table=small", "--from", "none.csv", "--plot", "a.png"], ["none.csv: no such file"]),
        (["report", "table=small", "--plot", "a.gif"], ["a.gif"]),
        (["run", "table=drawing", "--only", "row=one"], ["drawing", "drawn from formulas", "leave out --only"]),
        (["run", "table=drawing", "--seeds", "0"], ["drawing", "drawn from formulas", "leave out --seeds"]),
        (["run", "table=drawing", "optim.rate=1"], ["drawing", "does not take 'optim.rate=1'", "run.results="]),
        (["run", "table=misdrawn"], ["misdrawn", "unknown figure 'smoothign'", "did you mean 'smoothing'"]),
        (["run", "table=drawn_rows"], ["drawn_rows", "rows: a drawn figure trains nothing", "leave it out"]),
        (["run", "table=drawn_number"], ["drawn_number", "drawn: expected the name of a figure, found 3"]),
        (["report", "table=drawing", "--only", "row=one"], ["drawn from formulas", "leave out --only"]),
        (["report", "table=drawing", "model=sbn"], ["does not take 'model=sbn'"]),
        (["report", "table=drawing", "--from", "none.csv"], ["drawn from formulas", "leave out --from"]),
        (["report", "table=drawing,small", "--format", "csv"], ["drawing", "one table at a time"]),
        (["report", "table=small,drawing", "--curves", "a.csv"], ["drawing", "one table at a time"]),
        (["report", "table=drawing", "--curves", "a.csv", "--plot", "a.gif"], ["a.gif", "allowed: pdf, png, svg"]),
        (["doctor", "table=small"], ["does not take 'table=small'"]),
        (["run", "table=small", "--minutes", "abc"], ["--minutes 'abc': allowed: a number"]),
        (["bench", "--seconds", ""], ["--seconds '': allowed: a number"]),
        (["bench", "--pack", "2.5"], ["--pack '2.5': allowed: a whole number"]),
    ],
)
def test_usage_errors_are_one_line(conf, capsys, tmp_path, monkeypatch, arguments, words):
    monkeypatch.chdir(tmp_path)
    for name, old, new in (
        ("misdrawn", "smoothing", "smoothign"),
        ("drawn_rows", "drawn:", "rows: {}\ndrawn:"),
        ("drawn_number", "smoothing", "3"),
    ):
        (conf / "table" / f"{name}.yaml").write_text(DRAWN.replace(old, new))
    before = sorted(tmp_path.rglob("*"))
    code, out, err = call(capsys, *arguments)
    lines = [line for line in err.splitlines() if "no runs of" not in line]
    assert (code, out, len(lines)) == (2, "", 1)
    assert lines[0].startswith("vaebench: ")
    assert all(word in lines[0] for word in words), lines
    assert sorted(tmp_path.rglob("*")) == before  # nothing was written


def test_options_and_overrides_in_any_order(conf, verb, capsys):
    seen = []

    def configure(parser):
        parser.add_argument("overrides", nargs="*")
        parser.add_argument("--seeds")

    verb(lambda args: seen.append((args.overrides, args.seeds)), configure)
    for line in ("a=1 --seeds 0-2 b=2", "--seeds 0-2 a=1 b=2", "a=1 b=2 --seeds 0-2", "a=1 --debug b=2 --seeds=0-2"):
        assert call(capsys, *("bench " + line).split())[0] == 0
    assert seen == [(["a=1", "b=2"], "0-2")] * 4


def test_messages_go_to_stderr_one_line_each():
    code = """
import logging, types, warnings
def run(args):
    logging.getLogger("vaebench.results.store").info("saved")
    logging.getLogger("other").info("not of interest")
    logging.getLogger("other").warning("two\\nlines")
    warnings.warn("careful")
    print("result")
m = types.ModuleType("bench"); m.HELP, m.configure, m.run = "", lambda p: None, run
sys.modules["vaebench.verbs.bench"] = m
sys.exit(main(["bench"]))
"""
    done = python(code)
    assert (done.returncode, done.stdout) == (0, "result\n")
    assert done.stderr == "vaebench: saved\nvaebench: warning: two lines\nvaebench: warning: careful\n"


BENCH = """
import types
def run(args):
    print("result")
    {}
m = types.ModuleType("bench"); m.HELP, m.configure, m.run = "", lambda p: None, run
sys.modules["vaebench.verbs.bench"] = m
sys.exit(main(["bench"]))
"""


@pytest.mark.parametrize(
    ("then", "code", "line"),
    [("pass", 1, ""), ("raise KeyboardInterrupt", 130, "vaebench: interrupted\n"), ("print('x' * 10**6)", 1, "")],
)
def test_a_closed_pipe_is_silent(then, code, line):
    reading, writing = os.pipe()
    os.close(reading)
    done = python(BENCH.format(then), stdout=writing)
    os.close(writing)
    assert (done.returncode, done.stderr) == (code, line)


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="no /dev/full on this system")
@pytest.mark.parametrize(("then", "code", "word"), [("pass", 1, "No space left"), ("raise ValueError(7)", 1, "7")])
def test_a_full_disk_under_stdout_is_one_line(then, code, word):
    with open("/dev/full", "w") as full:
        done = python(BENCH.format(then), stdout=full)
    assert (done.returncode, done.stderr.count("\n")) == (code, 1)
    assert word in done.stderr


# --------------------------------------------------------------------------------------------- help, version


def test_version(capsys):
    from vaebench import __version__

    assert call(capsys, "--version") == (0, f"vaebench {__version__}\n", "")


def test_module_runs():
    done = subprocess.run(
        [sys.executable, "-m", "vaebench", "--version"], cwd=ROOT, capture_output=True, text=True, timeout=60
    )
    assert (done.returncode, done.stdout.split()[0]) == (0, "vaebench")


def test_help_lists_every_verb(capsys):
    code, out, err = call(capsys, "--help")
    assert (code, err) == (0, "")
    assert all(f"\n  {verb} " in out for verb in VERBS)
    assert call(capsys)[0] == 2


@pytest.mark.parametrize("verb", ["ls", "show", "report", "compare", "data", "doctor", "completion"])
def test_help_of_a_verb_has_examples(capsys, verb):
    code, out, err = call(capsys, verb, "--help")
    assert (code, err) == (0, "")
    assert f"vaebench {verb}" in out[out.index("examples:") :]


def test_examples_are_understood():
    """Every example is a verb followed by arguments that its parser takes."""
    import importlib
    import shlex

    tried = 0
    for verb, (_, examples) in VERBS.items():
        if not (Path(cli.__file__).parent / "verbs" / f"{verb}.py").is_file():
            continue
        module = importlib.import_module(f"vaebench.verbs.{verb}")
        for example in examples:
            words = shlex.split(example.replace('"$(vaebench ', "").replace(')"', "").removeprefix("eval completion"))
            parser = cli._configured(cli.Parser(prog="x"), module)
            parser.parse_intermixed_args(words[1:] if words[0] == verb else words)
            tried += 1
    assert tried >= 7


# -------------------------------------------------------------------------------------------------- ls, show


def test_ls_tables(conf, capsys):
    code, out, _ = call(capsys, "ls")
    line = next(line for line in out.splitlines() if line.startswith("small"))
    assert code == 0
    assert line.split() == ["small", "Table", "1", "3", "someone2014", "A", "small", "table"]
    assert call(capsys, "ls", "tables")[1] == out


def test_ls_options_with_their_first_comment(conf, capsys):
    (conf / "model" / "bare.yaml").write_text("name: bare\n")
    out = call(capsys, "ls", "models")[1]
    assert re.search(r"^sbn +Sigmoid belief net", out, re.M)
    assert "\nbare\n" in out
    assert re.search(r"^wake_sleep +Wake-sleep", call(capsys, "ls", "objectives")[1], re.M)
    assert "tuned   tuned" in call(capsys, "ls", "presets")[1]


def test_ls_data(conf, capsys):
    for arguments in (["ls", "data"], ["data", "ls"]):
        code, out, _ = call(capsys, *arguments)
        assert code == 0
        lines = [line.split() for line in out.splitlines()]
        assert ["digits", "ready"] in [line[:2] for line in lines]
        assert ["mnist_static", "missing", "3", "of", "3"] in [line[:5] for line in lines]


def _store_run(root, cell, seed, value, status="done"):
    from vaebench.results.stats import Measure
    from vaebench.results.store import Store

    protocol = signature.signature(cell.config, "bound", cell.config["eval"]["bound_samples"], "8f3a12cd")
    measure = Measure("bound", value, "nats", 0.1, "monte carlo", 10_000, 10, protocol)
    result = {"schema": 1, "status": status, "updates": 2000, "seconds": 3.0, "measures": [measure.to_dict()]}
    Store(root).write_result(cell.key, seed, result)


@pytest.fixture
def runs(conf, tmp_path):
    """Runs of the small table's first row: NVIL at seeds 0 and 7, wake-sleep at seed 0."""
    from vaebench.config.compose import cells

    root = tmp_path / "runs"
    nvil, ws = cells(catalogue.load_table("small"), catalogue.load_preset("paper"), only=["SBN 200"])
    _store_run(root, nvil, 0, 113.2)
    _store_run(root, nvil, 7, 113.4)
    _store_run(root, ws, 0, 120.75)
    return root


def test_ls_runs(runs, capsys):
    code, out, _ = call(capsys, "ls", "runs", f"run.results={runs}")
    lines = out.splitlines()
    assert (code, len(lines)) == (0, 4)
    assert lines[1].split()[1:] == ["0", "done", "2,000", "-", "bound", "113.20(0.10)"]
    assert call(capsys, "ls", f"run.results={runs}")[0] == 0  # "tables" may be left out
    assert call(capsys, "ls", "runs", f"run.results={runs}/none")[1] == "no runs\n"


def test_ls_runs_shows_flags_first(runs, capsys):
    from vaebench.config.compose import cells

    (cell,) = cells(catalogue.load_table("small"), catalogue.load_preset("paper"), only=["SBN 200", "column=NVIL"])
    _store_run(runs, cell, 7, -626.3)
    _, out, _ = call(capsys, "ls", "runs", f"run.results={runs}")
    lines = out.splitlines()
    assert sum("flagged" in line for line in lines) == 1
    assert "flagged: bound impossible; bound -626.30(0.10)" in out


@pytest.mark.parametrize("what", ["tables", "models", "objectives", "presets", "data", "runs", "shipped"])
def test_ls_imports_nothing_heavy(what, runs):
    arguments = ["ls", what, *([f"run.results={runs}"] if what == "runs" else [])]
    heavy = {"torch", "hydra", "omegaconf", "pandas", "h5py", "scipy", "sklearn", "matplotlib", "argcomplete"}
    done = python(f"main({arguments!r}); print({heavy!r} & set(sys.modules), file=sys.stderr)")
    assert done.stdout
    assert done.stderr == "set()\n"


def test_show_has_everything(conf, capsys):
    code, out, _ = call(capsys, "show", "table=small")
    assert code == 0
    for text in (
        "A small table",
        "Table 1 of someone2014",
        "seeds differ by that much",
        "objective=wake_sleep optim.rate=1e-4",
        "model=fdarn model.dims=[200]",
        "NVIL 113.1, WS 120.8",
        "Larochelle and Murray 2011",
        "rates selected on validation",
        "here optim.rate=1e-3",
        "SBN 200 / WS: optim.rate=2e-3",
        "seeds 4, 5",
        "1. sum or mean",
        "paper  silent",
        "here   summed",
        "why    the mean learns twenty times slower",
    ):
        assert text in out, text


def test_show_imports_nothing_heavy(conf):
    code = 'main(["show", "table=small"]); print({"torch", "hydra", "pandas"} & set(sys.modules), file=sys.stderr)'
    assert python(code, conf=conf).stderr == "set()\n"


# ------------------------------------------------------------------------------------------- report, compare


def test_report_takes_all_seeds_found(runs, capsys):
    code, out, err = call(capsys, "report", "table=small", f"run.results={runs}")
    assert (code, err) == (0, "")
    assert "113.30" in out  # the mean of seeds 0 and 7
    assert "88.9" in out
    one_seed = call(capsys, "report", "table=small", "--seeds", "0", f"run.results={runs}")[1]
    assert "113.20" in one_seed
    assert "113.30" not in one_seed


def test_report_of_rows(runs, capsys):
    out = call(capsys, "report", "table=small", f"run.results={runs}", "--format", "csv", "--only", "column=WS")[1]
    assert len(out.splitlines()) == 2
    assert ",WS," in out


def test_report_without_runs_says_how_to_make_them(conf, tmp_path, capsys):
    code, out, err = call(capsys, "report", "table=small", "preset=tuned", f"run.results={tmp_path}/none")
    assert code == 0
    assert "113.1" in out
    assert err.count("\n") == 1
    assert "vaebench run table=small preset=tuned" in err


@pytest.mark.parametrize("files", [["--curves"], ["--plot"], ["--format", "csv", "--output"]], ids=lambda f: f[0])
def test_report_without_runs_writes_no_file_of_theirs(conf, tmp_path, capsys, files):
    """One line says so, and its command keeps the settings that were changed."""
    changed = ["optim.rate=1e-2", f"run.results={tmp_path}/none"]
    file = tmp_path / ("out.png" if files == ["--plot"] else "out.csv")
    code, out, err = call(capsys, "report", "table=small", "preset=tuned", *changed, *files, str(file))
    assert (code, out, err.count("\n")) == (2, "", 1)
    assert "no runs of small with preset=tuned optim.rate=1e-2 in" in err
    assert f"vaebench run table=small preset=tuned {' '.join(changed)} makes them; nothing was written" in err
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


def test_report_from_a_csv_is_the_report_of_the_runs(runs, conf, tmp_path, capsys):
    (conf / "table" / "other.yaml").write_text(TABLE)
    file = tmp_path / "all.csv"
    assert (
        call(capsys, "report", "table=small", f"run.results={runs}", "--format", "csv", "--output", str(file))[0] == 0
    )
    direct = call(capsys, "report", "table=small", f"run.results={runs}")[1]
    assert call(capsys, "report", "table=small", "--from", str(file)) == (0, direct, "")
    assert call(capsys, "report", "table=small", "preset=paper", "--from", str(file))[1] == direct
    assert call(capsys, "report", "table=small", "--from", str(file), "--from", str(file)) == (0, direct, "")
    for asked in (["preset=tuned"], ["--seeds", "5"]):
        code, out, err = call(capsys, "report", "table=small", *asked, "--from", str(file))
        assert (code, out) == (2, "")
        assert "nothing of table small by that preset and seeds; there are preset paper: seeds 0, 7" in err
    assert "113.20" in call(capsys, "report", "table=small", "--seeds", "0", "--from", str(file))[1]
    code, _, err = call(capsys, "report", "table=other", "--from", str(file))
    assert (code, "no rows of table other" in err) == (2, True)


def test_rows_of_a_csv_that_the_table_does_not_have_are_named(runs, tmp_path, capsys):
    file = tmp_path / "all.csv"
    call(capsys, "report", "table=small", f"run.results={runs}", "--format", "csv", "--output", str(file))
    file.write_text(file.read_text().replace("small,SBN 200,", "small,SBN 999,", 1))
    code, _, err = call(capsys, "report", "table=small", "--from", str(file))
    assert (code, err.count("\n")) == (0, 1)
    assert "left out, since table small has no such entry: SBN 999 / NVIL" in err


def test_a_report_of_some_entries_says_nothing_of_the_others(runs, capsys):
    asked = ["report", "table=small", f"run.results={runs}"]
    whole, some = (call(capsys, *asked, *more)[1] for more in ([], ["--only", "SBN 200", "--only", "column=NVIL"]))
    assert "113.30" in some
    assert ("not run" in whole, "not run" in some) == (True, False)
    assert ("NADE 500" in whole, "NADE 500" in some) == (True, False)
    assert "113.1" in some


def test_report_of_two_tables(runs, conf, capsys):
    (conf / "table" / "other.yaml").write_text(TABLE.replace("A small table", "Another table"))
    arguments = ["report", "table=small,other", f"run.results={runs}"]
    out = call(capsys, *arguments)[1]
    assert out.count("113.30") == 2  # the same training is the same run
    table = call(capsys, *arguments, "--format", "csv")[1]
    assert (len(table.splitlines()), table.count("table,row,column")) == (7, 1)
    assert call(capsys, *arguments, "--format", "html")[0] == 2


def test_report_writes_curves_and_plots(runs, tmp_path, capsys):
    folder = next(runs.glob("*-nvil-*")) / "seed-0"
    (folder / "curve.csv").write_text(
        "update,seconds,train_bound,valid_bound,unit\n10,1.0,120.5,121.5,nats\n20,2.0,115,116,nats\n"
    )
    curves, plot = tmp_path / "c.csv", tmp_path / "p.svg"
    arguments = ["report", "table=small", f"run.results={runs}", "--curves", str(curves), "--plot", str(plot)]
    assert call(capsys, *arguments)[0] == 0
    assert curves.read_text().splitlines()[1] == "small,SBN 200,NVIL,0,10,1.0,120.5,121.5"
    assert plot.read_text().startswith("<?xml")


def test_report_that_cannot_be_written_is_one_line(runs, tmp_path, capsys):
    code, _, err = call(capsys, "report", "table=small", f"run.results={runs}", "--output", str(tmp_path))
    assert (code, err.count("\n")) == (2, 1)
    assert "cannot write" in err


def test_compare(runs, tmp_path, capsys):
    from vaebench.config.compose import cells

    a, b = str(tmp_path / "a.csv"), str(tmp_path / "b.csv")
    report = ["report", "table=small", f"run.results={runs}", "--format", "csv", "--output"]
    call(capsys, *report, a)
    assert call(capsys, "compare", a, a)[0] == 0
    ws = cells(catalogue.load_table("small"), catalogue.load_preset("paper"), only=["SBN 200", "column=WS"])[0]
    _store_run(runs, ws, 0, 121.75)
    call(capsys, *report, b)
    code, out, _ = call(capsys, "compare", a, b)
    assert (code, "DIFFERS" in out) == (1, True)
    assert call(capsys, "compare", a, b, "--tol", "1.01")[0] == 0
    text = Path(b).read_text()
    Path(b).write_text(text.replace("samples:10|", "samples:20|"))
    code, _, err = call(capsys, "compare", a, b, "--tol", "1.01")
    assert (code, "protocols differ" in err) == (2, True)
    assert call(capsys, "compare", a, b, "--tol", "1.01", "--ignore-protocol")[0] == 0


# ----------------------------------------------------------------------------------------------------- drawn


def test_a_figure_is_drawn(conf, tmp_path, capsys):
    results = f"run.results={tmp_path}/runs"
    code, out, err = call(capsys, "run", "table=drawing", "preset=short", results)
    figures = tmp_path / "figures"
    assert (code, err) == (0, "".join(f"vaebench: wrote {figures}/drawing.{s}\n" for s in ("csv", "png")))
    assert out.startswith("A figure of formulas (Figure 5, someone2018)\n\nsmoothing ")
    assert "logistic           scale 0.1" in out
    assert call(capsys, "report", "table=drawing", results) == (0, out, "")
    assert call(capsys, "report", "table=drawing", "--format", "csv")[1] == (figures / "drawing.csv").read_text()
    assert [p.name for p in sorted(figures.iterdir())] == ["drawing.csv", "drawing.png"]


def test_a_dry_run_draws_nothing(conf, tmp_path, capsys):
    code, out, err = call(capsys, "run", "table=drawing", "--dry-run", f"run.results={tmp_path}/runs")
    assert (code, out.count("\n"), err) == (0, 1, "")
    assert "nothing to train" in out
    assert f"{tmp_path}/figures/drawing.png" in out
    assert not (tmp_path / "figures").exists()


def test_a_folder_that_cannot_be_written_is_one_line(conf, tmp_path, capsys):
    (tmp_path / "figures").write_text("a file in the way")
    code, out, err = call(capsys, "run", "table=drawing", f"run.results={tmp_path}/runs")
    assert (code, out) == (2, "")
    assert err.startswith(f"vaebench: cannot write {tmp_path}/figures/drawing.csv: ")
    assert err.count("\n") == 1


@pytest.mark.parametrize("names", ["small,drawing", "drawing,small"])
def test_a_figure_beside_a_table(runs, conf, capsys, names):
    """Rows, seeds and settings are the other table's; the pages stand in the order asked for."""
    arguments = [f"table={names}", "eval.points=50", "--seeds", "0", f"run.results={runs}"]
    code, out, err = call(capsys, "run", "--dry-run", "--only", "column=NVIL", *arguments)
    assert (code, err) == (0, "")
    assert all(text in out for text in ("drawing: drawn from formulas", "small preset=paper", "to do: "))
    for format in ("text", "md", "latex"):
        code, out, err = call(capsys, "report", f"table={names}", "--format", format, f"run.results={runs}")
        titles = {"small": out.index("A small table"), "drawing": out.index("A figure of formulas")}
        assert (code, err, ",".join(sorted(titles, key=titles.get))) == (0, "", names)
        assert "113.30" in out


def test_a_figure_is_drawn_before_a_table_is_trained(conf, tmp_path, capsys):
    few = ["data=digits", "model.dims=[5]", "train.updates=2", "train.valid_every=2", "eval.points=10"]
    here = [f"run.results={tmp_path}/runs", "run.jobs=1", "run.engine=plain"]
    arguments = ["run", "table=small,drawing", "--only", "fDARN 200", "--seeds", "0", *few, *here]
    (tmp_path / "figures").write_text("a file in the way")
    assert call(capsys, *arguments)[0] == 2
    assert not (tmp_path / "runs").exists()
    (tmp_path / "figures").unlink()
    code, out, err = call(capsys, *arguments)
    assert (code, "drawing.png" in err) == (0, True)
    assert out.index("A small table") < out.index("A figure of formulas")
    assert len(list((tmp_path / "runs").glob("*/seed-0/result.json"))) == 1


def test_report_writes_what_is_drawn(conf, tmp_path, capsys):
    points, plot = tmp_path / "p.csv", tmp_path / "p.svg"
    code, _, err = call(capsys, "report", "table=drawing", "--curves", str(points), "--plot", str(plot))
    assert (code, err) == (0, f"vaebench: wrote {points}\nvaebench: wrote {plot}\n")
    assert points.read_text() == call(capsys, "report", "table=drawing", "--format", "csv")[1]
    assert plot.read_text().startswith("<?xml")


def test_a_drawn_figure_is_listed_and_shown(conf, capsys):
    line = next(line for line in call(capsys, "ls")[1].splitlines() if line.startswith("drawing"))
    assert line.split() == ["drawing", "Figure", "5", "drawn", "someone2018", "A", "figure", "of", "formulas"]
    code, out, _ = call(capsys, "show", "table=drawing")
    assert code == 0
    assert all(text in out for text in ("Figure 5 of someone2018 (figure)", "nothing is trained", "here   chosen"))
    assert not any(text in out for text in ("margin", "columns", "presets", "recipe"))


# --------------------------------------------------------------------------------------------- data, doctor


def test_data_verify(conf, tmp_path, capsys):
    assert call(capsys, "data", "verify", "digits")[0] == 0
    assert call(capsys, "data", "verify")[0] == 0  # what was never fetched is not a fault
    assert call(capsys, "data", "verify", "mnist_static")[0] == 1  # unless it is asked for
    bad = tmp_path / "mirror" / "binarized_mnist" / "binarized_mnist_test.amat"
    bad.parent.mkdir(parents=True)
    bad.write_text("0 1 0\n")
    code, out, _ = call(capsys, "data", "verify", f"data.mirror={tmp_path}/mirror")
    assert code == 1
    assert f"mnist_static: {bad}: bad" in out


def test_data_get(conf, tmp_path, capsys, monkeypatch):
    assert call(capsys, "data", "get", "digits")[:2] == (0, "digits: ready\n")
    from vaebench import data

    asked = []

    def get(name, mirror=None):
        asked.append((name, mirror))
        if name == "mnist_static":
            raise DataError("mnist_static: no source has a good copy")
        return types.SimpleNamespace(path=Path("x.h5"))

    monkeypatch.setattr(data, "get", get)
    code, out, err = call(capsys, "data", "get", "mnist_static", "mnist_dynamic", f"data.mirror={tmp_path}")
    assert (code, err) == (1, "vaebench: mnist_static: no source has a good copy\n")
    assert out == "mnist_dynamic: ready in x.h5\n"
    assert asked == [("mnist_static", str(tmp_path)), ("mnist_dynamic", str(tmp_path))]


def test_doctor(conf, tmp_path, capsys):
    code, out, _ = call(capsys, "doctor", f"run.results={tmp_path}/runs")
    lines = out.splitlines()
    assert code == 0
    assert all(line.startswith(("ok    ", "warn  ")) for line in lines)
    for word in (
        "Python",
        "vaebench",
        "torch",
        "compiler",
        "kernels",
        "cores",
        "memory",
        "HDF5",
        "results: ",
        "data digits: ready",
    ):
        assert sum(word in line for line in lines) >= 1, word
    assert not (tmp_path / "runs").exists()


def test_doctor_fails_where_nothing_can_be_written(conf, tmp_path, capsys, monkeypatch):
    from vaebench.running import installation

    def refuse(dir):
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(installation.tempfile, "TemporaryFile", refuse)
    code, out, _ = call(capsys, "doctor", f"run.results={tmp_path}/runs")
    assert code == 1
    assert f"FAIL  results: cannot write to {tmp_path}: Permission denied" in out


def test_doctor_survives_a_broken_library(conf, capsys, monkeypatch):
    monkeypatch.setitem(sys.modules, "h5py", None)
    code, out, _ = call(capsys, "doctor")
    assert code == 1
    assert "FAIL  libraries: ModuleNotFoundError" in out
    assert "cores" in out  # the later checks still run


# ------------------------------------------------------------------------------------------------ completion


def complete(line, conf, tmp_path):
    """Candidates for a command line, as a shell asks for them."""
    answer = tmp_path / "answer"
    answer.unlink(missing_ok=True)
    env = {
        "_ARGCOMPLETE": "1",
        "_ARGCOMPLETE_IFS": "\n",
        "_ARGCOMPLETE_COMP_WORDBREAKS": " \t\n",
        "_ARGCOMPLETE_STDOUT_FILENAME": str(answer),
        "COMP_LINE": line,
        "COMP_POINT": str(len(line)),
    }
    done = python("main()", conf=conf, env=env)
    assert done.returncode == 0, done.stderr
    return [word.rstrip() for word in answer.read_text().split("\n") if word]


@pytest.mark.parametrize(
    ("line", "words"),
    [
        ("vaebench re", ["report", "reconstruct", "rekey"]),
        ("vaebench report table=sm", ["table=small"]),
        (
            "vaebench report table=small preset=",
            [f"preset={p}" for p in ("equal", "long", "paper", "quick", "short", "small", "tenth", "tuned", "twice")],
        ),
        ("vaebench report table=small objective=w", ["objective=wake_sleep"]),
        ("vaebench report table=small data=mnist_s", ["data=mnist_static"]),
        ("vaebench report table=small train.upd", ["train.updates="]),
        ("vaebench report table=small --only row=SBN", ["row=SBN\\ 200"]),
        ("vaebench report table=small --only column=", ["column=NVIL", "column=WS"]),
        ("vaebench report table=small --seeds 0 preset=tu", ["preset=tuned"]),
        ("vaebench report table=small --debug preset=tu", ["preset=tuned"]),
        ("vaebench report table=small --fo", ["--format"]),
        ("vaebench ls mo", ["models"]),
        ("vaebench data ve", ["verify"]),
        ("vaebench data get mnist", ["mnist_static", "mnist_dynamic", "mnist_grey"]),
        ("vaebench completion f", ["fish"]),
    ],
)
def test_completion(conf, tmp_path, line, words):
    assert complete(line, conf, tmp_path) == words


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_completion_code(capsys, shell):
    code, out, _ = call(capsys, "completion", shell)
    assert code == 0
    assert "vaebench" in out
    assert "_ARGCOMPLETE" in out
