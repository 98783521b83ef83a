"""A hundred ways to be wrong: each is one line that says what was wrong, exit code 2,
and nothing is written."""

from __future__ import annotations

import io
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from kit.runs import TINY

from vaebench import cli

RUN = [
    "run",
    "table=nvil_mnist",
    "preset=quick",
    "--only",
    "SBN 200",
    "--seeds",
    "0",
    "run.results=runs",
    "run.jobs=1",
]
LONG = 300 * "a"
"""No file has so long a name."""

IMAGES = [
    "run",
    "table=lagging_omniglot",
    "preset=quick",
    "--only",
    "row=SA-VAE",
    "run.results=runs",
    "run.jobs=1",
]

ARGUMENTS: list[tuple[list[str], str]] = [
    # Verbs, options and arguments.
    ([""], "unknown verb"),
    (["rnu"], "did you mean 'run'"),
    (["--nonsense"], "--nonsense"),
    (["run", "--sed", "0"], "did you mean '--seeds'"),
    (["run", "--seeds"], "expected one argument"),
    (["completion", "csh"], "csh"),
    (["compare", "a.csv"], "B.csv"),
    # Tables and presets.
    (["run"], "no table given"),
    (["run", "table="], "no table given"),
    (["run", "table=,"], "no table given"),
    (["run", "table=nvil_mnits"], "did you mean 'nvil_mnist'"),
    (["run", "tabel=nvil_mnist"], "unknown key 'tabel': did you mean 'table'"),
    (["report", "tables=nvil_mnist"], "unknown key 'tables': did you mean 'table'"),
    (["show", "tabel=nvil_mnist"], "did you mean 'table'"),
    (["run", "nvil_mnist"], "did you mean 'table=nvil_mnist'"),
    (["run", "table=nvil_mnist", "preset=quik"], "did you mean 'quick'"),
    (["run", "table=nvil_mnist", "preset="], "unknown preset"),
    (["run", "table=nvil_mnist", "presett=quick"], "did you mean 'preset'"),
    (
        ["sample", "nvil_mnsit", "fDARN 200"],
        "'nvil_mnsit' is neither a run nor a table: did you mean 'nvil_mnist'",
    ),
    (["sample", "nowhere", "fDARN 200"], "2 runs given; allowed: one"),
    (["eval", "nvil_mnsit", "fDARN 200"], "did you mean 'nvil_mnist'"),
    # Rows, columns and seeds.
    ([*RUN, "--only", "SBN 20"], "did you mean 'SBN 200'"),
    ([*RUN, "--only", "row="], "no row ''"),
    ([*RUN, "--only", ""], "no row ''"),
    ([*RUN, "--only", "column=NVLI"], "did you mean 'NVIL'"),
    ([*RUN, "--only", "cloumn=NVIL"], "did you mean 'column'"),
    ([*RUN, "--seeds", "a"], "--seeds 'a'"),
    ([*RUN, "--seeds", ""], "--seeds ''"),
    ([*RUN, "--seeds", "-1"], "--seeds '-1'"),
    ([*RUN, "--seeds", "1.5"], "--seeds '1.5'"),
    ([*RUN, "--seeds", "0,,1"], "--seeds '0,,1'"),
    ([*RUN, "--seeds", "1--2"], "--seeds '1--2'"),
    ([*RUN, "--seeds", "3-1"], "write 1-3"),
    ([*RUN, "--seeds", "0-99999999"], "more than 10000 seeds"),
    ([*RUN, "--seeds", "9" * 30], "2^63 - 1"),
    # Keys.
    ([*RUN, "optim.rat=1"], "did you mean 'optim.rate'"),
    ([*RUN, "trian.batch=3"], "did you mean 'train.batch'"),
    ([*RUN, "=3"], "write key=value"),
    ([*RUN, "train.batch"], "write key=value"),
    ([*RUN, "caf\u00e9=1"], "allowed groups"),
    ([*RUN, "+a=b"], "prefixes"),
    ([*RUN, "~train.batch"], "prefixes"),
    ([*RUN, "hydra.x=1"], "Hydra's own"),
    ([*RUN, "recipe=2"], "belongs to the table"),
    ([*RUN, "model.name=x"], "write model=NAME"),
    (["ls", "runs", "run.result=x"], "did you mean 'run.results'"),
    # Numbers: negative, nought, not finite, huge, empty, of another type.
    ([*RUN, "train.batch="], "train.batch=: allowed: a whole number from 1 to 100,000"),
    ([*RUN, "train.batch=-1"], "train.batch=-1: allowed"),
    ([*RUN, "train.batch=0"], "train.batch=0: allowed"),
    ([*RUN, "train.batch=nan"], "train.batch=nan: allowed"),
    ([*RUN, "train.batch=1e400"], "train.batch=1e400: allowed"),
    ([*RUN, "train.batch=" + "9" * 5000], "too long"),
    ([*RUN, "train.batch=\0"], "cannot read the value"),
    ([*RUN, "train.updates=1e30"], "to 1,000,000,000"),
    ([*RUN, "train.updates=2.5"], "a whole number"),
    ([*RUN, "train.updates=abc"], "a whole number"),
    ([*RUN, "train.updates=[1]"], "a whole number"),
    ([*RUN, "train.updates={a: 1}"], "a whole number"),
    ([*RUN, "train.updates=${train.batch}"], "interpolations"),
    ([*RUN, "train.snapshots=3"], "a list"),
    ([*RUN, "train.snapshots=[-1]"], "from 0"),
    ([*RUN, "train.cases=100000"], "to 1397"),
    ([*RUN, "train.order=lengths"], "for documents only"),
    ([*RUN, "train.select=best"], "valid_bound or last"),
    ([*RUN, "optim.rate=0"], "above 0"),
    ([*RUN, "optim.rate=-1"], "above 0"),
    ([*RUN, "optim.rate=inf"], "finite"),
    ([*RUN, "optim.rate=null"], "a finite number"),
    ([*RUN, "optim.rate=fast"], "a finite number"),
    ([*RUN, "optim.rate=true"], "a finite number"),
    ([*RUN, "optim.rate=1,2"], "one value each"),
    ([*RUN, "eval.iw_samples=0"], "null or a whole number from 1"),
    ([*RUN, "eval.bound_samples=1e12"], "1,000,000"),
    # Options and what is built of them.
    ([*RUN, "train.precision=float16"], "float32 or bfloat16"),
    (
        [*RUN, "train.precision=bfloat16"],
        "train.precision=bfloat16: for models of images and of documents only",
    ),
    ([*IMAGES, "eval.precision=float16"], "float32 or bfloat16"),
    (
        [*RUN, "eval=image", "eval.precision=bfloat16"],
        "eval.precision=bfloat16: for models of images only",
    ),
    ([*RUN, "eval.precision=bfloat16"], "unknown key 'eval.precision' of eval=bound10"),
    (
        [*IMAGES, "train.precision=bfloat16", "objective.gradient=faithful"],
        "objective.gradient=faithful",
    ),
    ([*RUN, "model=nope"], "unknown model 'nope'"),
    ([*RUN, "model.dims=[]"], "layer sizes"),
    ([*RUN, "model.dims=200"], "a list of whole numbers"),
    ([*RUN, "model.dims=[0]"], "layer sizes"),
    ([*RUN, "model.dims=[1e9]"], "at most 100,000"),
    ([*RUN, "model.posterior=x"], "factorial"),
    ([*RUN, "model.init=zzz"], "fan_in"),
    ([*RUN, "objective=nope"], "unknown objective 'nope'"),
    ([*RUN, "objective.baseline_units=-3"], "baseline_units"),
    ([*RUN, "objective.local_signals=2"], "true or false"),
    ([*RUN, "data=nope"], "unknown data 'nope'"),
    ([*RUN, "data=text"], "data.train=FILE"),
    ([*RUN, "data=text", "data.train=none", "data.valid=none", "data.test=none"], "no such file"),
    (
        [*RUN, "data=text", "data.train=folder", "data.valid=folder", "data.test=folder"],
        "a folder, expected a file",
    ),
    ([*RUN, "data.held_out=5000"], "from 1 to 1496"),
    ([*RUN, "data=mnist_static", "data.mirror=none"], "the mirror none is not a folder"),
    ([*RUN, "data=mnist_static", "data.mirror=file"], "the mirror file is not a folder"),
    (["data", "get", "mnist_static", "data.mirror=none"], "data.mirror=none: not a folder"),
    (["data", "get"], "name the data sets"),
    (["data", "gte"], "did you mean 'get'"),
    # Machines.
    ([*RUN, "run.device=gpu"], "cuda:N"),
    ([*RUN, "run.threads=0"], "from 1"),
    ([*RUN, "run.threads=99999"], "from 1"),
    ([*RUN, "run.jobs=zero"], "auto or a whole number"),
    ([*RUN, "run.engine=fast"], "compiled"),
    (["check", "run.device=gpu"], "cuda:N"),
    # Files and folders that are missing, or something else.
    ([*RUN, "run.results="], "a folder"),
    ([*RUN, "run.results=file"], "run.results=file: not a folder"),
    ([*RUN, "run.results=file/x"], "run.results=file/x: file is not a folder"),
    ([*RUN, "run.results=file/x", "--dry-run"], "run.results=file/x: file is not a folder"),
    ([*RUN, "run.results=file", "--dry-run"], "run.results=file: not a folder"),
    (["report", *RUN[1:], "run.results=file"], "run.results=file: not a folder"),
    (["report", *RUN[1:], "run.results=file/x"], "run.results=file/x: file is not a folder"),
    (["site", "run.results=file/x"], "run.results=file/x: file is not a folder"),
    (["ls", "runs", "run.results=file/x"], "run.results=file/x: file is not a folder"),
    ([*RUN, "run.results=/proc/x"], "cannot be made"),
    (["ls", "runs", "run.results=file"], "run.results=file: not a folder"),
    (["rekey", "run.results=file"], "run.results=file: not a folder"),
    (["report", "table=nvil_mnist", "--from", "none.csv"], "no such file"),
    (["report", "table=nvil_mnist", "--from", "folder"], "a folder"),
    (["report", "table=nvil_mnist", "--from", "empty.csv"], "not a results CSV"),
    (["report", "table=nvil_mnist", "--from", "binary.csv"], "not a results CSV"),
    (["compare", "none.csv", "reference"], "none.csv: no such file"),
    (["eval", "none"], "no run 'none'"),
    (["eval", "folder"], "no run 'folder'"),
    (["eval", "eval=iw"], "no run given"),
    (["sample", "none"], "no run 'none'"),
    (["sample", LONG], f"{LONG}: File name too long"),
    (["eval", LONG], f"{LONG}: File name too long"),
    (["compare", LONG, "reference"], f"{LONG}: File name too long"),
    (["report", "table=nvil_mnist", "--from", LONG], f"{LONG}: File name too long"),
    (["data", "get", "digits", f"data.mirror={LONG}"], f"{LONG}: File name too long"),
    (
        [*RUN, "data=text", f"data.train={LONG}", "data.valid=x", "data.test=x"],
        f"{LONG}: File name too long",
    ),
]


