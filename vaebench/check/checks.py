"""The estimators of this package compared with exact answers on tiny models.

`vaebench check` prints these lines and the tests run them. Every line compares an estimate with the
exact value of what it estimates, by its own standard error. All is in float64.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor

from vaebench.check import boltzmann as check_boltzmann
from vaebench.check import counts as check_counts
from vaebench.check import documents as check_documents
from vaebench.check import images as check_images
from vaebench.check import tractable as check_tractable
from vaebench.check.gradients import gradients
from vaebench.check.line import Line, mean_line
from vaebench.check.tiny import (
    DRAWS,
    MODELS,
    VISIBLE,
    ancestral_samples,
    of_kind,
    prior_log_z,
    tiny,
)
from vaebench.dists import autoregressive
from vaebench.estimators import exact
from vaebench.estimators.importance_weighted import importance
from vaebench.estimators.weights import stream
from vaebench.models.base import Ancestral, SampledPosterior
from vaebench.models.linear_gaussian import LinearGaussian
from vaebench.rng import seeds

NVIL_VARIANTS: dict[str, dict[str, Any]] = {
    "all parts": {},
    "global signals": {"local_signals": False},
    "baseline, VN": {"input_baseline": False},
    "baseline only": {"input_baseline": False, "variance_normalization": False},
    "VN only": {"input_baseline": False, "constant_baseline": False},
    "IDB only": {"constant_baseline": False, "variance_normalization": False},
    "none": {"input_baseline": False, "constant_baseline": False, "variance_normalization": False},
}
"""NVIL with parts of its variance reduction switched off. All but "global signals" and "IDB
only" are in the paper's Figure 1."""


def run(device: str | torch.device = "cpu") -> Iterator[Line]:
    """Yield all lines, one after the other; this takes less than a minute."""
    yield from sampling(device)
    for name, config in MODELS.items():
        # Milder parameters: with a poor posterior the importance weights vary so much that their
        # z-scores mean nothing.
        yield from densities(name, of_kind(SampledPosterior, tiny(config, 1, device, scale=0.5)))

    for name in ("SBN 4", "SBN 2-2-3", "SBN 2-3, autoregressive posterior", "fDARN 4"):
        yield from gradients(f"NVIL, {name}", "nvil", {}, tiny(MODELS[name], 2, device))
    for variant, settings in NVIL_VARIANTS.items():
        yield from gradients(
            f"NVIL ({variant}), SBN 2-3", "nvil", settings, tiny(MODELS["SBN 2-3"], 3, device)
        )
    for name in ("SBN 2-3", "DARN 4"):
        yield from gradients(f"wake-sleep, {name}", "wake_sleep", {}, tiny(MODELS[name], 4, device))
    for name in ("SBN 4", "DARN 4"):
        yield from gradients(f"MDL, {name}", "mdl", {}, tiny(MODELS[name], 9, device))

    yield from linear_gaussian(device)
    yield from check_boltzmann.lines(device)
    yield from check_counts.lines(device)
    yield from check_documents.lines(device)
    yield from check_images.lines(device)
    yield from check_tractable.lines(device)


