"""How much z carries, and how far q(z) is from the prior.

KL = MI + KL(q(z) || p(z)) over training (He et al., Fig. 5). As in the paper, only the validations
that improved the bound are shown, MI is taken within batches, and KL - MI replaces
KL(q(z) || p(z)). Both are no less than 0.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from vaebench.config.cells import Cell
from vaebench.report.plots import curve_files
from vaebench.report.plots.base import Plot
from vaebench.results.store import Store

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.figure import Figure

CURVE = ("valid_bound", "valid_kl", "valid_mi_batch")
"""Columns of the curves that it needs."""

LINES = {"kl": "KL(q(z|x) || p(z))", "mi": "MI", "rest": "KL - MI"}


def collect(store: Store, cells: list[Cell], seeds: list[int]) -> pd.DataFrame:
    """Return table, row, column, seed, update, then valid_bound, kl, mi, rest (nats).

    Only improvements are kept. Runs without these numbers, of models without latents, have no
    lines.
    """
    return improvements(curve_files.collect(store, cells, seeds, CURVE, only=True))


def improvements(frame: pd.DataFrame) -> pd.DataFrame:
    """Return what ``collect`` does, from all validations of the runs."""
    frame = frame[["table", "row", "column", "seed", "update", *CURVE]].dropna(subset=["valid_kl"])

    # The best bound of all earlier validations of the run. The first validation has none: its NaN
    # makes the comparison below false, so the line is kept.
    best_before = frame.groupby(["table", "row", "column", "seed"])["valid_bound"].transform(
        lambda v: v.cummin().shift()
    )
    frame = frame[~(frame["valid_bound"] >= best_before)].reset_index(drop=True)

    # An estimate of MI within batches may be slightly negative, or exceed the KL; see above.
    frame = frame.rename(columns={"valid_kl": "kl", "valid_mi_batch": "mi"})
    frame["mi"] = frame["mi"].clip(lower=0)
    return frame.assign(rest=(frame["kl"] - frame["mi"]).clip(lower=0))


def draw(figure: Figure, frame: pd.DataFrame) -> None:
    """Draw one panel for each row, with three lines for each of its runs."""
    # At most four panels side by side; -(-a // b) rounds a / b up.
    rows = list(dict.fromkeys(frame["row"]))
    figure.set_size_inches(1 + 3.4 * min(len(rows), 4), 3.0 * -(-len(rows) // 4))
    panels = list(
        figure.subplots(-(-len(rows) // 4), min(len(rows), 4), sharey=True, squeeze=False).flat
    )

    for panel, row in zip(panels, rows, strict=False):
        runs = frame[frame["row"] == row]
        for i, (name, label) in enumerate(LINES.items()):
            for j, (_, run) in enumerate(runs.groupby(["column", "seed"])):
                panel.plot(
                    run["update"],
                    run[name],
                    color=f"C{i}",
                    linewidth=1,
                    label=label if j == 0 else None,  # once in the legend, not for each run
                )

        panel.set(title=row, xlabel="parameter updates", ylabel="nats")
        panel.legend(fontsize="small")

    # Panels of the last line that no row needs.
    for panel in panels[len(rows) :]:
        panel.axis("off")


INFORMATION = Plot(
    collect,
    draw,
    "none of these runs has reached a validation",
    columns=("update", *CURVE),
    shown=improvements,
    of=("kl", "mi_batch", "active_units"),
)
