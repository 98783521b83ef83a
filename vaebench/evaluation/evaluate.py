"""From trained parameters to Measures: every number with its unit, its error and its protocol."""

from __future__ import annotations

import logging
from dataclasses import replace
from importlib import import_module
from typing import Any

import numpy as np
import torch
from torch import Tensor

from vaebench.data import examples
from vaebench.data.splits import Splits
from vaebench.data.text.tokens import unknown_share
from vaebench.estimators.sums import Sums
from vaebench.metrics.base import Metric
from vaebench.metrics.job import Job
from vaebench.metrics.repeats import repeat_seeds, together
from vaebench.models.base import Model
from vaebench.protocol.families import has_density
from vaebench.protocol.registry import METRICS
from vaebench.protocol.signature import signature
from vaebench.results import flags
from vaebench.results.stats import Measure
from vaebench.settings.records import EvalSettings
from vaebench.work.steps import Box, steps

log = logging.getLogger(__name__)


def cases(splits: Splits, settings: EvalSettings) -> Tensor:
    """Return the examples that the ``eval`` settings ask for, (n, d).

    They are all of a split, or ``points`` spread evenly over it.
    """
    return torch.from_numpy(examples.fixed(splits, settings.split, places(splits, settings)))


def places(splits: Splits, settings: EvalSettings) -> np.ndarray:
    """Return the positions of these examples in the split, (n,)."""
    return examples.every_nth(np.arange(len(getattr(splits, settings.split))), settings.points)


def evaluate(
    model: Model,
    x: Tensor,
    config: dict[str, Any],
    data_hash: str,
    seed: int,
    *,
    chunk: int | None = None,
) -> list[Measure]:
    """Return all measures that apply to ``model``, on the examples ``x`` (n, d).

    They are those of the registry, in its order. NLL and bound are positive nats, means over
    examples. All measures share one stream of posterior samples. Within a ``steps.Work`` the
    evaluation can be stopped and resumed.

    Args:
        model: The trained model.
        x: The examples.
        config: The configuration of a cell. Its ``eval`` group says how many samples are drawn. If
            it has ``repeats``, the evaluation is repeated that many times with other samples, and
            each measure keeps all its values.
        data_hash: Hash of the data, for the protocol.
        seed: Seed of the run.
        chunk: Samples per pass, for speed only.
    """
    settings = EvalSettings.of(config["eval"])
    seeds = repeat_seeds(seed, settings.repeats)

    # One list of measures for each repeat, as plain values: they are written to a file if the
    # evaluation is stopped.
    repeats = Box(found=[])
    for number in steps("evaluations", len(seeds), repeats):
        measures = _measured(Job(model, x, settings, seeds[number]), chunk)
        repeats.found = [*repeats.found, [m.to_dict() for m in measures]]
    merged = together([[Measure(**m) for m in measures] for measures in repeats.found])

    # Facts by which ``results.flags`` judges the numbers.
    density = {flags.DENSITY: True} if has_density(config) else {}
    unknown_words = {flags.UNKNOWN: _unknown(x)} if model.facts.reads_documents else {}
    signed = []
    for m in merged:
        extra = {**m.extra, **density, **(unknown_words if METRICS[m.name].likelihood else {})}
        signed.append(_signed(replace(m, extra=extra), len(x), config, data_hash))
    return signed


def _unknown(x: Tensor) -> float:
    """Return the share of unknown words in documents (n, d); warn if it is large."""
    share = unknown_share(x.cpu().numpy())
    if share > flags.MOST_UNKNOWN:
        log.warning(
            "%.0f %% of the words to be scored are not in the vocabulary: they count as <unk>",
            100 * share,
        )
    return share


def _signed(measure: Measure, points: int, config: dict[str, Any], data_hash: str) -> Measure:
    """Return the measure with the number of examples, the protocol and the flags that follow."""
    protocol = signature(config, measure.name, measure.samples, data_hash)
    signed = replace(measure, points=points, signature=protocol)
    # Flags also depend on the protocol, so they come last.
    return replace(signed, flags=flags.of_measure(signed))


def _measured(job: Job, chunk: int | None) -> list[Measure]:
    """Return the measures of one evaluation, in the registry's order, not signed yet."""
    # A file may take several measures, and several files one: each file once, in order.
    files = dict.fromkeys(file for metric in METRICS.values() for file in metric.files)
    metrics: list[Metric[Any]] = [
        import_module(f"vaebench.metrics.{file}").METRIC for file in files
    ]

    # What a metric collects is either complete, or sums that the stream of posterior samples fills.
    collected = [(metric, metric.collect(job)) for metric in metrics if metric.applies(job)]
    streamed = [sums for _, sums in collected if isinstance(sums, Sums)]
    job.fill(streamed, chunk)

    return [m for metric, sums in collected for m in metric.measures(job, sums)]
