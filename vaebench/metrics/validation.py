"""The number on the validation examples that selects the checkpoint.

Its noise is always the same, so that the values of one run can be compared.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from torch import Tensor

from vaebench.data import examples
from vaebench.estimators import annealed_posterior
from vaebench.estimators.enumeration import exact_value
from vaebench.estimators.importance_weighted import importance
from vaebench.estimators.masked import masked_nll
from vaebench.estimators.mutual_information import batches
from vaebench.estimators.variational import bound
from vaebench.metrics import log_z as log_zs
from vaebench.metrics.latent_use import latent_use
from vaebench.metrics.length_nll import annealed
from vaebench.models.base import BoltzmannPosterior, BoltzmannPrior, GaussianPosterior, Model
from vaebench.models.rbm import BinaryRBM
from vaebench.models.replicated_softmax import ReplicatedSoftmax
from vaebench.protocol.log_z import VALID_POSTERIOR_TEMPERATURES, at_validation
from vaebench.rng import seeds


def validation(
    model: Model, x: Tensor, samples: int, seed: int, update: int, settings: Mapping[str, Any]
) -> dict[str, float]:
    """Return what a validation finds, by name.

    ``valid_bound`` is always there, in positive nats, see ``validation_bound``. With {"watch":
    True} there are also numbers of how the latents are used: ``valid_kl``, ``valid_mi``, ..., see
    ``latent_use``. Of these ``valid_mi_batch`` uses batches of ``batch`` examples, as in training,
    and new noise after every ``update``, because He et al. (2019) drew it anew and compared.
    """
    if not settings.get("watch"):
        return {"valid_bound": validation_bound(model, x, samples, seed, settings)}
    if not isinstance(model, GaussianPosterior):
        raise TypeError(f"{type(model).__name__} has no Gaussian posterior to be watched")

    parts = batches(model, x, settings["batch"])
    latent_numbers = latent_use(
        model, x, seed, parts=parts, batch_seed=seeds.derive(seed, "watch", update)
    )
    numbers = {f"valid_{k}": v for k, v in latent_numbers.items()}

    # ``latent_use`` has the bound by one sample. With more samples the bound that selects the
    # checkpoint is computed anew.
    if samples > 1:
        numbers["valid_bound"] = validation_bound(model, x, samples, seed, {})
    return numbers


def validation_bound(
    model: Model, x: Tensor, samples: int, seed: int, settings: Mapping[str, Any]
) -> float:
    """Return the mean over the examples ``x`` (n, d) of what selects the checkpoint.

    It is in positive nats, and lower is better. What it is depends on the model and on the
    objective's ``settings``; the first of these that applies:

    - With {"masked": True}: the order-agnostic bound, with ``samples`` masks of each example.
    - With {"exact": True}, or if log Z of the prior is missing and there are no ``temperatures``:
      the exact value by enumeration.
    - A Boltzmann machine over the data: the NLL, with log Z annealed from the base rates by
      ``temperatures`` and ``chains``; on documents, log Z of every length.
    - A normalised prior: the bound by ``samples`` samples of each example and their one-sample
      terms.
    - A prior without log Z: the importance-weighted NLL with hard bits and ``samples`` samples. log
      Z is exact or annealed by ``temperatures`` and ``chains``. A Boltzmann posterior is annealed
      too, over ``posterior_temperatures`` (100) with ``posterior_chains`` (``samples``) chains, for
      ``points`` (all) examples spread evenly over ``x``.
    """
    if settings.get("masked"):
        return masked_nll(model, x, samples, seed, "valid")
    if settings.get("exact") or (
        isinstance(model, BoltzmannPrior) and "temperatures" not in settings
    ):
        return exact_value(model, x)

    # A normalised prior needs no log Z.
    if not isinstance(model, ReplicatedSoftmax | BinaryRBM | BoltzmannPrior):
        return -bound(model, x, samples, seed, "valid").value

    annealing = at_validation(settings["temperatures"], settings["chains"], model.facts.base_rates)
    if isinstance(model, ReplicatedSoftmax):
        energies, log_z_of, length = annealed(model, x, annealing, seed, purpose="valid_logz")
        return float((energies + log_z_of.value[length]).mean())

    if isinstance(model, BinaryRBM):
        log_z_of_data = log_zs.of_data(model, annealing, seed, purpose="valid_logz")
        return float(log_zs.free_energies(model, x).mean() + log_z_of_data.value)

    log_z = float(log_zs.of_prior(model, x, annealing, seed, purpose="valid_logz").value)

    if not isinstance(model, BoltzmannPosterior):
        return importance(model, x, samples, seed, "valid", log_z=log_z).nll

    # The posterior of every example is annealed, which is expensive: ``points`` examples may do.
    x = examples.every_nth(x, settings.get("points"))
    chains = settings.get("posterior_chains") or samples
    steps = settings.get("posterior_temperatures", VALID_POSTERIOR_TEMPERATURES)
    total = annealed_posterior.AnnealedSum(len(x), chains, x.device, log_z=log_z, shown=0)
    for part in annealed_posterior.stream(model, x, chains, steps, seed, "valid"):
        total.add(part)
    return total.plain.result().nll
