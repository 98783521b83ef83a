"""Numbers with named errors: measures, means over seeds, intervals, verdicts.

scipy is imported when it is needed.
"""

from __future__ import annotations

import math
import sys
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from statistics import NormalDist
from typing import Any

from vaebench.protocol.protocol import UNKNOWN, Protocol

ERROR_KINDS = ("monte carlo", "seeds", "log Z", "none")
"""Kinds of errors that a measure may have."""

LEVEL = 0.95
"""Two-sided level of confidence of every verdict: a 'better' or a 'no' comes by chance
in about one of twenty."""

ROUNDING = 1e-9
"""Tolerance at the edge of a margin: printed decimals such as 113.1 are not exact in binary."""


@dataclass(frozen=True)
class Measure:
    """One measured number of one run.

    Attributes:
        name: Name of the metric.
        value: The number, in ``unit``; NaN if it was not finite when it was stored.
        unit: Mostly nats.
        error: Its error, in ``unit``.
        error_kind: One of ERROR_KINDS.
        points: Number of test examples that it was averaged over.
        samples: Number of samples for each example.
        signature: The protocol; see ``vaebench.protocol.protocol``.
        extra: Plain JSON: lists with a number for each layer, a nested curve over the number of
            samples {"1": .., "10": ..}, and the like. If an estimate of log Z enters the value,
            ``extra["log_z_error"]`` is its standard error. It is not part of ``error``, because it
            is the same for all examples and so does not average out over them.
        flags: What is wrong with the number; see ``vaebench.results.flags``.

    Raises:
        ValueError: If ``error_kind`` is not in ERROR_KINDS.
    """

    name: str
    value: float
    unit: str
    error: float | None = None
    error_kind: str = "none"
    points: int | None = None
    samples: int | None = None
    signature: Protocol = UNKNOWN
    extra: dict[str, Any] = field(default_factory=dict)
    flags: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        # A stored measure is a plain dict, whose signature is a text. The class is frozen, so the
        # field is set past its own __setattr__.
        object.__setattr__(self, "signature", Protocol(self.signature))
        if self.error_kind not in ERROR_KINDS:
            raise ValueError(f"error_kind {self.error_kind!r}: allowed: {', '.join(ERROR_KINDS)}")

    def to_dict(self) -> dict[str, Any]:
        """Return a plain dict for JSON."""
        return asdict(self)

    @classmethod
    def from_dict(cls, content: dict[str, Any]) -> Measure:
        """Return the measure of a dict made by ``to_dict``; a value of null is NaN.

        Unknown keys are ignored. Raises ValueError if a name, a value or a unit is missing or has
        the wrong type.
        """
        try:
            value = content["value"]
            error = content.get("error")
            return cls(
                name=str(content["name"]),
                value=math.nan if value is None else float(value),
                unit=str(content["unit"]),
                error=None if error is None else float(error),
                error_kind=content.get("error_kind", "none"),
                points=_whole(content.get("points")),
                samples=_whole(content.get("samples")),
                signature=Protocol(content.get("signature") or ""),
                extra=dict(content.get("extra") or {}),
                flags=tuple(str(flag) for flag in content.get("flags") or ()),
            )
        except (KeyError, TypeError, AttributeError, OverflowError) as e:
            raise ValueError(f"not a measure: {content!r} ({type(e).__name__}: {e})") from None


def repeats_of(extra: dict[str, Any]) -> dict[str, Any] | None:
    """Return what ``extra`` says about repeated evaluations, or None.

    It has their ``values``, and perhaps ``mean`` and ``variance``.
    """
    repeats = extra.get("repeats")
    if not isinstance(repeats, dict) or not isinstance(repeats.get("values"), list):
        return None

    # The comparison is false for NaN, and unlike isfinite() takes whole numbers of any length.
    numbers = [repeats[k] for k in ("mean", "variance") if k in repeats]
    finite = all(isinstance(n, (int, float)) and abs(n) <= sys.float_info.max for n in numbers)
    return repeats if finite else None


def _whole(value: Any) -> int | None:
    return None if value is None else int(value)


def _finite(values: Sequence[float], what: str) -> list[float]:
    numbers = [float(v) for v in values]
    for v in numbers:
        if not math.isfinite(v):
            raise ValueError(f"{what} must be finite, found {v}")
    return numbers


