"""The trackers of one run: each gets every point of the curve once, and cannot harm the run."""

from __future__ import annotations

import json
import logging
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

from vaebench import tracking
from vaebench.errors import UserError
from vaebench.files import parse_json, write_atomic
from vaebench.formatting import first_line
from vaebench.results import run_files
from vaebench.results.stats import Measure
from vaebench.tracking.base import Subject, Tracker
from vaebench.tracking.pictures import Pictures

log = logging.getLogger(__name__)

BESIDE = ("update", "unit")
"""Columns of the curve that are not values."""


class Follower:
    """The trackers of one run.

    A tracker that raises is dropped with a warning, and the run goes on. ``tracked.json`` in the
    run's folder holds how many points each tracker got, so that a continued run only sends the new
    ones. If the process is killed after a point was sent and before that was noted, the point is
    sent again.

    Args:
        names: Names of trackers.
        subject: The run.
    """

    def __init__(self, names: Sequence[str], subject: Subject) -> None:
        self._subject = subject
        self._told = _read(subject) if names else {}
        self._trackers: dict[str, Tracker] = {}
        for name in names:
            with self._careful(name):
                self._trackers[name] = tracking.begin(name, subject)

    def curve(self, points: Sequence[Mapping[str, Any]]) -> None:
        """Send the points of the curve that have not been sent yet. They are on disk already."""
        # Over a copy of the trackers, since one that fails is dropped meanwhile.
        for name, tracker in list(self._trackers.items()):
            sent = self._told.get(name, 0)
            if sent >= len(points):
                continue

            with self._careful(name):
                for point in points[sent:]:
                    values = {
                        key: float(value) for key, value in point.items() if key not in BESIDE
                    }
                    tracker.point(int(point["update"]), values)

                # Noted after all of them were sent: a point may be sent twice, but is never lost.
                self._note(name, len(points))

    def ended(
        self,
        status: str,
        update: int,
        measures: Sequence[Measure],
        pictures: Callable[[], Pictures],
    ) -> None:
        """Send the result, which is stored already, with pictures of what the model makes.

        Args:
            status: Status of the run.
            update: Number of updates behind the evaluated parameters.
            measures: The final measures.
            pictures: Makes the pictures; only called if there is a tracker. It may raise UserError,
                for a model that makes none. Any other error is a warning.
        """
        if not self._trackers:
            return

        # Made once, for all trackers. Without pictures they still get the result.
        shown = Pictures()
        try:
            shown = pictures()
        except UserError:
            pass  # the model makes none
        except Exception as e:
            log.warning("%s: run.track gets no pictures: %s", self._subject.folder, first_line(e))

        for name, tracker in list(self._trackers.items()):
            with self._careful(name):
                _show(tracker, update, shown)
                tracker.finish(status, update, measures)

    def close(self) -> None:
        """Close the trackers that are still open."""
        for name, tracker in list(self._trackers.items()):
            with self._careful(name):
                tracker.close()
        self._trackers.clear()

    @contextmanager
    def _careful(self, name: str) -> Iterator[None]:
        """Drop the tracker if it fails, whatever its package raises."""
        try:
            yield
        except Exception as e:
            self._trackers.pop(name, None)
            log.warning(
                "%s: run.track=%s failed and is dropped: %s",
                self._subject.folder,
                name,
                first_line(e),
            )

    def _note(self, name: str, points: int) -> None:
        self._told[name] = points
        write_atomic(self._subject.folder / run_files.TRACKED, json.dumps(self._told) + "\n")


def _show(tracker: Tracker, update: int, shown: Pictures) -> None:
    for name, pixels in shown.images.items():
        tracker.image(name, update, pixels)
    for name, lines in shown.texts.items():
        tracker.text(name, update, lines)


def _read(subject: Subject) -> dict[str, int]:
    """Return tracker -> number of points sent so far; {} if the file is missing or damaged."""
    try:
        points_sent = parse_json((subject.folder / run_files.TRACKED).read_bytes())
    except (OSError, ValueError):
        return {}
    if not isinstance(points_sent, dict):
        return {}
    return {
        name: points
        for name, points in points_sent.items()
        if isinstance(points, int) and points >= 0
    }
