"""What stands below a report: how to read its numbers, its verdicts, what its presets are, the ledger in short."""

from __future__ import annotations

import math

from vaebench.config.catalogue import load_preset, options
from vaebench.config.cells import Table
from vaebench.protocol.registry import heading, is_timing
from vaebench.report import across, repeats, times
from vaebench.report.cells import MARK
from vaebench.report.select import Estimate
from vaebench.report.summary import DIVERGED, NOT_DIVERGED, NOT_TRAINED, ReportRow
from vaebench.results import flags
from vaebench.results.stats import LEVEL

VERDICTS = {
    "yes": f"within the margin of the published number; half the {LEVEL:.0%} interval is no more than that",
    "better": f"lower than the published number by more than the margin; the {LEVEL:.0%} interval does not reach it",
    "no": f"higher than the published number by more than the margin; the {LEVEL:.0%} interval does not reach it",
    "unclear": "the seeds, or the paper's runs, scatter too much for a yes, a better or a no",
    "n=1": "one seed, from which no yes or no is given",
    "-": "no verdict: nothing published or measured, not the paper's data or evaluation, or a time",
    NOT_TRAINED: "a number from the literature, for comparison",
    DIVERGED: "every seed diverged, as the paper's run did",
    NOT_DIVERGED: "the paper's run diverged, and not every seed of ours did",
}

JUDGED = {"yes", "better", "no", "unclear"}
"""Words that errors decide."""


def footnotes(table: Table, rows: list[ReportRow]) -> list[str]:
    measured = [r.ours for r in rows if r.ours]
    estimates = [*measured, *(e for r in rows for e in r.beside.values())]
    unit = next((r.ours.unit for r in rows if r.ours and r.measure == table.measure), "nats")
    lines = [across.legend(table, unit) if across.fits(table) else _legend(table, unit)]
    if any(e.se is not None for e in estimates):
        more = "; it holds no error of the published number" if table.printed else ""
        lines.append(f"±: standard error of the mean over the seeds{more}.")
    if any(r.spread is not None for r in rows):
        lines.append(
            "± of a published number: the standard deviation over the paper's runs, as printed, not of their mean."
        )
    single = {e.error_kind for e in estimates if e.n == 1 and e.own_error is not None}
    if single:
        lines.append(
            f"[..] after a number: one seed; the {' or '.join(sorted(_kind(k) for k in single))} error of its "
            "evaluation, which says nothing about the spread over seeds."
        )
    log_z = max((e.log_z_error or 0.0 for e in estimates), default=0.0)
    if log_z:
        lines.append(
            f"log Z: estimated, with a standard error of at most {_significant(log_z)} nats that all test cases of a "
            "run share: it does not average out over them, and is part of [..]."
        )
    lines += (
        _part_of_the_cases(rows)
        + _unknown_words(estimates)
        + _effective_samples(rows)
        + times.footnotes(table, rows)
        + repeats.footnotes(table, rows)
    )
    lines += _marks(rows, estimates)
    words = {r.verdict.split(", ")[0] for r in rows} if table.printed else set()
    if table.printed:
        lines.append(f"margin: {table.margin:g} {unit}: {table.margin_why}")
    lines += [f"{word}: {meaning}." for word, meaning in VERDICTS.items() if word in words]
    if words & JUDGED:
        lines.append(_interval(table, rows))
    if any(r.verdict.endswith(" seeds") for r in rows):
        lines.append("k of n seeds: the others failed or diverged; the mean is over the k that finished.")
    lines += [_preset(table, p, label) for p, label in sorted({(r.preset, r.label) for r in rows if r.preset})]
    packs = max((r.pack or 1 for r in rows), default=1)
    if any(r.seconds is not None for r in rows):
        devices = "; ".join(sorted({r.device for r in rows if r.device}))
        beside = f"; up to {packs} seeds ran side by side" if packs > 1 else ""
        lines.append(f"time: recorded seconds per run, mean over seeds{beside}{f' ({devices})' if devices else ''}.")
    lines += table.notes
    if table.ledger:
        lines.append(
            f"where the paper is silent or differs, at preset=paper (vaebench show table={table.name} says why):"
        )
        lines += [f"{entry.topic}: {entry.here}" for entry in table.ledger]
    return lines