def mean_error(values: Sequence[float]) -> tuple[float, float | None, float | None, int]:
    """Return (mean, standard deviation, standard error of the mean, n) of one number for each seed.

    The standard deviation is the unbiased one (ddof=1); it and the standard error are None for a
    single value. Raises ValueError if there are no values, or NaN or infinity among them: such a
    number is never averaged silently.
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
    """Return the root of the sum of squares of independent errors.

    Unknown errors (None) are left out. The result is None if all are unknown.
    """
    known_errors = _finite([e for e in errors if e is not None], "errors")
    return math.hypot(*known_errors) if known_errors else None


def t_quantile(df: float, level: float = LEVEL) -> float:
    """Return the half-width, in standard errors, of the two-sided interval of Student's t.

    It is 12.7 for ``df`` of one degree of freedom at 95 %, 4.3 for two, 1.96 for infinitely many.
    """
    if math.isinf(df):
        return NormalDist().inv_cdf((1 + level) / 2)

    from scipy.special import stdtrit  # takes a fifth of a second, too long for listing runs

    return float(stdtrit(df, (1 + level) / 2))


def half_width(parts: Sequence[tuple[float, float]], level: float = LEVEL) -> float:
    """Return the half-width of the confidence interval of a difference of independent means.

    All decisions by errors, which are verdicts and ``compare``, use it. For one mean and normal
    values it has its level exactly. For two means Welch's t is an approximation: 95 % means 87 to
    98 % if the larger error is that of two values, and 92 to 97 % if it is that of three.

    Args:
        parts: Standard error and degrees of freedom of each mean, ``math.inf`` for an error that
            is known.
        level: Two-sided level of confidence.

    Returns:
        The half-width in the unit of the errors; 0 if all errors are 0.

    Raises:
        ValueError: If an error is not finite.

    Reference:
        Welch 1947; degrees of freedom by Satterthwaite 1946.
    """
    errors = _finite([error for error, _ in parts], "errors")
    total = math.hypot(*errors)
    if total == 0:
        return 0.0

    # Welch-Satterthwaite: 1 / df = sum of share_i^2 / df_i, where share_i is the part of the total
    # variance that error i makes. Shares instead of variances, so that small errors do not
    # underflow. An error that is known (df_i = inf) adds nothing; if all are known, 1 / df is 0.
    shares = [(error / total) ** 2 for error in errors]
    inverse = math.fsum(share**2 / df for share, (_, df) in zip(shares, parts, strict=True))
    return total * t_quantile(1 / inverse if inverse else math.inf, level)


def published_error(sd: float, runs: int | None) -> tuple[float, float]:
    """Return the standard error and the degrees of freedom of a published mean.

    ``sd`` is its standard deviation over ``runs``. If the paper does not say how many runs it made,
    the number is treated as that of a single run with a known standard deviation: (sd, inf). That
    is at least the error of any mean, and needs no quantile for an unknown number of degrees of
    freedom.
    """
    if runs is None or runs < 2:
        return sd, math.inf
    return sd / math.sqrt(runs), runs - 1


def verdict(
    published: float | None,
    values: Sequence[float],
    margin: float,
    label: str,
    comparable: bool,
    published_sd: float | None = None,
    runs: int | None = None,
) -> str:
    """Decide whether the mean of ``values``, one for each seed, reproduces the published number.

    Lower values are better. Let d be the difference of the mean from the published number, and w
    the half-width of its 95 % confidence interval, by Student's t with n - 1 degrees of freedom for
    n seeds. The verdicts are:

    ``-``        nothing published, nothing measured, or the data or the evaluation are not
                 the paper's
    ``n=1``      one seed: never a yes or a no from it
    ``yes``      |d| <= ``margin`` and w <= ``margin``, edges included
    ``better``   d < 0, |d| > ``margin`` and |d| > w
    ``no``       d > 0, |d| > ``margin`` and |d| > w
    ``unclear``  all else: the seeds, or the paper's runs, scatter too much for either

    If the paper prints a standard deviation over its runs (``published_sd``), the error of its
    number is part of w, by Welch's t with the number of ``runs``; see ``published_error`` if that
    is not known. A ``label`` that is not empty (the recipe is not the paper's) is put behind all
    verdicts but ``-``: ``yes, tuned``. Raises ValueError for NaN or infinity.
    """
    numbers = _finite(values, "values")
    if published is None or not comparable or not numbers:
        return "-"
    _finite([published, margin], "the published number and the margin")

    mean, _, se, n = mean_error(numbers)
    if se is None:
        return f"n=1, {label}" if label else "n=1"

    # (standard error, degrees of freedom) of our mean, and of the paper's if it prints one.
    parts: list[tuple[float, float]] = [(se, n - 1)]
    if published_sd is not None:
        parts.append(published_error(published_sd, runs))
    width = half_width(parts)

    # A yes needs a small difference and a narrow interval. A better or a no needs a difference that
    # exceeds both the margin and the interval.
    difference = mean - published
    if abs(difference) <= margin + ROUNDING:
        word = "yes" if width <= margin + ROUNDING else "unclear"
    elif abs(difference) > width:
        word = "better" if difference < 0 else "no"
    else:
        word = "unclear"
    return f"{word}, {label}" if label else word