@pytest.fixture
def here(tmp_path, monkeypatch):
    """A folder with a file, a folder and files that are no CSV."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("VAEBENCH_DATA", str(tmp_path / "cache"))
    monkeypatch.delenv("VAEBENCH_MIRROR", raising=False)

    (tmp_path / "file").write_text("x")
    (tmp_path / "folder").mkdir()
    (tmp_path / "empty.csv").touch()
    (tmp_path / "binary.csv").write_bytes(b"\xff\xfe\0\1" * 20)

    return tmp_path


def content(place: Path) -> dict[str, object]:
    """Every path below a folder, with the bytes of each file; None for a folder."""
    return {str(p): p.read_bytes() if p.is_file() else None for p in sorted(place.rglob("*"))}


def refused(arguments: list[str], place: Path, capsys) -> str:
    """The one line with which a command is refused, which has written nothing."""
    before = content(place)
    capsys.readouterr()

    code = cli.main(arguments)
    out, err = capsys.readouterr()

    assert (code, out, err.count("\n")) == (2, "", 1), err
    assert err.startswith("vaebench: ")
    assert "VAEBENCH_DEBUG" not in err
    assert content(place) == before
    return err


@pytest.mark.parametrize(("arguments", "words"), ARGUMENTS)
def test_a_wrong_command_is_one_line(here, capsys, arguments, words):
    assert words in refused(arguments, here, capsys)


# ------------------------------------------------------------------------------------- damaged runs


@pytest.fixture(scope="module")
def trained(tmp_path_factory) -> Path:
    """A run of four updates."""
    root = tmp_path_factory.mktemp("trained")
    assert cli.main(["run", *TINY, f"run.results={root}"]) == 0
    return root


def replaced(name: str, new: bytes | None):
    """Give a file of a run this content; None: remove it."""

    def damage(folder: Path) -> None:
        (folder / name).unlink()
        if new is not None:
            (folder / name).write_bytes(new)

    return damage


def cut(name: str):
    """Keep only the first 50 bytes of a file of a run."""

    def damage(folder: Path) -> None:
        (folder / name).write_bytes((folder / name).read_bytes()[:50])

    return damage


def a_folder(folder: Path) -> None:
    """Put a folder in the place of the result."""
    (folder / "result.json").unlink()
    (folder / "result.json").mkdir()


def sound(folder: Path) -> None:
    """Nothing is wrong with the run itself."""


@pytest.mark.parametrize(
    ("damage", "verb", "more", "words"),
    [
        (
            replaced("config.json", b"{"),
            "eval",
            [],
            "config.json: damaged, so what was trained is unknown",
        ),
        (
            replaced("config.json", b"[]"),
            "sample",
            [],
            "config.json: damaged, so what was trained is unknown",
        ),
        (replaced("config.json", None), "eval", [], "no run"),
        (
            cut("checkpoint.safetensors"),
            "eval",
            [],
            "checkpoint.safetensors: not a usable checkpoint",
        ),
        (
            cut("checkpoint.safetensors"),
            "sample",
            [],
            "checkpoint.safetensors: not a usable checkpoint",
        ),
        (
            replaced("checkpoint.safetensors", b""),
            "eval",
            [],
            "checkpoint.safetensors: not a usable checkpoint",
        ),
        (replaced("checkpoint.safetensors", None), "eval", [], "nothing is trained there yet"),
        (replaced("checkpoint.safetensors", None), "sample", [], "nothing is trained there yet"),
        (cut("best.safetensors"), "eval", [], "best.safetensors: not a usable checkpoint"),
        (cut("best.safetensors"), "sample", [], "best.safetensors: not a usable checkpoint"),
        (a_folder, "eval", [], "result.json: cannot be read: Is a directory"),
        (sound, "eval", ["optim.rate=1"], "a stored run keeps its training"),
        (sound, "eval", ["eval=nope"], "unknown eval 'nope'"),
        (sound, "eval", ["eval.iw_samples=-1"], "null or a whole number from 1"),
        (sound, "eval", ["eval.iw=3"], "did you mean 'eval.iw_samples'"),
        (sound, "eval", ["run.results=file"], "run.results=file: not a folder"),
        (sound, "sample", ["--how", "magic"], "beam, greedy, sample"),
        (sound, "sample", ["--output", "folder"], "cannot write folder"),
        (sound, "sample", ["--output", "file/x.png"], "cannot write file/x.png"),
        (sound, "reconstruct", [], "nothing to read"),
    ],
)
def test_a_damaged_run_is_one_line(here, trained, capsys, monkeypatch, damage, verb, more, words):
    # ``reconstruct`` reads its documents from here.
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO()))

    shutil.copytree(trained, here / "runs")
    (folder,) = (here / "runs").glob("*/seed-0")
    damage(folder)

    assert words in refused([verb, str(folder.relative_to(here)), *more], here, capsys)


# ------------------------------------------------------------------------------------- the very end


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_after_the_last_word_leaves_the_code_of_the_command(number):
    code = (
        "import os, signal, sys, time\n"
        "from vaebench import __main__, cli\n"
        "cli.main = lambda: 1\n"
        "code = __main__.main()\n"
        f"os.kill(os.getpid(), {int(number)})\n"
        "time.sleep(20)\n"
    )

    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60)

    assert (done.returncode, done.stdout, done.stderr) == (1, "", "")


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_in_the_middle_of_any_verb_is_one_line(number):
    """For example while a report is rendered: the signals that end a training end any verb."""
    code = (
        "import os, sys, time\n"
        "from vaebench import __main__\n"
        "from vaebench.verbs import ls\n"
        "def run(args):\n"
        f"    os.kill(os.getpid(), {int(number)})\n"
        "    time.sleep(20)\n"
        "ls.run = run\n"
        "sys.argv = ['vaebench', 'ls']\n"
        "sys.exit(__main__.main())\n"
    )

    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60)

    assert (done.returncode, done.stdout, done.stderr) == (130, "", "vaebench: interrupted\n")
