"""vaebench.files, and everything that writes through it: a full disk gives an error, never a crash
or half a file."""

from __future__ import annotations

import json
import os
import stat
import subprocess
import sys
from pathlib import Path

import pytest

from vaebench.errors import UserError
from vaebench.files import write_atomic, write_output

LIMIT = 2000
"""Bytes that a file may have in these tests. A write beyond them fails as it does on a full
disk."""

FULL_DISK = f"""
import resource, signal, sys
from pathlib import Path
# Then a write beyond the limit fails as it does on a full disk.
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
resource.setrlimit(resource.RLIMIT_FSIZE, ({LIMIT}, -1))
folder = Path(sys.argv[1])
"""

WRITERS = {
    "prepared data": """
import numpy as np
from vaebench.data import MnistStatic
from vaebench.data.prepare import write
noise = np.random.default_rng(0).integers(0, 2, (4000, 40), dtype=np.uint8)
write(MnistStatic(), {"train": noise, "valid": noise, "test": noise}, folder / "out.h5")
""",
    "checkpoint": """
import torch
from vaebench.training.checkpoint import Checkpoint, write
write(folder / "out.safetensors", Checkpoint({"w": torch.zeros(1000)}))
""",
    "result": """
from vaebench.results.store import Store
Store(folder).write_result("key", 0, {"status": "done", "reason": "long" * 1000})
""",
    "csv": """
from vaebench.config.cells import Cell
from vaebench.results.long_frame import typed, write_csv
from vaebench.results.store import Store
write_csv(typed([{"seed": i, "paper_protocol": True} for i in range(100)]), folder / "out.csv")
""",
    "report": """
from vaebench.verbs import write
write(folder / "out.md", "text" * 1000)
""",
    "plot": """
from vaebench.report.images import image
from vaebench.verbs import write
write(folder / "out.png", image(lambda figure: figure.subplots().plot([0, 1]), "png", "a title"))
""",
}


EACH = f"""
import json
found, writers = {{}}, json.loads(sys.argv[2])
for limit in ({LIMIT}, -1):
    resource.setrlimit(resource.RLIMIT_FSIZE, (limit, -1))
    for kind, code in writers.items():
        try:
            exec(code)
            error = ""
        except Exception as e:
            error = f"{{type(e).__name__}}: {{e}}"
        sizes = [p.stat().st_size for p in folder.rglob("*") if p.is_file()]
        found[f"{{kind}} {{limit}}"] = (error, sizes)
resource.setrlimit(resource.RLIMIT_FSIZE, (-1, -1))
print(json.dumps(found))
"""


@pytest.fixture(scope="module")
def written(tmp_path_factory):
    """``KIND LIMIT`` -> (error, sizes of the files that are then there), for every writer with the
    limit and then without (-1)."""
    command = [
        sys.executable,
        "-c",
        FULL_DISK + EACH,
        tmp_path_factory.mktemp("full"),
        json.dumps(WRITERS),
    ]
    done = subprocess.run(command, capture_output=True, text=True, check=False)

    assert done.returncode == 0, f"exit code {done.returncode}: {done.stderr}"
    assert "Exception ignored" not in done.stderr

    return json.loads(done.stdout)


@pytest.mark.parametrize("kind", WRITERS)
def test_on_a_full_disk_every_writer_raises_and_leaves_nothing(written, kind):
    error, sizes = written[f"{kind} {LIMIT}"]
    assert "File too large" in error
    assert error.partition(":")[0] in ("OSError", "UserError", "DataError")
    assert sizes == []


def test_without_the_limit_every_writer_writes_more_than_it_would_allow(written):
    assert {error for name, (error, _) in written.items() if name.endswith(" -1")} == {""}

    # After the last writer there is a file of each.
    _, sizes = written[f"{list(WRITERS)[-1]} -1"]
    assert len(sizes) == len(WRITERS)
    assert min(sizes) > LIMIT


