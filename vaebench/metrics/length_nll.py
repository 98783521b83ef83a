"""The NLL of a Replicated Softmax, whose log Z depends on the length of a document.

log Z is annealed in both directions. From the base up an estimate of log Z is too small on average,
so the NLL and the perplexity are too good: see ``rbm_nll``.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import torch
from torch import Tensor

from vaebench.errors import UserError
from vaebench.estimators.log_z import by_length
from vaebench.estimators.log_z.by_length import Annealing
from vaebench.estimators.log_z.partition import LogZ
from vaebench.estimators.log_z.spacing import SPACINGS
from vaebench.estimators.over_examples import standard_error
from vaebench.metrics import document_perplexity
from vaebench.metrics.base import Metric
from vaebench.metrics.job import Job
from vaebench.metrics.log_z import free_energies
from vaebench.models.replicated_softmax import ReplicatedSoftmax, log_shares
from vaebench.protocol.log_z import log_z_method
from vaebench.results.stats import Measure
from vaebench.settings.records import EvalSettings


class Annealed(NamedTuple):
    """Free energies of the documents, and log Z of every length that occurs.

    ``free_energy`` (n,), float64; ``log_z``, an entry for each length; ``length`` (n,), the index
    of each document's length in ``log_z``.
    """

    free_energy: Tensor
    log_z: LogZ
    length: Tensor

    def of_documents(self, each: Tensor) -> Tensor:
        """Return the entry of every document's length, (n,)."""
        return each[self.length]

    def variance(self, error: Tensor) -> Tensor:
        """Return a variance of every document's log Z, (n,), from the ``error`` of each length.

        Its sum over documents is right although these errors are not independent. Documents of one
        length share its log Z and so its error: each of n_L documents gets n_L times its variance.
        """
        count = torch.bincount(self.length, minlength=len(error)).double()
        return self.of_documents(count * error**2)


class LengthNLL(Metric[Annealed]):
    """Mean of F + log Z_L over documents, from below and from above.

    The perplexities are those from below.
    """

    def applies(self, job: Job) -> bool:
        """Whether the model is a Replicated Softmax."""
        return isinstance(job.model, ReplicatedSoftmax)

    def collect(self, job: Job) -> Annealed:
        """Return free energies and log Z.

        Free energies are in the model's precision; sums of them and of weights are in float64.
        """
        if not isinstance(job.model, ReplicatedSoftmax):
            raise TypeError(f"{type(job.model).__name__} has one log Z for all examples")
        return annealed(job.model, job.x, job.settings, job.seed, reverse=True)

    def measures(self, job: Job, collected: Annealed) -> list[Measure]:
        """Return the NLL in both directions and the perplexities.

        ``spread`` is the standard error over documents. ``ess`` is the smallest effective number of
        chains of any length.
        """
        log_z = collected.log_z
        nll = collected.free_energy + collected.of_documents(log_z.value)
        variance = collected.variance(log_z.error)
        documents = len(nll)

        # Whether the annealing may be trusted, over all lengths: the smallest and the mean
        # effective number of chains, and the worst gap between the two directions.
        trust: dict[str, Any] = {"lengths": len(log_z.value), "method": log_z.method}
        if log_z.ess is not None:
            trust |= {
                "chains": log_z.chains,
                "ess": float(log_z.ess.min()),
                "ess_mean": float(log_z.ess.mean()),
            }

        if log_z.upper is not None and log_z.upper_error is not None:
            gap, gap_error = _largest_gap(log_z.upper - log_z.value, log_z.error, log_z.upper_error)
            trust |= {"gap": gap, "gap_error": gap_error}

        # Free energies are exact, so all error is that of log Z.
        error = float(variance.sum().sqrt() / documents)
        details = {"spread": standard_error(nll), "log_z_error": error, **trust}
        measures = [job.measure("annealed_nll", float(nll.mean()), 0.0, None, each=nll, **details)]

        # The same NLL with log Z from above.
        if (
            log_z.upper is not None
            and log_z.upper_error is not None
            and log_z.upper_ess is not None
        ):
            nll_from_above = collected.free_energy + collected.of_documents(log_z.upper)
            error = float(collected.variance(log_z.upper_error).sum().sqrt() / documents)
            details_from_above: dict[str, Any] = {
                "upper_exact": bool(log_z.upper_exact),
                "log_z_error": error,
            }
            details_from_above |= {"chains": log_z.chains, "ess": float(log_z.upper_ess.min())}
            measures.append(
                job.measure(
                    "annealed_nll_reverse",
                    float(nll_from_above.mean()),
                    0.0,
                    None,
                    **details_from_above,
                )
            )

        names = document_perplexity.PER_DOCUMENT, document_perplexity.POOLED
        return [*measures, *document_perplexity.measures(job, nll, variance, None, names, **trust)]


def _largest_gap(gap: Tensor, error: Tensor, upper_error: Tensor) -> tuple[float, float]:
    """Return the largest gap between the two directions, and its error.

    It is that of the length whose gap exceeds three standard errors by most.
    """
    of_gap = torch.hypot(error, upper_error)
    worst = int((gap.abs() - 3 * of_gap).argmax())
    return float(gap[worst]), float(of_gap[worst])


@torch.no_grad()
def annealed(
    model: ReplicatedSoftmax,
    x: Tensor,
    settings: EvalSettings,
    seed: int,
    *,
    reverse: bool = False,
    purpose: str = "logz",
) -> Annealed:
    """Return the free energies of counts ``x`` (n, V), and log Z of the lengths among them.

    log Z is found by the ``eval`` settings. ``logz_base`` is ``base_rate``, words as frequent as in
    the training data, or ``uniform``. Raises UserError for tempering, and for 'exact' if that is
    too large.
    """
    energies = free_energies(model, x)

    # log Z is needed once for each length that occurs.
    lengths, length_of_document = x.sum(-1, dtype=torch.int64).unique(return_inverse=True)
    method = log_z_method(settings, len(model.p.hidden))

    if method == "exact":
        try:
            exact_log_z = by_length.exact(model, lengths)
        except ValueError as e:
            raise UserError(f"eval.logz_method=exact: {e}; allowed: auto, ais") from None
        return Annealed(
            energies,
            LogZ(exact_log_z, torch.zeros_like(exact_log_z), "enumeration"),
            length_of_document,
        )

    if method != "ais":
        raise UserError(f"eval.logz_method={method}: not for documents; allowed: auto, exact, ais")

    times = SPACINGS[settings.logz_spacing](settings.logz_temperatures)
    base = (
        log_shares(model.mean)
        if settings.logz_base == "base_rate"
        else torch.zeros_like(model.mean)
    )
    how = Annealing(times, settings.logz_chains, base)
    log_z = by_length.ais(model, lengths, how, seed, reverse=reverse, purpose=purpose)
    return Annealed(energies, log_z, length_of_document)


METRIC = LengthNLL()
