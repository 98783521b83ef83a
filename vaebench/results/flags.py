"""What is wrong with a number or a run, in words.

Examples are an impossible value, an example that outweighs all others, or a dead layer. A flag is a
line ``kind: why``. Flags of a measure follow from what is recorded of it, so old results are judged
by the same rules as new ones. A run has flags of its own from its training. Neither torch nor
pandas is loaded.
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from vaebench.data import DATA
from vaebench.protocol.protocol import Protocol
from vaebench.protocol.registry import METRICS
from vaebench.results.result_file import readable_measures
from vaebench.results.stats import Measure
from vaebench.settings.kinds import is_number

IMPOSSIBLE = "impossible"
NOT_FINITE = "not finite"
ONE_CASE = "one case"
"""A number with a flag of one of these kinds should not be quoted."""

DEAD_LAYER = "dead layer"
BASELINE = "baseline"
"""With a flag of one of these kinds, a model or its training is not what it seems to be. The number
itself is right."""

ANNEALING = "annealing"
"""Kind of flag of an annealed estimate that has not converged."""

OF_ANNEALING = ("ess", "chains", "gap", "gap_error")
"""Keys in ``extra`` of an annealed measure: the effective number of chains, their number, and by
how much the estimate from above exceeds it, with the standard error of that."""

OF_LOG_Z = ("log_z_ess", "log_z_chains", "log_z_gap", "log_z_gap_error")
"""The same keys of a measure that contains an annealed log Z; they are about log Z."""

UNKNOWN_WORDS = "unknown words"
"""Kind of flag of a number that says little about the text, because many of the words that it was
measured on are <unk>."""

LOST = (IMPOSSIBLE, NOT_FINITE)
"""Values with such a flag enter no mean."""

FAULTS = (*LOST, ONE_CASE, ANNEALING)
"""Values with such a flag get no verdict."""

OF_RUNS = (BASELINE,)
"""Kinds of flags of a run as a whole; the others are of a measure."""

LEAST_KL = 0.1
"""Nats below which a latent layer counts as carrying nothing."""

LEAST_SHARE = 0.1
"""Share of the chains below which the effective number of chains is too small."""

MOST_GAP = 0.5
"""Nats by which estimates from below and from above may differ: the margin of the tables."""

SIGMAS = 3.0
"""Standard errors by which noise may move an estimate beyond what is possible without it being a
fault."""

SURPRISE = 14.0
"""Nats by which noise may move the log-probability of all examples together above 0, however large
its error is.

A weight has a mean of at most 1. So the log of a mean of weights, the mean of their logs, and the
sum of either over independent examples exceed t with probability exp(-t) at most (Markov, Jensen):
here, once in a million.
"""

ROUNDING = 1e-6
"""Nats by which a sum of many terms may be wrong."""

DENSITY = "density"
"""Key in ``extra`` of a measure whose model has a density for its examples. Its NLL may well be
negative."""

MOST_UNKNOWN = 0.2
"""Share of unknown words above which a score says little about documents."""

UNKNOWN = "unknown"
"""Key in ``extra`` of a measure of documents: the share of words that the vocabulary lacks."""

OUTSIDE = "train_baseline_outside"
"""Key in a curve: the share of updates in which a baseline's prediction was far outside the
signal's range."""


def kind_of(flag: str) -> str:
    """Return the kind of a flag: ``one case`` for ``one case: case 17 ...``."""
    return flag.partition(":")[0]


def kinds(flags: Iterable[str]) -> tuple[str, ...]:
    """Return the kinds of several flags, each once."""
    return tuple(dict.fromkeys(map(kind_of, flags)))


# ------------------------------------------------------------------------------------- of a measure


def of_measure(measure: Measure) -> tuple[str, ...]:
    """Return the flags of one measure.

    They are those that it was stored with, and others that follow from its recorded values.
    """
    return merged(measure.flags, derived(measure))


def derived(measure: Measure) -> tuple[str, ...]:
    """Return the flags that follow from the recorded values alone.

    If the data set is not known here, the sign and the layers of a measure are not judged.
    """
    findings = [
        _not_finite(measure),
        _impossible(measure),
        _one_case(measure),
        _dead_layer(measure),
        _unknown(measure),
    ]
    findings.append(_annealing(measure))
    return tuple(f"{kind}: {text}" for kind, text in filter(None, findings))


def merged(stored: Sequence[str], more: Iterable[str]) -> tuple[str, ...]:
    """Return ``stored`` and those of ``more`` that are of other kinds."""
    stored_kinds = kinds(stored)
    return (*stored, *(flag for flag in more if kind_of(flag) not in stored_kinds))


