"""Initial values of parameters, drawn in the order of their names so that a seed fixes them."""

from __future__ import annotations

import math

import torch
from torch import nn

from vaebench.errors import UserError
from vaebench.settings import validate

INITS = ("normal", "glorot", "fan_in", "text", "normal_all", "positive")

TEXT_KEYS = ("init_center", "embedding_scale", "embedding_center")
"""Settings that only ``text`` has."""


def initialize(
    module: nn.Module,
    generator: torch.Generator,
    init: str = "normal",
    scale: float = 0.1,
    *,
    init_center: float = 0.0,
    embedding_scale: float = 0.1,
    embedding_center: float = 0.0,
) -> None:
    """Set every parameter of ``module`` in place: matrices by ``init``, vectors to zero.

    Matrices named ``autoregressive`` start at zero, except with ``text`` and ``normal_all``. A
    linear connection between units has no symmetry that must be broken, so a net starts as its
    factorial self. Parts of ``module`` that have a method ``start(generator)`` set their own values
    last.

    Args:
        module: Its parameters are set.
        generator: Source of the random numbers.
        init: How matrices are drawn.

            - ``normal``: N(0, scale^2).
            - ``normal_all``: the same, for vectors too.
            - ``positive``: uniform on (0, scale).
            - ``glorot``: uniform on +-sqrt(6 / (rows + columns)).
            - ``fan_in``: normal with standard deviation sqrt(2.6 / columns), cut off at two
              standard deviations (He et al. 2015; the factor makes up for the cut).
            - ``text``: uniform on ``init_center`` +- ``scale``, for vectors too; parameters named
              ``embedding`` on ``embedding_center`` +- ``embedding_scale``. In He et al. 2019 the
              scales are 0.01 and 0.1; the centres are 0 (appendix B), or 0.05 and 0.1 (appendix G).
        scale: See ``init``.
        init_center: See ``init``.
        embedding_scale: See ``init``.
        embedding_center: See ``init``.

    Raises:
        UserError: For an unknown ``init``, a scale that is not positive, or a centre that is no
            number.
    """
    validate.one_of("model.init", init, INITS)

    for key, value in (("init_scale", scale), ("embedding_scale", embedding_scale)):
        if not (isinstance(value, (int, float)) and 0 < value < math.inf):
            raise UserError(f"model.{key}={value!r}: must be a number above 0")

    for key, value in (("init_center", init_center), ("embedding_center", embedding_center)):
        if not (isinstance(value, (int, float)) and math.isfinite(value)):
            raise UserError(f"model.{key}={value!r}: must be a number")

    of_others = (init_center, scale)
    of_embeddings = (embedding_center, embedding_scale)

    with torch.no_grad():
        for name, p in sorted(module.named_parameters()):
            if init == "text":
                center, half = of_embeddings if name.endswith("embedding") else of_others
                p.uniform_(center - half, center + half, generator=generator)
            elif init == "normal_all":
                p.normal_(0.0, float(scale), generator=generator)
            elif p.dim() < 2 or name.endswith("autoregressive"):
                p.zero_()
            elif init == "positive":
                p.uniform_(0.0, float(scale), generator=generator)
            elif init == "normal":
                p.normal_(0.0, float(scale), generator=generator)
            elif init == "fan_in":
                sd = math.sqrt(2.6 / p.shape[1])
                nn.init.trunc_normal_(p, 0.0, sd, -2 * sd, 2 * sd, generator=generator)
            else:
                bound = math.sqrt(6.0 / (p.shape[0] + p.shape[1]))
                p.uniform_(-bound, bound, generator=generator)

        # Last, so that a part's own values replace those drawn above.
        for part in module.modules():
            if part is not module and callable(start := getattr(part, "start", None)):
                start(generator)


def logit_of_mean(mean: torch.Tensor) -> torch.Tensor:
    """Return biases (d,) with which units are on as often as ``mean`` (d,) says.

    The means are kept 0.001 away from 0 and 1.
    """
    return torch.logit(mean, 0.001)