def test_a_run_whose_data_do_not_fit_on_a_full_disk_is_one_line(tmp_path):
    # 4,000 different words, more than fit into a file of this size when they are prepared.
    for split in ("train", "valid", "test"):
        words = (f"{i * 7919 % 104729:x}" for i in range(4000))
        (tmp_path / f"{split}.txt").write_text("".join(f"{w} b\n" for w in words))

    documents = [f"data.{split}={tmp_path / split}.txt" for split in ("train", "valid", "test")]
    command = [
        "run",
        "table=lagging_yahoo",
        "preset=quick",
        "data=text",
        *documents,
        "--only",
        "beta-VAE 0.4",
    ]
    command += [f"run.results={tmp_path / 'runs'}"]
    code = FULL_DISK + f"from vaebench.cli import main; sys.exit(main({command!r}))"
    env = {**os.environ, "VAEBENCH_DATA": str(tmp_path / "cache")}
    done = subprocess.run(
        [sys.executable, "-c", code, tmp_path], capture_output=True, text=True, check=False, env=env
    )

    assert done.returncode == 2, done.stderr
    assert done.stderr.count("\n") == 1
    assert done.stderr.startswith("vaebench: cannot write ")
    assert done.stderr.endswith("File too large; set VAEBENCH_DATA to a folder with room for it\n")
    assert [p.suffix for p in (tmp_path / "cache").rglob("*") if p.is_file()] == [".lock"]
    assert not (tmp_path / "runs").exists()


def test_a_device_is_written_to_and_stays_one(tmp_path):
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    reader = os.open(pipe, os.O_RDONLY | os.O_NONBLOCK)

    try:
        write_atomic(pipe, "a line\n")
        assert os.read(reader, 100) == b"a line\n"
    finally:
        os.close(reader)

    assert stat.S_ISFIFO(pipe.stat().st_mode)


@pytest.mark.skipif(not os.path.exists("/dev/full"), reason="this system has no /dev/full")
def test_a_full_device_is_an_error_and_stays_a_device():
    with pytest.raises(OSError, match="No space left"):
        write_atomic(Path("/dev/full"), "text")
    assert stat.S_ISCHR(os.stat("/dev/full").st_mode)


def test_a_file_on_the_way_is_named(tmp_path):
    (tmp_path / "a.csv").write_text("kept")
    with pytest.raises(UserError, match=r"cannot write .*x\.csv: .*a\.csv is not a folder$"):
        write_output(tmp_path / "a.csv" / "x.csv", "new")
    assert (tmp_path / "a.csv").read_text() == "kept"


def test_a_link_stays_one_and_its_file_is_written(tmp_path):
    (tmp_path / "real").mkdir()
    target = tmp_path / "real" / "report.md"
    target.write_text("old")
    link = tmp_path / "link.md"
    link.symlink_to(Path("real") / "report.md")
    ahead = tmp_path / "ahead.md"
    ahead.symlink_to(tmp_path / "real" / "later.md")

    for path in (link, ahead):
        write_atomic(path, "new")
        assert path.is_symlink()
        assert path.read_text() == "new"
    assert target.read_text() == "new"
    assert sorted(p.name for p in tmp_path.rglob("*.md")) == sorted(
        ("ahead.md", "later.md", "link.md", "report.md")
    )


@pytest.mark.parametrize("mode", [0o600, 0o664, 0o755], ids=oct)
def test_a_file_keeps_its_permissions(tmp_path, mode):
    path = tmp_path / "report.md"
    path.write_text("old")
    path.chmod(mode)
    write_atomic(path, "new")

    assert path.read_text() == "new"
    assert stat.S_IMODE(path.stat().st_mode) == mode


@pytest.mark.parametrize("sync", [True, False])
def test_the_disk_is_waited_for_with_the_name_of_the_file_too(tmp_path, monkeypatch, sync):
    """The file is synced first, then the folder with its name. Without the name a loss of power
    would leave the old file, or none."""
    synced = []

    # (is it a folder, does the file have its name yet) of each call.
    def fsync(handle):
        synced.append((stat.S_ISDIR(os.fstat(handle).st_mode), (tmp_path / "a.txt").exists()))

    monkeypatch.setattr(os, "fsync", fsync)
    write_atomic(tmp_path / "a.txt", "text", sync)

    assert synced == ([(False, False), (True, True)] if sync else [])


def test_a_folder_that_cannot_be_waited_for_is_no_error(tmp_path, monkeypatch):
    def fsync(handle):
        if stat.S_ISDIR(os.fstat(handle).st_mode):
            raise OSError(22, "Invalid argument")

    monkeypatch.setattr(os, "fsync", fsync)
    write_atomic(tmp_path / "a.txt", "text")

    assert (tmp_path / "a.txt").read_text() == "text"
