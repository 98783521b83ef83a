"""Checks of estimators on images against exact answers.

The exact answers are sums over every image of 2x2, and quadrature over a scalar z.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterator
from typing import Any

import numpy as np
import torch
from torch import Tensor

from vaebench.check.line import Line, mean_line
from vaebench.check.tiny import built, of_kind
from vaebench.data.info import DataInfo
from vaebench.estimators.importance_weighted import importance
from vaebench.estimators.weights import stream
from vaebench.models.base import Model
from vaebench.models.image_vae import ImageVAE
from vaebench.models.pixel_cnn import PixelCNN
from vaebench.models.refinement import Refinement, Steps

DRAWS = 1_000
"""Copies of an image; each has ten samples of the one-sample bound."""

STEP = 0.005
"""Distance of the points of the grid over z."""

SIDE = 2
"""Height and width of the images."""


def lines(device: str | torch.device = "cpu") -> Iterator[Line]:
    """Yield all lines; this takes some seconds."""
    # All 2^(SIDE^2) binary images, one a row.
    all_images = torch.tensor(
        list(itertools.product([0.0, 1.0], repeat=SIDE**2)), dtype=torch.float64, device=device
    )
    gated = {"name": "pixel_cnn", **PixelCNN.tiny["PixelCNN, masked"], "decoder": "gated"}
    exact = of_kind(PixelCNN, _tiny(gated, device))
    yield Line("PixelCNN, gated: sum of p(x)", 1.0, float(exact.score(all_images).exp().sum()), 0.0)

    # First the encoder's posterior, then the same model with a refined one.
    model = of_kind(
        ImageVAE, _tiny({"name": "image_vae", **ImageVAE.tiny["image VAE"], "latents": 1}, device)
    )
    yield from _against_quadrature("image VAE", model, all_images[5:6])
    model.refinement = Refinement(Steps(5), batch=DRAWS)
    yield from _against_quadrature("SA-VAE", model, all_images[5:6])


def _against_quadrature(name: str, model: ImageVAE, x: Tensor) -> Iterator[Line]:
    """Check the one-sample bound and the importance-weighted NLL of one image by quadrature.

    They use the posterior that measures use: the encoder's, or the refined one.
    """
    # log p(x, z) at the points of the grid, (points,); their sum times STEP is p(x).
    grid = torch.arange(-12, 12, STEP, dtype=torch.float64, device=x.device)
    log_p = model.log_joint(x, [grid[:, None, None]])[:, 0].detach()
    evidence = float(torch.logsumexp(log_p, 0)) + math.log(STEP)

    # The bound of the posterior of the first copy, by the same quadrature.
    repeated = x.expand(DRAWS, -1)
    posterior = model.posterior(repeated)
    log_q = torch.distributions.Normal(
        posterior.mean[0, 0], torch.exp(posterior.log_var[0, 0] / 2)
    ).log_prob(grid)
    bound = float((log_q.exp() * (log_p - log_q)).sum() * STEP)

    # Refinement draws samples, which differ from row to row. So the posteriors of the copies would
    # differ too, and their mean bound is not that of the first.
    if model.refinement is None:
        log_w = torch.cat([part.log_w.reshape(-1) for part in stream(model, repeated, 10, 0)])
        yield mean_line(f"{name}: one-sample bound", bound, log_w)

    iw = importance(model, repeated[:20], 1000, 0)
    yield Line(f"{name}: IW-NLL, 1,000 samples", -evidence, iw.nll, iw.error)


def _tiny(config: dict[str, Any], device: str | torch.device) -> Model:
    info = DataInfo(np.full(SIDE**2, 0.5), shape=(SIDE, SIDE))
    return built(config, info, 9, 0.3, device).requires_grad_(False)
