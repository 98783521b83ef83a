"""How a model with a Gaussian posterior uses its latents, measured cheaply.

Each example is encoded once and has one sample. The numbers make curves during training, and decide
when aggressive training of the inference network ends (He et al. 2019).
"""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor

from vaebench.estimators.active_units import active_means
from vaebench.estimators.aggregate import aggregate_kl
from vaebench.estimators.mutual_information import batches, batchwise, whole_set
from vaebench.estimators.posteriors import Gather, posteriors
from vaebench.estimators.variational import BoundSum
from vaebench.estimators.weights import stream
from vaebench.models.base import GaussianPosterior
from vaebench.settings.records import EvalSettings


def latent_use(
    model: GaussianPosterior,
    x: Tensor,
    seed: int,
    purpose: str = "valid",
    *,
    parts: Sequence[Tensor] | None = None,
    batch_seed: int | None = None,
) -> dict[str, float]:
    """Return ``bound`` (lower is better), ``kl``, ``mi_batch``, ``mi``, ``aggregate_kl``, nats.

    ``active_units`` is returned too. The noise is always the same for the same seed and purpose, so
    that the numbers of a curve can be compared.

    Args:
        model: The model.
        x: Examples (n, d), at least two.
        seed: Seed of the noise.
        purpose: Purpose of the noise.
        parts: Rows of the batches of ``mi_batch``; None: batches of the default size.
        batch_seed: Seed of the samples that estimate ``mi_batch``; None: the samples of all other
            numbers.
    """
    total = BoundSum(len(x), 1, x.device)
    gathered = Gather(len(x))
    for part in stream(model, x, 1, seed, purpose):
        total.add(part)
        gathered.add(part)

    found = total.result()
    p = gathered.result()
    log_q = p.log_aggregate()
    parts = batches(model, x, EvalSettings.mi_batch) if parts is None else parts
    own = p if batch_seed is None else posteriors(model, x, batch_seed, purpose, known=p)

    return {
        "bound": -found.value,
        "kl": found.kl[0],
        "mi_batch": batchwise(own, parts).value,
        "mi": whole_set(p, log_q).value,
        "aggregate_kl": aggregate_kl(p, log_q).value,
        "active_units": float(active_means(p.mean)),
    }
