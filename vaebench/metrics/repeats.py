"""Evaluation noise: the same trained model measured with several streams of posterior samples.

He et al. 2019, App. D. It is the noise of the samples alone, apart from that of training seeds.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace

from vaebench.results.stats import Measure, mean_error
from vaebench.rng import seeds


def repeat_seeds(seed: int, repeats: int) -> list[int]:
    """Return the seeds of ``repeats`` evaluations, at least 1.

    The run's own seed comes first, so the first evaluation is the same as if it were alone.
    """
    if repeats < 1:
        raise ValueError(f"{repeats} repeats: at least 1")
    return [seed, *(seeds.derive(seed, "eval", i) for i in range(1, repeats))]


def together(each: Sequence[Sequence[Measure]]) -> list[Measure]:
    """Return the measures of the first evaluation, with the values of all evaluations added.

    ``extra["repeats"]`` has the ``values`` in order, their ``mean`` and their ``variance`` (n - 1
    degrees of freedom). If a value is not finite, there is no mean and no variance. A single
    evaluation is returned as it is. Raises ValueError if the evaluations have different measures.
    """
    if len(each) == 1:
        return list(each[0])

    names = [[m.name for m in measures] for measures in each]
    if any(other != names[0] for other in names):
        raise ValueError(f"evaluations differ in their measures: {names}")

    # The value stays that of the first evaluation; the others only show its noise.
    merged = []
    for of_one_measure in zip(*each, strict=True):
        values = [m.value for m in of_one_measure]
        repeats: dict[str, object] = {"values": values}
        if all(map(math.isfinite, values)):
            mean, sd, _, _ = mean_error(values)
            if sd is not None:
                repeats |= {"mean": mean, "variance": sd**2}
        merged.append(
            replace(of_one_measure[0], extra={**of_one_measure[0].extra, "repeats": repeats})
        )
    return merged
