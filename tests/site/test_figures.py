"""The lines of a table's figures."""

from __future__ import annotations

import pytest

from vaebench.site import figures, sources


def test_lines_of_different_names_look_different():
    points = [(1, 1.0), (2, 1.0)]
    many = [sources.Curve(f"row {i}", "c", seed, points) for i in range(20) for seed in (0, 1)]

    drawn = figures.curves(many)["data"]

    looks = {(t["name"], t["line"]["color"], t["line"]["dash"]) for t in drawn}
    assert len(drawn) == 40
    assert len(looks) == len({look[1:] for look in looks}) == 20


@pytest.mark.parametrize("length", [0, 1, 2, 9, 10, 11, 19, 20, 21, 1000])
def test_thinned_curves_keep_their_ends(length):
    points = [(i, 0.0) for i in range(length)]

    found = sources.thinned(points, most=10)

    assert len(found) <= 10
    assert found == [] if not length else found[0] == points[0] and found[-1] == points[-1]
    if length <= 10:
        assert found == points
