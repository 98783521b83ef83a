"""``run.track=jsonl``: one JSON object a line, in ``track.jsonl`` in the run's folder."""

from __future__ import annotations

import json
import os
import time
from collections.abc import Mapping, Sequence
from typing import Any, BinaryIO

import numpy as np

from vaebench.results import run_files
from vaebench.results.stats import Measure
from vaebench.tracking.base import Subject, Tracker


class Jsonl(Tracker):
    """Writes to ``track.jsonl``.

    Each line has ``event`` (begin, point, image, text, end), ``time`` (seconds since 1970) and
    ``update``. The pixels of an image are not written; its line only gives its name and shape.
    """

    def __init__(self, subject: Subject) -> None:
        self._path = subject.folder / run_files.TRACK
        self._write(
            "begin", subject.update, name=subject.name, key=subject.key, config=subject.config
        )

    def point(self, update: int, values: Mapping[str, float]) -> None:
        self._write("point", update, values=values)

    def image(self, name: str, update: int, pixels: np.ndarray) -> None:
        self._write("image", update, name=name, shape=pixels.shape)

    def text(self, name: str, update: int, lines: Sequence[str]) -> None:
        self._write("text", update, name=name, lines=lines)

    def finish(self, status: str, update: int, measures: Sequence[Measure]) -> None:
        self._write("end", update, status=status, measures=[m.to_dict() for m in measures])

    def _write(self, event: str, update: int, **facts: Any) -> None:
        line = json.dumps(
            {"event": event, "time": round(time.time(), 3), "update": update, **facts}
        )
        with self._path.open("a+b") as f:
            _drop_cut_line(f)
            f.write(f"{line}\n".encode())


def _drop_cut_line(file: BinaryIO) -> None:
    """Remove the last line if it has no end: its writer was killed, or the disk was full."""
    if file.seek(0, os.SEEK_END) == 0:
        return

    file.seek(-1, os.SEEK_END)
    if file.read(1) != b"\n":
        # Cut the file behind its last whole line; without one nothing is left (rfind gives -1).
        file.seek(0)
        file.truncate(file.read().rfind(b"\n") + 1)