def _not_finite(measure: Measure) -> tuple[str, str] | None:
    if math.isfinite(measure.value):
        return None

    # {"cases": how many, "first": position of the first}; see estimators.outlier.
    cases = measure.extra.get("not_finite")
    if not isinstance(cases, dict):
        return NOT_FINITE, "the value is no number"

    number = cases.get("cases")
    first = cases.get("first")
    return NOT_FINITE, f"{number} of {_of(measure)} cases, case {first} the first of them"


def _impossible(measure: Measure) -> tuple[str, str] | None:
    """Flag a value below the least one that the measure can have.

    This holds only if every example has a probability, not a density.
    """
    metric = METRICS.get(measure.name)
    if (
        metric is None
        or metric.floor is None
        or measure.extra.get(DENSITY)
        or _data(measure) is None
    ):
        return None

    # Written with "not", so that NaN counts as possible: it has a flag of its own.
    if not measure.value < metric.floor - ROUNDING - _noise(measure):
        return None
    return (
        IMPOSSIBLE,
        f"{_short(measure.value)}, and of discrete data it is never below {metric.floor:g}",
    )


def _noise(measure: Measure) -> float:
    """Return how far noise may move a measure beyond what is possible, in its unit.

    The standard error alone is no excuse: a weight without bound makes it as large as the value
    that it spoils. The error of log Z is common to all examples, so SURPRISE does not limit it.
    """
    error, log_z = (
        v if is_number(v) else 0.0 for v in (measure.error, measure.extra.get("log_z_error"))
    )

    # SURPRISE bounds the sum over the examples, and the measure is their mean.
    of_examples = min(SIGMAS * error, SURPRISE / (measure.points or 1))
    return math.hypot(of_examples, SIGMAS * log_z)


def _one_case(measure: Measure) -> tuple[str, str] | None:
    """Flag a mean that one example moves by more than all others together.

    This was either noticed at the evaluation or follows from the spread over examples.
    """
    # {"case": position, "value", "shift": by how much it moves the mean}; see estimators.outlier.
    case = measure.extra.get("one_case")
    spread = measure.extra.get("spread")  # the standard error of the mean over examples

    if isinstance(case, dict):
        value = _short(case.get("value"))
        shift = _short(case.get("shift"))
        text = (
            f"case {case.get('case')}, at {value}, moves the mean by {shift}, more "
            "than all others together"
        )
        return ONE_CASE, text

    if is_number(spread) and is_number(measure.value) and spread > abs(measure.value) > 0:
        return (
            ONE_CASE,
            (
                f"the standard error over cases, {spread:.2f}, exceeds the mean "
                "itself: few cases carry it"
            ),
        )
    return None


def _dead_layer(measure: Measure) -> tuple[str, str] | None:
    """Flag a latent layer without KL.

    A model without data to learn from is excepted: its latents have nothing to carry.
    """
    layers = measure.extra.get("layers")  # the KL of each layer, in nats
    data = _data(measure)
    if measure.name != "kl" or not isinstance(layers, list) or data is None or data.empty:
        return None

    dead = [i for i, kl in enumerate(layers, start=1) if is_dead(kl)]
    if not dead:
        return None
    if len(layers) == 1:
        return DEAD_LAYER, f"the latents carry less than {LEAST_KL:g} nat"

    named = f"layer{'s' if len(dead) > 1 else ''} {', '.join(map(str, dead))} of {len(layers)}"
    return (
        DEAD_LAYER,
        f"{named} carr{'y' if len(dead) > 1 else 'ies'} less than {LEAST_KL:g} nat",
    )


def _annealing(measure: Measure) -> tuple[str, str] | None:
    """Flag weights that few chains carry, and directions that disagree.

    The directions are those of log Z or, for ``ais_nll``, of log p(x) on examples that the model
    made. From below, log Z is too large by ``a`` nats with a probability of e^-a at most (Markov's
    inequality), however few chains carry it. From above there is no such bound unless the chains
    start as samples of the RBM: if they all start in some of its modes, log Z is that of these
    modes.
    """
    reasons = [
        *_unconverged(measure, OF_ANNEALING),
        *_unconverged(measure, OF_LOG_Z, " of log Z"),
    ]
    return (ANNEALING, "; ".join(reasons)) if reasons else None


