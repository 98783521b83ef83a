"""Tiny models in float64 with random parameters, and the check of their samples."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar

import torch
from torch import Tensor, nn

from vaebench import models
from vaebench.check.line import Line, mean_line
from vaebench.data.info import DataInfo
from vaebench.estimators import exact
from vaebench.models.base import Ancestral, LatentModel, Model, SampledPosterior
from vaebench.models.rbm_target import RBMTarget
from vaebench.protocol.families import FAMILIES
from vaebench.rng import noise, seeds

M = TypeVar("M", bound=Model)

VISIBLE = 4
"""Visible units of the models of bits."""

DRAWS = 40_000
"""Independent samples behind an estimate."""


def of_kind(kind: type[M], model: Model) -> M:
    """Return ``model``, known to be of a kind. Raises TypeError if it is not."""
    if not isinstance(model, kind):
        raise TypeError(f"{type(model).__name__} is no {kind.__name__}")
    return model


def tiny_models(wanted: Callable[[type[Model]], bool]) -> dict[str, dict[str, Any]]:
    """Return the tiny models of all families whose class fulfils ``wanted``.

    The result maps the name that is shown to the settings, which include the family's name.
    """
    classes = {family: models.model_class(family) for family in FAMILIES}
    return {
        name: {"name": family, **settings}
        for family, cls in classes.items()
        if wanted(cls)
        for name, settings in cls.tiny.items()
    }


def built(
    config: dict[str, Any], info: DataInfo, seed: int, scale: float, device: str | torch.device
) -> Model:
    """Return a model with parameters N(0, scale^2), in float64."""
    model = models.build(config, info).double()
    randomize(model, seed, scale)
    return model.to(device)


def randomize(module: nn.Module, seed: int, scale: float = 0.8) -> None:
    """Set every parameter to N(0, scale^2) noise, in place.

    The noise is drawn in float64, so a module has the same values in any precision.
    """
    generator = torch.Generator().manual_seed(seeds.derive(seed, "check"))
    fill(module, scale, generator, torch.float64)


def fill(
    module: nn.Module, scale: float, generator: torch.Generator, dtype: torch.dtype | None = None
) -> None:
    """Set every parameter to N(0, scale^2) noise from ``generator``, in place.

    Args:
        module: Whose parameters to set.
        scale: Standard deviation.
        generator: Of the CPU.
        dtype: In which the noise is drawn; None: that of each parameter.
    """
    with torch.no_grad():
        # In the order of the names, so that the values do not depend on how a model is written.
        for _, p in sorted(module.named_parameters()):
            values = torch.empty(p.shape, dtype=dtype or p.dtype)
            p.copy_(values.normal_(0.0, scale, generator=generator))


def double(draws: dict[str, Tensor]) -> dict[str, Tensor]:
    """Return the same noise in float64."""
    return {k: v.double() for k, v in draws.items()}


def ancestral_samples(name: str, model: Ancestral, p: Tensor, draws: int) -> Line:
    """Compare samples of a model of few bits with the probabilities ``p`` of ``exact.states``.

    What is compared is the mean of a random function of the bits.
    """
    bits = len(p).bit_length() - 1
    x, _ = model.sample_joint(
        double(noise.fixed(model.joint_noise(draws), 0, "check", device=p.device))
    )
    probe = torch.randn(
        len(p),
        generator=torch.Generator().manual_seed(1),
        dtype=torch.float64,
    ).to(p.device)

    # The row of ``exact.states`` that each sample is: bit 0 has the lowest value.
    state = (x.long() << torch.arange(bits, device=p.device)).sum(-1)
    return mean_line(f"{name}: ancestral samples", float((p * probe).sum()), probe[state])


def tiny(
    config: dict[str, Any], seed: int = 0, device: str | torch.device = "cpu", scale: float = 0.8
) -> Model:
    """Return a model with VISIBLE visible units and parameters N(0, scale^2), in float64."""
    return built(config, DataInfo(torch.linspace(0.2, 0.7, VISIBLE).numpy()), seed, scale, device)


def prior_log_z(model: LatentModel) -> float:
    """Return log Z of the prior if the model's densities lack it, else 0."""
    return float(torch.as_tensor(exact.log_z(model, model.mean[None])[0]).detach())


MODELS = tiny_models(
    lambda cls: (
        cls.facts.latent == "binary" and issubclass(cls, SampledPosterior) and cls is not RBMTarget
    )
)
"""Tiny models with binary latents whose posterior can be sampled; they can be enumerated.
``RBMTarget`` has no data and is left out."""
