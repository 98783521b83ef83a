"""From trained parameters to Measures: every number with its unit, its error and its protocol."""

from __future__ import annotations

from typing import Any

from torch import Tensor, nn

from vaebench.config import signature
from vaebench.metrics.active_units import THRESHOLD, ActiveUnits
from vaebench.metrics.bound import BoundSum
from vaebench.metrics.importance import ImportanceSum
from vaebench.metrics.weights import stream
from vaebench.stats import Measure


def evaluate(
    model: nn.Module, x: Tensor, config: dict[str, Any], data_hash: str, seed: int, *, chunk: int | None = None
) -> list[Measure]:
    """Bound, KL per layer, active units and importance-weighted NLL of ``model`` on the cases ``x`` (n, d).

    ``config`` is a cell's configuration; its ``eval`` group says how many samples. All measures share one stream of
    posterior samples. NLL and bound are positive nats, mean over cases. ``chunk``: samples per pass, for speed only.
    """
    ev = config["eval"]
    samples, iw = ev["bound_samples"], ev["iw_samples"]
    n, layers = len(x), len(model.sizes) - 1
    bound = BoundSum(n, samples, layers, x.device)
    units = ActiveUnits(n, samples, model.sizes[1:], x.device) if samples > 1 and n > 1 else None
    weights = ImportanceSum(n, iw, x.device) if iw else None
    for part in stream(model, x, max(samples, iw or 0), seed, chunk=chunk):
        bound.add(part)
        if units is not None and part.first < samples:
            units.add(part)
        if weights is not None and part.first < iw:
            weights.add(part)

    def measure(name: str, value: float, error: float | None, k: int, unit: str = "nats", **extra: Any) -> Measure:
        kind = "none" if error is None else "monte carlo"
        return Measure(name, value, unit, error, kind, n, k, signature(config, name, k, data_hash), extra)

    b = bound.result()
    out = [measure("bound", -b.value, b.error, samples), measure("kl", sum(b.kl), None, samples, layers=b.kl)]
    if units is not None:
        active = units.result()
        out.append(
            measure("active_units", sum(active), None, samples, unit="units", layers=active, threshold=THRESHOLD)
        )
    if weights is not None:
        w = weights.result()
        extra = {"curve": w.curve, "ess": w.ess, "ess_min": w.ess_min, "spread": w.spread}
        out.append(measure("iw_nll", w.nll, w.error, iw, **extra))
    return out
