"""The notes below a table. Each is a rule of ``RULES``, in the order of the page.

A rule yields the lines of its note; none if it does not apply. To add a note, add a rule here and
an entry of ``RULES``.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator

from vaebench.config.catalogue import load_preset, options
from vaebench.config.tables import Table
from vaebench.protocol.registry import heading, is_descriptive, is_timing
from vaebench.report import across, times
from vaebench.report.cells import MARK
from vaebench.report.summary import DIVERGED, NOT_DIVERGED, NOT_TRAINED, ReportRow, Summary
from vaebench.results import flags
from vaebench.results.stats import LEVEL

Rule = Callable[[Summary], Iterable[str]]

VERDICTS = {
    "yes": (
        f"within the margin of the published number; half the {LEVEL:.0%} "
        "interval is no more than that"
    ),
    "better": (
        f"lower than the published number by more than the margin; the {LEVEL:.0%} "
        "interval does not reach it"
    ),
    "no": (
        f"higher than the published number by more than the margin; the {LEVEL:.0%} "
        "interval does not reach it"
    ),
    "unclear": "the seeds, or the paper's runs, scatter too much for a yes, a better or a no",
    "n=1": "one seed, from which no yes or no is given",
    "-": "no verdict: nothing published or measured, not the paper's data or evaluation, or a time",
    NOT_TRAINED: "a number from the literature, for comparison",
    DIVERGED: "every seed diverged, as the paper's run did",
    NOT_DIVERGED: "the paper's run diverged, and not every seed of ours did",
}

JUDGED = {"yes", "better", "no", "unclear"}
"""Verdicts that depend on errors."""


def footnotes(table: Table, rows: list[ReportRow]) -> list[str]:
    """Return the lines of all rules."""
    summary = Summary(table, rows)
    return [line for rule in RULES for line in rule(summary)]


# ----------------------------------------------------------------------------------- how to read it


def legend(summary: Summary) -> Iterator[str]:
    """Explain what the numbers are."""
    table = summary.table
    if across.fits(table):
        yield across.legend(table, summary.unit)
        return

    # A column with another measure than the table's is named. Times have notes of their own.
    shown_columns = {row.column for row in summary.rows} or set(table.columns)
    measures = {c: table.measure_of(c) for c in table.columns if c in shown_columns}
    other_measures = {c: m for c, m in measures.items() if m != table.measure and not is_timing(m)}
    columns = "".join(f", in column {c} {heading(m)}" for c, m in other_measures.items())

    difference = "; difference: ours minus published" if table.printed else ""
    unit = " in nats" if summary.unit == "nats" else f" ({summary.unit})"

    # Of descriptions of the model, such as a KL, less is no better than more.
    judged = not all(is_descriptive(m) for m in [table.measure, *other_measures.values()])
    better = "lower is better" if judged else "less is no better than more"
    yield f"ours: {heading(table.measure)}{unit}{columns}, mean over seeds{difference}; {better}."


def error_over_seeds(summary: Summary) -> Iterator[str]:
    """Explain ``113.25 ± 0.12``."""
    if any(e.se is not None for e in summary.estimates):
        more = "; it holds no error of the published number" if summary.table.printed else ""
        yield f"±: standard error of the mean over the seeds{more}."


def published_sd(summary: Summary) -> Iterator[str]:
    """Explain ``84.11 ± 0.04`` in print."""
    if any(r.published_sd is not None for r in summary.rows):
        yield (
            "± of a published number: the standard deviation over the paper's runs, as "
            "printed, not of their mean."
        )


def error_of_one_seed(summary: Summary) -> Iterator[str]:
    """Explain ``113.25 [0.05]``."""
    error_kinds = {e.error_kind for e in summary.estimates if e.n == 1 and e.own_error is not None}
    if error_kinds:
        in_words = " or ".join(
            sorted({"monte carlo": "Monte Carlo"}.get(kind, kind) for kind in error_kinds)
        )
        yield (
            f"[..] after a number: one seed; the {in_words} error of its evaluation, which says "
            "nothing about the spread over seeds."
        )


def error_of_log_z(summary: Summary) -> Iterator[str]:
    """Tell the error of an estimated log Z, the largest of all rows."""
    largest = max((e.log_z_error or 0.0 for e in summary.estimates), default=0.0)
    if largest:
        yield (
            f"log Z: estimated, with a standard error of at most {_significant(largest)} nats in "
            "a mean over test cases. All cases of a run share it (of documents those of one "
            "length), so it does not average out over them; it is part of [..]."
        )


def part_of_the_cases(summary: Summary) -> Iterator[str]:
    """Tell the error that comes from measuring on some of the test examples, if it is known."""
    with_error = [(e.case_error, e) for e in summary.estimates if e.cases and e.case_error]
    if with_error:
        error, worst = max(with_error, key=lambda pair: pair[0])
        yield (
            f"test cases: {worst.cases} only. As one of the whole set a value is known to ± "
            f"{_significant(error)} {worst.unit} at most, no part of the errors above; rows "
            "measured on the same cases differ by less."
        )


def unknown_words(summary: Summary) -> Iterator[str]:
    """Tell how many of the documents' words the vocabulary lacks.

    Each such word is scored as the one entry <unk>.
    """
    shares = [e.unknown for e in summary.estimates if e.unknown]
    if shares:
        yield (
            f"<unk>: up to {max(shares):.1%} of the documents' words are not in the vocabulary "
            "and scored as <unk>."
        )


def effective_samples(summary: Summary) -> Iterator[str]:
    """Tell how far the importance-weighted NLL can be trusted."""
    with_ess = [(e.ess, e) for e in summary.importance_weighted if e.ess is not None]
    if with_ess:
        ess, worst = min(with_ess, key=lambda pair: pair[0])
        k = "" if worst.samples is None else f" of K={worst.samples}"
        yield (
            f"IW-NLL: the smallest mean effective sample size of a row is {ess:.1f}{k}; where it "
            "is low, more samples would lower the NLL by more than its error."
        )


def delta_method(summary: Summary) -> Iterator[str]:
    """Warn of errors that an earlier version computed by the delta method.

    That version stored the effective sample size, but not by which method an error was estimated.
    """
    with_ess = [e for e in summary.importance_weighted if e.ess is not None]
    if any(e.n == 1 and e.own_error is not None and not e.error_by for e in with_ess):
        yield (
            "IW-NLL: errors recorded by the delta method, which are too small where the effective "
            "sample size is low; vaebench eval measures anew, by the jackknife."
        )


def evaluated_once(summary: Summary) -> Iterator[str]:
    """Name the rows without the repeated evaluations (``eval.repeats``) that the table asks for."""
    if any(override.startswith("eval.repeats=") for override in summary.table.base):
        rows_evaluated_once = dict.fromkeys(
            r.row for r in summary.rows if r.ours and not r.ours.repeats
        )
        if rows_evaluated_once:
            yield (
                "evaluated once only, vaebench run makes the other evaluations: "
                f"{', '.join(rows_evaluated_once)}."
            )


def evaluation_noise(summary: Summary) -> Iterator[str]:
    """Tell the result of repeated evaluations of the same parameters.

    For several seeds it is the mean of their means and of their variances, so the spread of the
    seeds themselves is left out.
    """
    for r in summary.rows:
        if r.ours and r.ours.repeats:
            count, mean, variance = r.ours.repeats
            seeds = f" of each of {r.ours.n} seeds" if r.ours.n > 1 else ""
            yield (
                f"{r.row}, {r.column}: {count} evaluations{seeds}, mean {mean:.2f}, "
                f"variance {variance:.1g}."
            )


def order_of_layers(summary: Summary) -> Iterator[str]:
    """Explain ``31.1 / 13.3 / 0.06``."""
    if any(len(e.layers) > 1 for r in summary.rows for e in r.beside.values()):
        yield (
            "KL and active units of several latent layers: by layer, the one next to the data "
            "first; of several seeds the mean of each."
        )


def flagged(summary: Summary) -> Iterator[str]:
    """Explain the mark behind a flagged number."""
    # Flags of numbers that are shown, and of numbers that are lost.
    kinds = {kind for e in summary.estimates for kind in e.flags}
    kinds |= {kind for r in summary.rows for lost in r.lost.values() for kind in lost}
    if kinds & set(flags.FAULTS):
        yield (
            f"{MARK}: flagged, the notes of the row say why; a number that is impossible or not "
            "finite enters no mean, one that a single case decides, or whose annealing failed, "
            "has no verdict."
        )
    elif flags.DEAD_LAYER in kinds:
        yield f"{MARK}: flagged, the notes of the row say why."


# ----------------------------------------------------------------------------------------- verdicts


def margin(summary: Summary) -> Iterator[str]:
    """Tell up to which difference a row counts as reproduced."""
    if summary.table.printed:
        yield f"margin: {summary.table.margin:g} {summary.unit}: {summary.table.margin_why}"


def verdicts(summary: Summary) -> Iterator[str]:
    """Explain the verdicts that are in the table."""
    if summary.table.printed:
        words_in_table = {_word(r) for r in summary.rows}
        yield from (
            f"{word}: {meaning}." for word, meaning in VERDICTS.items() if word in words_in_table
        )


def interval(summary: Summary) -> Iterator[str]:
    """Explain the interval that verdicts refer to."""
    judged = [r for r in summary.rows if _word(r) in JUDGED]
    if not (summary.table.printed and judged):
        return

    seeds = (
        f"{LEVEL:.0%} interval: of the difference, by Student's t with n - 1 degrees "
        "of freedom for n seeds"
    )

    # If the paper prints a standard deviation, its number has an error too; see
    # ``results.stats.published_error``.
    welch = "and by Welch's where the paper prints a standard deviation"
    if all(r.published_sd is None for r in judged):
        yield f"{seeds}; the published number is taken as exact."
    elif summary.table.published_runs:
        yield f"{seeds}, {welch}, over {summary.table.published_runs} runs."
    else:
        yield (
            f"{seeds}, {welch}; over how many runs it does not say, so it is taken as the "
            "error of the number itself."
        )


def lost_seeds(summary: Summary) -> Iterator[str]:
    """Explain ``yes, 3 of 5 seeds``."""
    if any(r.verdict.endswith(" seeds") for r in summary.rows):
        yield "k of n seeds: the others failed or diverged; the mean is over the k that finished."


# ------------------------------------------------------------------------------- runs and the paper


def presets(summary: Summary) -> Iterator[str]:
    """Explain the presets of the rows."""
    # A preset that no longer exists, named in a results file, has no description.
    for name, label in sorted({(r.preset, r.label) for r in summary.rows if r.preset}):
        about = (
            summary.table.in_its_words(load_preset(name)).about if name in options("preset") else ""
        )
        extra = summary.table.presets[name].note if name in summary.table.presets else ""
        recipe = (
            f"not the paper's recipe, so a verdict says {label!r}"
            if label and summary.table.printed
            else ""
        )
        yield f"preset {name}: {'; '.join(filter(None, (about, extra, recipe))) or 'see its file'}."


HOW_TIMED = {
    True: "seconds that the processor worked on a run",
    False: "seconds that passed while a run was made, whatever else the machine did",
}
"""What the seconds of a run are, if they are by the processor's clock or not."""


