"""The command itself: exit codes, one line for every error, messages, help and version."""

from __future__ import annotations

import errno
import subprocess
import sys
import types

import pytest
from kit.commands import call, python
from kit.repository import ROOT
from kit.tables import DRAWN

from vaebench import cli
from vaebench.cli import VERBS, main
from vaebench.errors import DataError, Interrupted, UserError


@pytest.fixture
def verb(monkeypatch):
    """Put a function in the place of the verb ``bench``."""

    def put(run, configure=lambda parser: None):
        module = types.ModuleType("vaebench.verbs.bench")
        module.HELP = "A stand-in."
        module.configure = configure
        module.run = run
        monkeypatch.setitem(sys.modules, "vaebench.verbs.bench", module)

    return put


def raising(error):
    def run(args):
        raise error

    return run


@pytest.mark.parametrize(
    ("error", "code", "line"),
    [
        (UserError("no such row"), 2, "vaebench: no such row\n"),
        (DataError("file a\nis truncated"), 2, "vaebench: file a is truncated\n"),
        (Interrupted("stopped; saved at update 5"), 130, "vaebench: stopped; saved at update 5\n"),
        (Interrupted(), 130, "vaebench: interrupted\n"),
        (KeyboardInterrupt(), 130, "vaebench: interrupted\n"),
        (BrokenPipeError(), 1, ""),
        (
            PermissionError(errno.EACCES, "Permission denied", "a/b"),
            2,
            "vaebench: a/b: Permission denied\n",
        ),
        (
            OSError(errno.ENAMETOOLONG, "File name too long", b"aa"),
            2,
            "vaebench: aa: File name too long\n",
        ),
        (
            OSError(errno.EIO, "Input/output error", "a"),
            1,
            (
                "vaebench: OSError: [Errno 5] Input/output error: 'a' (set VAEBENCH_DEBUG=1 "
                "for the traceback)\n"
            ),
        ),
        (
            ValueError("odd\nthing"),
            1,
            "vaebench: ValueError: odd thing (set VAEBENCH_DEBUG=1 for the traceback)\n",
        ),
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
        (["report", "table=small", "--format", "pdf"], ["unknown format 'pdf'", "latex"]),
        (["report", "table=small", "--seeds", "x"], ["--seeds", "'x'"]),
        (["report", "table=small", "optim.rat=1"], ["did you mean 'optim.rate'"]),
        (["report", "table=small", "--from", "none.csv"], ["none.csv: no such file"]),
        (
            ["report", "table=small", "--from", "none.csv", "optim.rate=1"],
            ["does not take 'optim.rate=1'"],
        ),
        (
            ["report", "table=small", "--from", "none.csv", "--plot", "a.png"],
            ["none.csv: no such file"],
        ),
        (["report", "table=small", "--plot", "a.gif"], ["a.gif"]),
        (
            ["run", "table=drawing", "--only", "row=one"],
            ["drawing", "drawn from formulas", "leave out --only"],
        ),
        (
            ["run", "table=drawing", "--seeds", "0"],
            ["drawing", "drawn from formulas", "leave out --seeds"],
        ),
        (
            ["run", "table=drawing", "optim.rate=1"],
            ["drawing", "does not take 'optim.rate=1'", "run.results="],
        ),
        (
            ["run", "table=misdrawn"],
            ["misdrawn", "unknown figure 'smoothign'", "did you mean 'smoothing'"],
        ),
        (
            ["run", "table=drawn_rows"],
            ["drawn_rows", "rows: a drawn figure trains nothing", "leave it out"],
        ),
        (
            ["run", "table=drawn_number"],
            ["drawn_number", "drawn: expected the name of a figure, found 3"],
        ),
        (
            ["report", "table=drawing", "--only", "row=one"],
            ["drawn from formulas", "leave out --only"],
        ),
        (["report", "table=drawing", "model=sbn"], ["does not take 'model=sbn'"]),
        (
            ["report", "table=drawing", "--from", "none.csv"],
            ["drawn from formulas", "leave out --from"],
        ),
        (["report", "table=drawing,small", "--format", "csv"], ["drawing", "one table at a time"]),
        (
            ["report", "table=small,drawing", "--curves", "a.csv"],
            ["drawing", "one table at a time"],
        ),
        (
            ["report", "table=drawing", "--curves", "a.csv", "--plot", "a.gif"],
            ["a.gif", "allowed: pdf, png, svg"],
        ),
        (["doctor", "table=small"], ["does not take 'table=small'"]),
    ],
)
def test_usage_errors_are_one_line(conf, capsys, tmp_path, monkeypatch, arguments, words):
    monkeypatch.chdir(tmp_path)
    # Three ways to spoil the table of a drawn figure.
    for name, old, new in (
        ("misdrawn", "smoothing", "smoothign"),
        ("drawn_rows", "drawn:", "rows: {}\ndrawn:"),
        ("drawn_number", "smoothing", "3"),
    ):
        (conf / "table" / f"{name}.yaml").write_text(DRAWN.replace(old, new))

    before = sorted(tmp_path.rglob("*"))
    code, out, err = call(capsys, *arguments)

    # A line that says that there are no runs may stand beside the error.
    lines = [line for line in err.splitlines() if "no runs of" not in line]

    assert (code, out, len(lines)) == (2, "", 1)
    assert lines[0].startswith("vaebench: ")
    assert all(word in lines[0] for word in words), lines
    assert sorted(tmp_path.rglob("*")) == before  # nothing was written