def _unconverged(measure: Measure, keys: Sequence[str], of: str = "") -> list[str]:
    """Return why an annealing has not converged, by such keys of ``extra`` as OF_ANNEALING."""
    # Effective and actual number of chains; estimate from above minus that from below, in nats, and
    # its standard error.
    ess, chains, gap, error = map(measure.extra.get, keys)

    reasons = []
    if is_number(ess) and is_number(chains) and ess < LEAST_SHARE * chains:
        reasons.append(f"the effective number of chains{of} is {ess:.1f} of {chains:,}")
    if is_number(gap) and is_number(error) and abs(gap) - SIGMAS * error > MOST_GAP:
        quantity = "log p(x)" if measure.name == "ais_nll" else "log Z"
        on_which = " on cases that the model made" if measure.name == "ais_nll" else ""
        reasons.append(f"from below and from above {quantity} differs by {gap:.2f} nats{on_which}")

        # Estimates from below hardly ever exceed log Z. If one exceeds the estimate from above,
        # the latter is the wrong one.
        if gap < 0 and measure.name != "ais_nll":
            reasons.append(
                "the chains from above have missed a mode, so log Z is at least "
                "about that from below"
            )
    return reasons


def _unknown(measure: Measure) -> tuple[str, str] | None:
    """Flag documents with many words that the vocabulary lacks."""
    share = measure.extra.get(UNKNOWN)
    if not is_number(share) or share <= MOST_UNKNOWN:
        return None
    return (
        UNKNOWN_WORDS,
        f"{100 * share:.0f} % of the words are not in the vocabulary and are scored as <unk>",
    )


def is_dead(kl: Any) -> bool:
    """Whether a layer with this KL, in nats, carries nothing."""
    return is_number(kl) and abs(kl) < LEAST_KL


def _short(value: Any) -> str:
    if not is_number(value):
        return "?"
    return f"{value:,.2f}" if abs(value) < 1e9 else f"{value:.3g}"


def _data(measure: Measure) -> Any:
    """Return the class of the data that a measure was taken on; None if not known here."""
    return DATA.get(measure.signature.data)


def _of(measure: Measure) -> str:
    return "some" if measure.points is None else f"{measure.points:,}"


# ---------------------------------------------------------------------------- of a run, of a result


def of_curve(curve: Sequence[Mapping[str, Any]]) -> tuple[str, ...]:
    """Return the flags of a training by its curve.

    The points of the curve are means over the updates since the last validation.
    """
    points = [p for p in curve if is_number(p.get(OUTSIDE)) and p[OUTSIDE] > 0]
    if not points:
        return ()

    # The share at each point is over the updates since the point before, so shares do not add up:
    # the line says where they begin and how large they get.
    worst = max(points, key=lambda p: p[OUTSIDE])
    first = points[0]
    text = (
        f"{BASELINE}: predictions far outside the range of the learning signal, first noticed at "
        f"the validation of update {first['update']:,}, in up to {100 * worst[OUTSIDE]:.2g} % of "
        "the updates between two validations"
    )
    return (text,)


def of_run(result: Mapping[str, Any]) -> tuple[str, ...]:
    """Return the flags that a stored result has for its run as a whole."""
    stored = result.get("flags")
    return tuple(map(str, stored)) if isinstance(stored, list) else ()


def of_result(result: Mapping[str, Any]) -> list[tuple[str, str]]:
    """Return all flags of a stored result.

    First ('', flag) of the run, then (measure, flag), as far as its measures can be read.
    """
    flagged = [("", flag) for flag in of_run(result)]
    for measure in readable_measures(result):
        flagged += [(measure.name, flag) for flag in of_measure(measure)]
    return flagged


def in_short(found: Iterable[tuple[str, str]]) -> str:
    """Return the flags of a result in a few words: ``iw_nll impossible, kl dead layer``."""
    return ", ".join(dict.fromkeys(f"{measure} {kind_of(flag)}".strip() for measure, flag in found))


# -------------------------------------------------------------------------------- in the long frame


def of_row(row: Mapping[str, Any]) -> str:
    """Return the column ``flags`` of a row of the long frame.

    The stored flags are completed with those that follow from the row's other columns.
    """
    stored = split(row.get("flags"))
    if not row.get("metric"):
        return join(stored)

    # A frame has NaN for an error that is not known, a Measure None.
    value = row.get("value")
    error = row.get("error")
    measure = Measure(
        name=row["metric"],
        value=math.nan if value is None else float(value),
        unit=row.get("unit") or "",
        error=None if error is None or math.isnan(error) else float(error),
        points=row.get("points"),
        signature=Protocol(row.get("signature") or ""),
        extra=json.loads(row["extra"]) if row.get("extra") else {},
    )
    return join(merged(stored, derived(measure)))


def join(flags: Sequence[str]) -> str:
    """Return flags as the text of a column: a JSON list, empty if there are none."""
    return json.dumps(list(flags), ensure_ascii=False) if flags else ""


def split(text: str | None) -> tuple[str, ...]:
    """Return the flags of a ``join``-ed text. Raises ValueError if it is no list of flags."""
    flags = json.loads(text) if text else []
    if not isinstance(flags, list) or not all(isinstance(flag, str) for flag in flags):
        raise ValueError(f"not a JSON list of texts: {text!r}")
    return tuple(flags)
