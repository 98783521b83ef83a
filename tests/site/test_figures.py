"""The lines of a table's figures."""

from __future__ import annotations

import pytest

from vaebench.site import figures, sources


def test_lines_of_different_names_look_different():
    points = [(1, 1.0), (2, 1.0)]
    curves = [sources.Curve(f"row {i}", "c", seed, points) for i in range(20) for seed in (0, 1)]

    drawn = figures.curves(curves)["data"]

    looks = {(trace["name"], trace["line"]["color"], trace["line"]["dash"]) for trace in drawn}
    assert len(drawn) == 40
    # No two of the 20 names share their colour and dash; the seeds of one name do.
    assert len(looks) == len({look[1:] for look in looks}) == 20


@pytest.mark.parametrize("length", [0, 1, 2, 9, 10, 11, 19, 20, 21, 1000])
def test_thinned_curves_keep_their_ends(length):
    points = [(i, 0.0) for i in range(length)]

    kept = sources.thinned(points, most=10)

    assert len(kept) <= 10
    assert kept == [] if not length else kept[0] == points[0] and kept[-1] == points[-1]
    if length <= 10:
        assert kept == points