@pytest.mark.parametrize("verb", ["check", "bench"])
@pytest.mark.parametrize("device", ["foo", "", "cuda:x", "mps", "meta", "cpu:0 "])
def test_a_bad_device_is_one_line(verb, device, capsys):
    line = f"vaebench: run.device={device}: allowed: auto, cpu, cuda or cuda:N\n"
    assert call(capsys, verb, f"run.device={device}") == (2, "", line)


@pytest.mark.parametrize(
    "argument",
    [
        *("run.threads=0", "run.threads=x"),
    ],
)
def test_a_bad_size_of_a_bench_is_one_line(argument, capsys):
    code, out, err = call(capsys, "bench", argument)
    assert (code, out, err.count("\n")) == (2, "", 1)
    assert "allowed: a " in err


def test_options_and_overrides_in_any_order(conf, verb, capsys):
    parsed = []

    def configure(parser):
        parser.add_argument("overrides", nargs="*")
        parser.add_argument("--seeds")

    verb(lambda args: parsed.append((args.overrides, args.seeds)), configure)
    for line in (
        "a=1 --seeds 0-2 b=2",
        "--seeds 0-2 a=1 b=2",
        "a=1 b=2 --seeds 0-2",
        "a=1 --debug b=2 --seeds=0-2",
    ):
        assert call(capsys, *("bench " + line).split())[0] == 0
    assert parsed == [(["a=1", "b=2"], "0-2")] * 4


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
    assert (
        done.stderr == "vaebench: saved\nvaebench: warning: two lines\nvaebench: warning: careful\n"
    )


def test_version(capsys):
    from vaebench import __version__

    assert call(capsys, "--version") == (0, f"vaebench {__version__}\n", "")


def test_module_runs():
    done = subprocess.run(
        [sys.executable, "-m", "vaebench", "--version"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=60,
    )

    assert (done.returncode, done.stdout.split()[0]) == (0, "vaebench")


def test_help_lists_every_verb(capsys):
    code, out, err = call(capsys, "--help")

    assert (code, err) == (0, "")
    assert all(f"\n  {verb} " in out for verb in VERBS)

    # Without any argument it is a usage error.
    assert call(capsys)[0] == 2


@pytest.mark.parametrize(
    "verb", ["ls", "show", "report", "compare", "data", "doctor", "completion"]
)
def test_help_of_a_verb_has_examples(capsys, verb):
    code, out, err = call(capsys, verb, "--help")
    assert (code, err) == (0, "")
    assert f"vaebench {verb}" in out[out.index("examples:") :]


def test_examples_are_understood():
    """Every example is a verb followed by arguments that its parser takes."""
    import importlib
    import shlex

    for verb, (_, examples) in VERBS.items():
        assert examples, verb
        module = importlib.import_module(f"vaebench.verbs.{verb}")
        for example in examples:
            # One example stands inside a shell's own eval "$(...)".
            words = shlex.split(
                example.replace('"$(vaebench ', "")
                .replace(')"', "")
                .removeprefix("eval completion")
            )

            parser = cli._configured(cli.Parser(prog="x"), module)
            parser.parse_intermixed_args(words[1:] if words[0] == verb else words)


@pytest.mark.parametrize(
    ("argv", "says"),
    [
        (["run", "--table", "nvil_mnist"], "write table=VALUE, without dashes; "),
        (["run", "--optim.rate=1e-3"], "write optim.rate=VALUE, without dashes; "),
        (["report", "--run.results", "x"], "write run.results=VALUE, without dashes; "),
        (["run", "--dry-rn"], "did you mean '--dry-run'? "),
    ],
)
def test_a_setting_with_dashes_is_told_how_it_is_written(capsys, argv, says):
    assert main(argv) == 2
    assert says in capsys.readouterr().err


def test_a_verb_without_that_setting_does_not_suggest_it(capsys):
    assert main(["ls", "--table", "x"]) == 2
    assert "without dashes" not in capsys.readouterr().err
