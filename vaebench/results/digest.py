"""Runs in a few short texts and numbers, for lists, estimates and reports."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any, NamedTuple

from vaebench.config.cells import canonical, settings_of
from vaebench.protocol.registry import METRICS, is_timing
from vaebench.results import flags
from vaebench.results.result_file import readable_measures
from vaebench.results.stats import Measure
from vaebench.settings.kinds import is_number
from vaebench.settings.records import EvalSettings

FACTS = ("key", "seed", "status", "seconds", "eval_seconds", "updates", "device", "clock")
"""What an estimate of cost needs to know about a run besides its settings; see ``cost``."""


class Found(NamedTuple):
    """The outcome of a run.

    Attributes:
        status: Its status, one word.
        updates: Number of updates made.
        line: Its flags and measures, or why there are none.
        cost: The return value of the function ``cost``.
    """

    status: str
    updates: int | None
    line: str
    cost: dict[str, Any]


def found(result: Mapping[str, Any]) -> Found:
    """Return the outcome of a run from its result, which has its ``key`` and ``seed``."""
    measures = "; ".join(_in_words(*group) for group in evaluations(readable_measures(result)))
    marks = flags.in_short(flags.of_result(result))
    line = (f"flagged: {marks}; " if marks else "") + (measures or str(result.get("reason") or "-"))
    return Found(str(result.get("status") or "?"), result.get("updates"), line, cost(result))


def evaluations(measures: Iterable[Measure]) -> list[tuple[str, list[Measure]]]:
    """Group measures by what they were taken on; see ``Protocol.taken_on``.

    The first group, under '', is that of all the run's own test examples, and includes what was
    measured during training. If there is nothing else to put into it, the measures of training come
    last, under 'training'.
    """
    # Sorting keeps the order within each kind and puts what was measured during training last.
    groups: dict[str, list[Measure]] = {"": []}  # what they were taken on -> measures
    for measure in sorted(measures, key=_of_training):
        groups.setdefault(
            measure.signature.taken_on(math.nan if measure.points is None else measure.points), []
        ).append(measure)

    # Measures of training are under '' even if the run was only evaluated on a part of its
    # examples. They alone would pass for an evaluation on all, so they get a title of their own.
    of_all_examples = groups.pop("")
    if not groups or not all(map(_of_training, of_all_examples)):
        return [("", of_all_examples), *groups.items()]
    return [*groups.items(), *([("training", of_all_examples)] if of_all_examples else [])]


def _of_training(measure: Measure) -> bool:
    return measure.name.startswith("valid_") or is_timing(measure.name)


def _in_words(on: str, measures: list[Measure]) -> str:
    """Write measures as ``bound 22.83(0.03), iw_nll K=100 22.41(0.03)``.

    If they were taken on a part of the examples, ``of 50 cases:`` comes first.
    """
    parts = []
    for measure in measures:
        namesakes = [other for other in measures if other.name == measure.name]
        parts.append(" ".join([measure.name, *_told_apart(measure, namesakes), _number(measure)]))

    return (f"of {on}: " if on else "") + ", ".join(parts)


SAID = ("measure", "split", "points", "trained", "samples")
"""Parts of a signature that are written in other words beside the number."""


def _told_apart(measure: Measure, namesakes: Sequence[Measure]) -> list[str]:
    """Return what distinguishes a measure from others of the same name.

    This is ``K=100`` if its value depends on the samples, and the parts in which the protocols
    differ, such as ``missing:square``. ``namesakes`` has all measures of that name, taken on the
    same examples.
    """
    marks = []

    # K is part of what an importance-weighted NLL is: its value, not only its error, depends on K.
    weighted = measure.name in METRICS and METRICS[measure.name].samples == ("eval", "iw_samples")
    differ = len({other.samples for other in namesakes}) > 1
    if measure.samples is not None and (weighted or differ):
        marks.append(f"K={measure.samples}")

    protocols = [other.signature.parts for other in namesakes]
    for name, value in measure.signature.parts.items():
        if name not in SAID and any(other.get(name) != value for other in protocols):
            marks.append(f"{name}:{value}")
    return marks


def lines(result: Mapping[str, Any]) -> list[str]:
    """Return the measures of a result, each a line with its protocol and a line for each flag.

    A line before them says of which examples they are, unless all are of all test examples.
    """
    groups = evaluations(readable_measures(result))
    texts = []
    for on, measures in groups:
        if len(groups) > 1 or on:
            texts.append(f"  of {on or 'all test cases'}:")
        for measure in measures:
            error = (
                "" if measure.error is None else f" +- {measure.error:.3f} ({measure.error_kind})"
            )
            texts.append(
                f"  {measure.name:14} {measure.value:10.3f}{error}  "
                f"{measure.unit:6} {measure.signature}"
            )
            texts += [f"    flagged: {flag}" for flag in flags.of_measure(measure)]
    return texts


def cost(record: Mapping[str, Any]) -> dict[str, Any]:
    """Return what a run has cost, and the settings that its cost depends on, from its result.

    A record that is such a digest already is returned as it is.
    """
    if "sizes" in record:
        return dict(record)

    # Records from a CSV have no settings, and a result may lack them.
    config = record.get("config")
    train = (config or {}).get("train", {})

    return {
        **{name: record.get(name) for name in FACTS},
        "sizes": sizes(config) if config else None,
        "evaluation": evaluation(config) if config and "eval" in config else None,
        "budget": train.get("updates"),
        "unit": train.get("unit"),
    }


def sizes(config: Mapping[str, Any]) -> str:
    """Return a hash of what, besides data, model and objective, decides how long an update takes.

    That is the model's settings without its real numbers, the objective's whole numbers (samples,
    sweeps, chains), and the batch.
    """
    # Not part of it: rates and other real numbers, and how parameters are initialised, which change
    # the numbers computed but not the work. ``type(v) is int`` leaves out true and false as well.
    model = {
        k: v
        for k, v in config["model"].items()
        if not isinstance(v, float) and not k.startswith("init")
    }
    counts = {k: v for k, v in settings_of(config["objective"]).items() if type(v) is int}
    return _short(canonical([model, counts, config["train"].get("batch")]))


def evaluation(config: Mapping[str, Any]) -> str:
    """Return a hash of how a run is evaluated; a setting that is left out is its default."""
    return _short(canonical(asdict(EvalSettings.of(config["eval"]))))


def _short(text: str) -> str:
    import hashlib

    return hashlib.blake2b(text.encode(), digest_size=12).hexdigest()


def of(note: Mapping[str, Any]) -> str:
    """Return what a run was made for: ``nvil_mnist: SBN 200 / NVIL, optim.rate=1e-2``."""
    table = f"{note['table']}: " if note.get("table") else ""  # earlier versions did not keep it
    settings = [f"preset={note['preset']}"] if note.get("preset") else []
    settings += [str(text) for text in note.get("changed") or []]
    return ", ".join([f"{table}{note['row']} / {note['column']}", *settings])


def _number(measure: Measure) -> str:
    if not is_number(measure.value):
        return "?"
    return f"{measure.value:.2f}" + (f"({measure.error:.2f})" if is_number(measure.error) else "")


def code() -> str:
    """Return a hash of the code and the configuration that digests are made by.

    It changes when a file changes.
    """
    import hashlib

    from vaebench.files import carried

    # Times and sizes stand for the content, which would take longer to read.
    package = Path(__file__).resolve().parent.parent
    files = [*package.rglob("*.py"), *((carried("conf") or package).rglob("*.yaml"))]
    stamps = sorted((str(p), s.st_mtime_ns, s.st_size) for p in files for s in [p.stat()])
    return hashlib.sha256(repr(stamps).encode()).hexdigest()