def recorded_time(summary: Summary) -> Iterator[str]:
    """Explain the column ``time``."""
    clocks = {bool(r.clock) for r in summary.rows if r.seconds is not None}
    if clocks:
        pack = max(r.pack or 1 for r in summary.rows)
        beside = f"; up to {pack} seeds ran side by side" if pack > 1 else ""
        devices = "; ".join(sorted({r.device for r in summary.rows if r.device}))

        # ``clocks`` has True for the processor's clock; it is explained first.
        clock_words = ", of some rows ".join(
            HOW_TIMED[by_processor] for by_processor in sorted(clocks, reverse=True)
        )
        yield f"time: {clock_words}, mean over seeds{beside}{f' ({devices})' if devices else ''}."


def notes(summary: Summary) -> Iterable[str]:
    """Return the notes of the table's own file."""
    return summary.table.notes


def ledger(summary: Summary) -> Iterator[str]:
    """Yield the table's ledger in short."""
    if summary.table.ledger:
        why = f"vaebench show table={summary.table.name} says why"
        yield f"where the paper is silent or differs, at preset=paper ({why}):"
        yield from (f"{entry.topic}: {entry.here}" for entry in summary.table.ledger)


RULES: tuple[Rule, ...] = (
    legend,
    error_over_seeds,
    published_sd,
    error_of_one_seed,
    error_of_log_z,
    part_of_the_cases,
    unknown_words,
    effective_samples,
    delta_method,
    times.footnotes,
    evaluated_once,
    evaluation_noise,
    order_of_layers,
    flagged,
    margin,
    verdicts,
    interval,
    lost_seeds,
    presets,
    recorded_time,
    notes,
    ledger,
)


def _word(row: ReportRow) -> str:
    """Return the verdict without its label and its count of seeds."""
    return row.verdict.split(", ")[0]


def _significant(error: float) -> str:
    """Write an error with two significant digits, at least two decimals, as a plain number."""
    # If the first digit stands at 10^e, the second is decimal 1 - e.
    return f"{error:.{max(2, 1 - math.floor(math.log10(error)))}f}"
