"""Figure 5 of DVAE++ (Vahdat et al. 2018, arXiv 1802.04920).

It shows zeta against q at fixed noise, for every smoothing.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from vaebench.report.drawn.base import Drawing, Point
from vaebench.report.page import Grid

if TYPE_CHECKING:
    from matplotlib.figure import Figure as Canvas

RHO = 0.25
"""The noise of the figure, a value of a uniform variable."""

SHOWN = (0.1, 0.3, 0.5, 0.7, 0.75, 0.8, 0.9)
"""The q of the text table; in the middle is 1 - rho, where every curve has its step."""

NOTES = (
    f"zeta, the relaxed bit, at noise rho = {RHO}; q: probability of a one.",
    f"Every curve tends to the step at q = {1 - RHO} as beta grows or the scale shrinks.",
)


def points() -> list[Point]:
    """Compute rows (smoothing, setting, temperature, q, zeta) in the order of the panels.

    zeta has 6 decimals. ``setting`` says what the temperature is: ``beta``, where a larger one is
    sharper, or ``scale``, where a smaller one is.
    """
    from vaebench.dists.smoothing.curves import TEMPERATURES, inverse_cdf_curves

    return [
        {
            "smoothing": p["smoothing"],
            "setting": TEMPERATURES[str(p["smoothing"])][0],
            "temperature": p["temperature"],
            "q": round(float(p["q"]), 6),
            "zeta": round(float(p["zeta"]), 6) + 0.0,  # no negative zero
        }
        for p in inverse_cdf_curves(RHO)
    ]


def grid(points: list[Point]) -> Grid:
    """Return one line for each curve, with zeta at each q of SHOWN."""
    headers = ("smoothing", "temperature", *(f"q={q:g}" for q in SHOWN))
    lines = []

    # The points are rounded to 6 decimals, so each q of SHOWN is found exactly.
    for name, label, curve in _curves(points):
        zeta = {p["q"]: p["zeta"] for p in curve}
        lines.append((name, label, *(f"{round(zeta[q], 3) + 0.0:.3f}" for q in SHOWN)))
    return Grid(headers, tuple(lines), ("left", "left", *["right"] * len(SHOWN)), leading=2)


def draw(figure: Canvas, points: list[Point]) -> None:
    """Draw one panel for each smoothing, three curves each, on common axes."""
    curves = _curves(points)
    names = list(dict.fromkeys(name for name, _, _ in curves))
    figure.set_size_inches(1 + 2.7 * len(names), 3.7)
    panels = figure.subplots(1, len(names), sharex=True, sharey=True, squeeze=False)[0]

    for panel, name in zip(panels, names, strict=True):
        # The limit of all curves is a step here.
        panel.axvline(1 - RHO, color="0.7", linewidth=0.8, linestyle=":")
        for i, (label, curve) in enumerate((label, c) for n, label, c in curves if n == name):
            panel.plot(
                [p["q"] for p in curve],
                [p["zeta"] for p in curve],
                color=f"C{i}",
                linewidth=1.5,
                label=label,
            )

        panel.set(title=name, xlabel="q", xlim=(0, 1))
        panel.set_xticks((0, 0.25, 0.5, 0.75, 1), ("0", "0.25", "0.5", "0.75", "1"))
        panel.legend(fontsize="small", loc="upper left")
    panels[0].set_ylabel("zeta")


def _curves(points: list[Point]) -> list[tuple[str, str, list[Point]]]:
    """Return (smoothing, temperature in words, its points) of each curve, in their order."""
    by_curve: dict[tuple[str, str], list[Point]] = {}
    for p in points:
        by_curve.setdefault(
            (p["smoothing"].replace("_", " "), f"{p['setting']} {p['temperature']:g}"), []
        ).append(p)
    return [(name, label, curve) for (name, label), curve in by_curve.items()]


SMOOTHING = Drawing(points, grid, draw, NOTES)
