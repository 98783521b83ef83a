"""Numbers with named errors: measures, means over seeds, error budgets, verdicts. Standard library only."""

from __future__ import annotations

import math
import sys
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

ERROR_KINDS = ("monte carlo", "seeds", "log Z", "none")
"""What the error of a measure is an error of."""

ROUNDING = 1e-9
"""Slack at the edge of a margin: printed decimals such as 113.1 + 0.5 are not exact in binary."""


@dataclass(frozen=True)
class Measure:
    """One measured number of one run.

    ``value`` and ``error`` are in ``unit`` (mostly nats); a value that was not finite when it was stored is NaN.
    ``points`` are the test cases it was averaged over, ``samples`` the samples per case. ``signature`` is the
    protocol, see ``vaebench.protocol.signature``. ``extra`` holds plain JSON: per-layer lists, a nested curve over the
    number of samples {"1": .., "10": ..}, and the like. ValueError for an ``error_kind`` not in ERROR_KINDS.

    ``flags`` say what is wrong with the number, see ``vaebench.flags``.

    Where an estimate of log Z enters the value, ``extra["log_z_error"]`` is its standard error. It stands beside
    ``error``, because it is the same for all cases and so does not average out over them.
    """

    name: str
    value: float
    unit: str
    error: float | None = None
    error_kind: str = "none"
    points: int | None = None
    samples: int | None = None
    signature: str = ""
    extra: dict[str, Any] = field(default_factory=dict)
    flags: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        if self.error_kind not in ERROR_KINDS:
            raise ValueError(f"error_kind {self.error_kind!r}: allowed: {', '.join(ERROR_KINDS)}")

    @property
    def total_error(self) -> float | None:
        """``error`` and the error of log Z together; None where ``error`` is unknown: one part is not the whole."""
        return None if self.error is None else combine(self.error, self.extra.get("log_z_error"))

    def to_dict(self) -> dict[str, Any]:
        """Plain dict for JSON."""
        return asdict(self)

    @classmethod
    def from_dict(cls, content: dict[str, Any]) -> Measure:
        """The inverse of ``to_dict``; JSON's null for a value is NaN. Unknown keys are left out.

        Raises ValueError where a name, a value or a unit is missing or has the wrong type.
        """
        try:
            value, error = content["value"], content.get("error")
            return cls(
                name=str(content["name"]),
                value=math.nan if value is None else float(value),
                unit=str(content["unit"]),
                error=None if error is None else float(error),
                error_kind=content.get("error_kind", "none"),
                points=_whole(content.get("points")),
                samples=_whole(content.get("samples")),
                signature=str(content.get("signature") or ""),
                extra=dict(content.get("extra") or {}),
                flags=tuple(str(flag) for flag in content.get("flags") or ()),
            )
        except (KeyError, TypeError, AttributeError, OverflowError) as e:
            raise ValueError(f"not a measure: {content!r} ({type(e).__name__}: {e})") from None


def repeats_of(extra: dict[str, Any]) -> dict[str, Any] | None:
    """What ``extra`` says of repeated evaluations: their ``values``, perhaps ``mean`` and ``variance``; else None."""
    found = extra.get("repeats")
    if not isinstance(found, dict) or not isinstance(found.get("values"), list):
        return None
    numbers = [found[k] for k in ("mean", "variance") if k in found]
    good = all(isinstance(n, (int, float)) and abs(n) <= sys.float_info.max for n in numbers)
    return found if good else None


def _whole(value: Any) -> int | None:
    return None if value is None else int(value)


def _finite(values: Sequence[float], what: str) -> list[float]:
    numbers = [float(v) for v in values]
    for v in numbers:
        if not math.isfinite(v):
            raise ValueError(f"{what} must be finite, found {v}")
    return numbers


def mean_error(values: Sequence[float]) -> tuple[float, float | None, float | None, int]:
    """(mean, standard deviation, standard error of the mean, n) of one number per seed.

    The standard deviation is the unbiased one (ddof=1); it and the standard error are None for a single value.
    Raises ValueError for no values, NaN or infinity: such a number is never averaged silently.
    """
    numbers = _finite(values, "values")
    n = len(numbers)
    if n == 0:
        raise ValueError("no values to average")
    mean = math.fsum(numbers) / n
    if n == 1:
        return mean, None, None, 1
    sd = math.sqrt(math.fsum((v - mean) ** 2 for v in numbers) / (n - 1))
    return mean, sd, sd / math.sqrt(n), n


def combine(*errors: float | None) -> float | None:
    """Root of the sum of squares of independent errors; unknown ones (None) are left out, None if all are unknown."""
    known = _finite([e for e in errors if e is not None], "errors")
    return math.hypot(*known) if known else None


def verdict(published: float | None, values: Sequence[float], margin: float, label: str, comparable: bool) -> str:
    """Whether the mean of ``values`` (one per seed, lower is better) reproduces the published number.

    With d the difference of the mean from the published number and se its standard error over the seeds:

    ``-``        nothing published, nothing measured, or the data or the evaluation are not the paper's
    ``n=1``      one seed: never a yes or a no from it
    ``yes``      |d| <= ``margin`` and 2 se <= ``margin``, edges included
    ``better``   d < 0, |d| > ``margin`` and |d| > 2 se
    ``no``       d > 0, |d| > ``margin`` and |d| > 2 se
    ``unclear``  all else: the seeds scatter too much for either, more of them are needed

    A ``label`` that is not empty (the recipe is not the paper's) stands behind all but ``-``: ``yes, tuned``.
    Raises ValueError for NaN or infinity.
    """
    numbers = _finite(values, "values")
    if published is None or not comparable or not numbers:
        return "-"
    _finite([published, margin], "the published number and the margin")
    mean, _, se, _ = mean_error(numbers)
    difference = mean - published
    if se is None:
        word = "n=1"
    elif abs(difference) <= margin + ROUNDING:
        word = "yes" if 2 * se <= margin + ROUNDING else "unclear"
    elif abs(difference) > 2 * se:
        word = "better" if difference < 0 else "no"
    else:
        word = "unclear"
    return f"{word}, {label}" if label else word
