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
    bound_sum = BoundSum(len(x), 1, x.device)
    gathered = Gather(len(x))
    for part in stream(model, x, 1, seed, purpose):
        bound_sum.add(part)
        gathered.add(part)

    bound = bound_sum.result()
    all_posteriors = gathered.result()

    # The mixture of all posteriors costs most; both measures of it share one computation.
    log_q = all_posteriors.log_aggregate()

    parts = batches(model, x, EvalSettings.mi_batch) if parts is None else parts
    # Other samples for ``mi_batch`` come from the same means and variances, not encoded again.
    of_batches = (
        all_posteriors
        if batch_seed is None
        else posteriors(model, x, batch_seed, purpose, known=all_posteriors)
    )

    return {
        "bound": -bound.value,
        "kl": bound.kl[0],
        "mi_batch": batchwise(of_batches, parts).value,
        "mi": whole_set(all_posteriors, log_q).value,
        "aggregate_kl": aggregate_kl(all_posteriors, log_q).value,
        "active_units": float(active_means(all_posteriors.mean)),
    }