def densities(name: str, model: SampledPosterior) -> Iterator[Line]:
    """Check that probabilities sum to one and that samples follow them.

    Also check the means of the bound and of the importance weights.
    """
    device = model.mean.device
    # All examples of VISIBLE bits, (2^VISIBLE, VISIBLE).
    all_examples = exact.states(VISIBLE).to(device)
    log_p = exact.log_evidence(model, all_examples).detach()
    yield Line(f"{name}: sum of p(x)", 1.0, float(log_p.exp().sum()), 0.0)

    sums = _posterior_sums(model, all_examples)
    yield Line(f"{name}: sum of Q(h|x)", float(len(all_examples)), sums, 0.0)

    if isinstance(model, Ancestral):
        yield ancestral_samples(name, model, log_p.exp(), DRAWS)

    log_normaliser = prior_log_z(model)
    # One example many times: its samples are independent draws. log w lacks the prior's log Z.
    repeated = all_examples[5:6].expand(DRAWS // 10, -1)
    log_w = (
        torch.cat([part.log_w.reshape(-1) for part in stream(model, repeated.double(), 10, 0)])
        - log_normaliser
    )
    yield mean_line(
        f"{name}: one-sample bound", float(exact.elbo(model, all_examples[5:6]).detach()), log_w
    )
    yield mean_line(f"{name}: importance weight", float(log_p[5].exp()), log_w.exp())

    # The NLL is the mean over 200 copies of the example, and the error is that of the mean.
    iw = importance(model, all_examples[5:6].expand(200, -1), 1000, 0, log_z=log_normaliser)
    yield Line(f"{name}: IW-NLL, 1,000 samples", -float(log_p[5]), iw.nll, iw.error)


def _posterior_sums(model: SampledPosterior, x: Tensor) -> float:
    """Return the sum of Q(h | x) over all codes and all examples."""
    z = [h.to(x.device).expand(-1, len(x), -1) for h in exact.latent_states(model)]
    return float(model.log_posterior(z, x).detach().exp().sum())


def sampling(
    device: str | torch.device = "cpu", units: int = 130, cases: int = 100
) -> Iterator[Line]:
    """Check that autoregressive samples by fixed points equal those drawn unit after unit.

    The fixed points are solved block by block.
    """
    generator = torch.Generator().manual_seed(seeds.derive(0, "check"))
    shapes = ((cases, units), (units, units), (cases, units))
    a, weight, normal = (
        torch.randn(s, generator=generator, dtype=torch.float64).to(device) for s in shapes
    )

    # The distribution function of normal noise is uniform noise.
    uniform = torch.special.ndtr(normal)
    same = autoregressive.sample(a, weight, uniform) == autoregressive_sample_by_units(
        a, weight, uniform
    )
    yield Line(
        "autoregressive sampling: share of right units", 1.0, float(same.double().mean()), 0.0
    )


def linear_gaussian(device: str | torch.device = "cpu") -> Iterator[Line]:
    """Check the importance-weighted NLL and the ELBO on a model with closed-form answers."""
    model = of_kind(LinearGaussian, tiny({"name": "linear_gaussian", "dims": [2]}, 5, device))
    x = torch.randn(
        1,
        VISIBLE,
        generator=torch.Generator().manual_seed(2),
        dtype=torch.float64,
    ).to(device)

    log_w = torch.cat(
        [part.log_w.reshape(-1) for part in stream(model, x.expand(DRAWS // 10, -1), 10, 0)]
    )
    yield mean_line("linear-Gaussian: one-sample bound", float(model.elbo(x).detach()), log_w)

    # Importance weights have a finite variance only if the posterior is wide enough: mean 0 and
    # standard deviations of exp(0.3) = 1.35, beside a prior of 1 and a weak likelihood.
    with torch.no_grad():
        model.q["weight"].zero_()
        model.q["bias"].zero_()
        model.q["log_sd"].fill_(0.3)
        model.p["weight"].mul_(0.5)
        model.p["log_sd"].fill_(0.0)

    log_w = torch.cat(
        [part.log_w.reshape(-1) for part in stream(model, x.expand(DRAWS // 10, -1), 10, 1)]
    )
    yield mean_line(
        "linear-Gaussian: importance weight",
        float(model.log_evidence(x).detach().exp()),
        log_w.exp(),
    )
    yield from gradients(
        "ELBO, linear-Gaussian", "iw_bound", {"samples": 1, "reduce": "sum"}, model
    )


def autoregressive_sample_by_units(a: Tensor, weight: Tensor, uniform: Tensor) -> Tensor:
    """Return what ``dists.autoregressive.sample`` does, by a second implementation.

    It goes unit after unit, as the definition says.
    """
    # Units after j are still 0, and the strictly lower weights ignore them anyway.
    h = torch.zeros_like(uniform)
    weight = autoregressive.strictly_lower(weight)
    for j in range(uniform.shape[-1]):
        h[..., j] = (uniform[..., j] < torch.sigmoid(a[..., j] + h @ weight[j])).to(h.dtype)
    return h
