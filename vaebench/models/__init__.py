"""Model families. A model knows sampling and log-densities, nothing of training.

Every model is a torch module with

- ``latent`` ('binary' or 'gaussian') and ``reparameterised`` (whether a gradient passes through its samples);
- ``unnormalised``: which of 'prior', 'posterior' its log-densities leave unnormalised; the model then has a method of
  that name that gives the Boltzmann machine whose log Z is missing;
- ``posterior_noise(k, batch)``, ``joint_noise(batch)``: name -> (kind, shape) of the noise its samplers take, kind
  'uniform' on (0, 1) or 'normal';
- ``sample_posterior(x, k, noise) -> z``, ``log_posterior(z, x)``, ``log_joint(x, z)``, and where the prior can be
  sampled at once ``sample_joint(noise) -> x, z``.

``x`` is (batch, d), ``z`` a list of latent layers (k, batch, n), the first next to the data; log-densities are
(k, batch) in nats. Parameters of the generative model are named ``p.*``, those of the inference network ``q.*``.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from torch import nn

from vaebench.config.cells import settings_of
from vaebench.errors import UserError, nearest
from vaebench.models.belief_net import DARN, FDARN, SBN
from vaebench.models.kinds import reads_documents
from vaebench.models.linear_gaussian import LinearGaussian
from vaebench.models.rbm_generator import RBMGenerator
from vaebench.models.rbm_posterior import RBMPosteriorVAE
from vaebench.models.rbm_target import RBMTarget
from vaebench.models.rbm_vae import RBMVAE
from vaebench.models.rbm_vae_gaussian import RBMVAEGaussian
from vaebench.models.text_lm import TextLM
from vaebench.models.text_vae import TextVAE
from vaebench.nn.init import TEXT_KEYS, initialize
from vaebench.rng import seeds

MODELS: dict[str, type[nn.Module]] = {
    "sbn": SBN,
    "fdarn": FDARN,
    "darn": DARN,
    "linear_gaussian": LinearGaussian,
    "rbm_vae": RBMVAE,
    "rbm_vae_gaussian": RBMVAEGaussian,
    "rbm_generator": RBMGenerator,
    "rbm_posterior": RBMPosteriorVAE,
    "rbm_target": RBMTarget,
    "text_vae": TextVAE,
    "text_lm": TextLM,
}


def build(config: dict[str, Any], mean: np.ndarray) -> nn.Module:
    """The model of a cell's ``model`` group, uninitialised, for data whose training mean is ``mean`` (d,).

    Raises UserError for an unknown model, an unknown key or a value that the model does not take.
    """
    settings = {k: v for k, v in settings_of(config).items() if k not in ("init", "init_scale", *TEXT_KEYS)}
    if config["name"] not in MODELS:
        raise UserError(f"model {config['name']!r}: {nearest(config['name'], MODELS)}")
    try:
        # The mean has values even where a model is built without any (the device "meta"), to be checked.
        return MODELS[config["name"]](mean=torch.from_numpy(np.asarray(mean, dtype=np.float32)), **settings)
    except TypeError as e:
        raise UserError(f"model {config['name']}: {str(e).split(') ')[-1]}") from None


def check_data(model: str, data: str, tokens: bool) -> None:
    """Raises UserError where one of a model and its data is of documents (``tokens``) and the other is not."""
    if reads_documents(MODELS[model]) != tokens:
        what = "documents, which {} cannot read" if tokens else "no documents, which {} needs"
        fitting = ", ".join(name for name, cls in MODELS.items() if reads_documents(cls) == tokens)
        raise UserError(f"data={data} has {what.format(f'model={model}')}; allowed with it: {fitting}")


def start(module: nn.Module, config: dict[str, Any], seed: int) -> None:
    """Initial parameters of ``module`` (a model, or an objective with a model inside) for one seed, in place."""
    generator = torch.Generator().manual_seed(seeds.derive(seed, "init"))
    text = {key: config[key] for key in TEXT_KEYS if key in config}
    initialize(module, generator, config["init"], config["init_scale"], **text)