def _interval(table: Table, rows: list[ReportRow]) -> str:
    """What the interval is that verdicts speak of."""
    seeds = f"{LEVEL:.0%} interval: of the difference, by Student's t with n - 1 degrees of freedom for n seeds"
    if not any(r.spread is not None for r in rows if r.verdict.split(", ")[0] in JUDGED):
        return f"{seeds}; the published number is taken as exact."
    if table.published_runs:
        return f"{seeds}, and by Welch's where the paper prints a standard deviation, over {table.published_runs} runs."
    return (
        f"{seeds}, and by Welch's where the paper prints a standard deviation; over how many runs it does not say, so "
        "it is taken as the error of the number itself."
    )


def _legend(table: Table, unit: str) -> str:
    others = {c: m for c in table.columns if (m := table.measure_of(c)) != table.measure and not is_timing(m)}
    columns = "".join(f", in column {c} {heading(m)}" for c, m in others.items())
    difference = "; difference: ours minus published" if table.printed else ""
    return f"ours: {heading(table.measure)} in {unit}{columns}, mean over seeds{difference}; lower is better."


def _part_of_the_cases(rows: list[ReportRow]) -> list[str]:
    """What measuring on some of the cases costs, where that is known."""
    part = [e for r in rows for e in (r.ours, *r.beside.values()) if e and e.cases and e.over_cases]
    if not part:
        return []
    worst = max(part, key=lambda e: e.over_cases)
    return [
        f"test cases: {worst.cases} only. As one of the whole set a value is known to ± "
        f"{_significant(worst.over_cases)} {worst.unit} at most, no part of the errors above; rows measured on the "
        "same cases differ by less."
    ]


def _unknown_words(estimates: list[Estimate]) -> list[str]:
    """How much of the documents a vocabulary lacks: each such word is scored as the one entry <unk>."""
    shares = [e.unknown for e in estimates if e.unknown]
    if not shares:
        return []
    return [f"<unk>: up to {max(shares):.1%} of the documents' words are not in the vocabulary and scored as <unk>."]


def _effective_samples(rows: list[ReportRow]) -> list[str]:
    """How far the importance-weighted NLL and its error may be trusted, where one is shown.

    Errors that do not name their method are by the delta method, of an earlier version.
    """
    shown = [r.ours if r.measure == "iw_nll" else r.iw_nll for r in rows]
    known = [e for e in shown if e and e.ess is not None]
    if not known:
        return []
    worst = min(known, key=lambda e: e.ess)
    k = "" if worst.samples is None else f" of K={worst.samples}"
    lines = [
        f"IW-NLL: the smallest mean effective sample size of a row is {worst.ess:.1f}{k}; where it is low, more "
        "samples would lower the NLL by more than its error."
    ]
    if any(e.n == 1 and e.own_error is not None and not e.error_by for e in known):
        lines.append(
            "IW-NLL: errors recorded by the delta method, which are too small where the effective sample size is low; "
            "vaebench eval measures anew, by the jackknife."
        )
    return lines


def _marks(rows: list[ReportRow], estimates: list[Estimate]) -> list[str]:
    """What stands behind a flagged number means, and the order of layers."""
    lines = []
    if any(len(e.layers) > 1 for r in rows for e in r.beside.values()):
        lines.append(
            "KL and active units of several latent layers: by layer, the one next to the data first; of several seeds "
            "the mean of each."
        )
    kinds = {kind for e in estimates for kind in e.flags}
    kinds |= {kind for r in rows for lost in r.lost.values() for kind in lost}
    faulty = bool(kinds & set(flags.FAULTS))
    if faulty or flags.DEAD_LAYER in kinds:
        rule = (
            "; a number that is impossible or not finite enters no mean, one that a single case decides has no verdict"
        )
        lines.append(f"{MARK}: flagged, the notes of the row say why{rule if faulty else ''}.")
    return lines


def _significant(error: float) -> str:
    """An error with two significant digits, as a plain number."""
    return f"{error:.{max(2, 1 - math.floor(math.log10(error)))}f}"


def _kind(error_kind: str) -> str:
    return {"monte carlo": "Monte Carlo"}.get(error_kind, error_kind)


def _preset(table: Table, name: str, label: str) -> str:
    about = load_preset(name).about if name in options("preset") else ""
    extra = table.presets[name].note if name in table.presets else ""
    recipe = f"not the paper's recipe, so a verdict says {label!r}" if label and table.printed else ""
    return f"preset {name}: {'; '.join(p for p in (about, extra, recipe) if p) or 'see its file'}."
