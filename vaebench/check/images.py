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
STEP = 0.005

SIDE = 2


def lines(device: str | torch.device = "cpu") -> Iterator[Line]:
    """Yield all lines; this takes some seconds."""
    every = torch.tensor(
        list(itertools.product([0.0, 1.0], repeat=SIDE**2)), dtype=torch.float64, device=device
    )
    gated = {"name": "pixel_cnn", **PixelCNN.tiny["PixelCNN, masked"], "decoder": "gated"}
    exact = of_kind(PixelCNN, _tiny(gated, device))
    yield Line("PixelCNN, gated: sum of p(x)", 1.0, float(exact.score(every).exp().sum()), 0.0)

    model = of_kind(
        ImageVAE, _tiny({"name": "image_vae", **ImageVAE.tiny["image VAE"], "latents": 1}, device)
    )
    yield from _against_quadrature("image VAE", model, every[5:6])
    model.refinement = Refinement(Steps(5), batch=DRAWS)
    yield from _against_quadrature("SA-VAE", model, every[5:6])


def _against_quadrature(name: str, model: ImageVAE, x: Tensor) -> Iterator[Line]:
    """Check the one-sample bound and the importance-weighted NLL of one image by quadrature.

    They use the posterior that measures use: the encoder's, or the refined one.
    """
    grid = torch.arange(-12, 12, STEP, dtype=torch.float64, device=x.device)
    log_p = model.log_joint(x, [grid[:, None, None]])[:, 0].detach()
    evidence = float(torch.logsumexp(log_p, 0)) + math.log(STEP)

    many = x.expand(DRAWS, -1)
    posterior = model.posterior(many)
    log_q = torch.distributions.Normal(
        posterior.mean[0, 0], torch.exp(posterior.log_var[0, 0] / 2)
    ).log_prob(grid)
    bound = float((log_q.exp() * (log_p - log_q)).sum() * STEP)

    # The samples that refine a posterior differ from row to row, and so would the posteriors.
    if model.refinement is None:
        log_w = torch.cat([part.log_w.reshape(-1) for part in stream(model, many, 10, 0)])
        yield mean_line(f"{name}: one-sample bound", bound, log_w)

    iw = importance(model, many[:20], 1000, 0)
    yield Line(f"{name}: IW-NLL, 1,000 samples", -evidence, iw.nll, iw.error)


def _tiny(config: dict[str, Any], device: str | torch.device) -> Model:
    info = DataInfo(np.full(SIDE**2, 0.5), shape=(SIDE, SIDE))
    return built(config, info, 9, 0.3, device).requires_grad_(False)
