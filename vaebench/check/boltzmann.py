"""Checks of log Z of Boltzmann machines, of their posteriors and of smoothed KLs.

Estimates are compared with enumeration and quadrature.
"""

from __future__ import annotations

from collections.abc import Iterator

import torch
from torch import Tensor, nn

from vaebench import objectives
from vaebench.check.line import Line, mean_line
from vaebench.check.tiny import DRAWS, MODELS, VISIBLE, double, of_kind, prior_log_z, tiny
from vaebench.dists import boltzmann_exact
from vaebench.dists.rbm import RBM
from vaebench.estimators import annealed_posterior, exact
from vaebench.estimators.log_z import methods as logz
from vaebench.models.rbm_posterior import RBMPosteriorVAE
from vaebench.objectives.dvae_pp import DVAEPlusPlus
from vaebench.rng import noise, seeds


def lines(device: str | torch.device = "cpu") -> Iterator[Line]:
    """Yield all lines of this file."""
    yield from log_z(device)
    yield from boltzmann_posterior(device)
    for groups in (1, 2):
        yield from smoothed_kl(groups, device)


def log_z(device: str | torch.device = "cpu", side: int = 6) -> Iterator[Line]:
    """Check annealing in both directions and tempering against enumeration.

    The RBM is so strongly coupled that one sweep is far from enough.
    """
    # Biases of both sides and couplings, N(0, 1.5^2).
    generator = torch.Generator().manual_seed(seeds.derive(0, "check"))
    shapes = ((side,), (side,), (side, side))
    rbm = RBM(
        *(1.5 * torch.randn(s, generator=generator, dtype=torch.float64).to(device) for s in shapes)
    )

    exact_log_z = float(boltzmann_exact.log_z(rbm))
    estimate = logz.ais(rbm, 100, 2000, 0, base="uniform", reverse=True)
    yield Line("log Z, 6+6: annealed", exact_log_z, float(estimate.value), float(estimate.error))
    if estimate.upper is not None and estimate.upper_error is not None:
        yield Line(
            "log Z, 6+6: annealed, from above",
            exact_log_z,
            float(estimate.upper),
            float(estimate.upper_error),
        )

    estimate = logz.parallel_tempering(rbm, 150, 100, 0, base="uniform", pilot=20)
    yield Line("log Z, 6+6: tempered", exact_log_z, float(estimate.value), float(estimate.error))


def boltzmann_posterior(device: str | torch.device = "cpu") -> Iterator[Line]:
    """Check the NLL of a model with an annealed Boltzmann posterior for every example.

    The importance weights are used plain, and with the weights of annealing.
    """
    ((name, settings),) = RBMPosteriorVAE.tiny.items()
    model = of_kind(
        RBMPosteriorVAE, tiny({"name": "rbm_posterior", **settings}, 7, device, scale=0.3)
    )

    # All 2^VISIBLE examples, so that the mean NLL over them is exact too. The prior's log Z is
    # known here and is given; the model's densities lack it.
    all_examples = exact.states(VISIBLE).to(device)
    total = annealed_posterior.AnnealedSum(
        len(all_examples), 4000, device, log_z=prior_log_z(model)
    )
    for part in annealed_posterior.stream(model, all_examples, 4000, 30, 0):
        total.add(part)

    exact_nll = -float(exact.log_evidence(model, all_examples).detach().mean())
    for measure, estimate in (
        ("IW-NLL", total.plain.result()),
        ("IW-NLL, AIS-weighted", total.weighted.result()),
    ):
        yield Line(f"{name}: {measure}, 4,000 samples", exact_nll, estimate.nll, estimate.error)


def smoothed_kl(groups: int, device: str | torch.device = "cpu", grid: int = 100) -> Iterator[Line]:
    """Check KL(q(zeta, z | x) || p(zeta, z)) of DVAE++ against exact answers.

    The KL at samples of zeta is compared with sums over the bits and quadrature over zeta. The
    exact answer draws bits first and zeta from r(zeta | z). So it does not use the posterior of the
    bits given zeta, which the objective needs. Nothing follows the last group's bits, so their zeta
    is not needed.
    """
    model = tiny({**MODELS["RBM prior 2+2"], "groups": groups}, 8, device)
    rule = objectives.build(
        {"name": "dvae_pp", "beta": 5.0, "samples": DRAWS, "prior_chains": 1}, model
    )
    if not isinstance(rule, DVAEPlusPlus):
        raise TypeError(f"{type(rule).__name__} is no DVAEPlusPlus")

    # One example; its DRAWS samples are independent. The model's densities lack the prior's log Z,
    # which is added to both sides.
    x = exact.states(VISIBLE)[5:6].to(device)
    log_normaliser = prior_log_z(rule.model)
    with torch.no_grad():
        draws = double(noise.fixed(rule.posterior_noise(1), 0, "check", device=device))
        zeta, logits = rule.infer(rule.model.encode(x), draws, None)
        values = (
            rule.kl(zeta, [v.expand_as(z) for v, z in zip(logits, zeta, strict=True)])[:, 0]
            + log_normaliser
        )
        exact_kl = _hard_kl(rule, x, grid) + log_normaliser

    if groups == 1:  # a closed form, the same for every sample
        yield Line("DVAE++, 1 group: KL", exact_kl, float(values[0]), 0.0)
    else:
        yield mean_line(f"DVAE++, {groups} groups: KL", exact_kl, values)


def _hard_kl(rule: DVAEPlusPlus, x: Tensor, grid: int) -> float:
    """Return E[log q(z | x, zeta) + E(z)], nats, summed over all bits.

    E(z) is the energy, so this is the KL without the prior's log Z. If there are two groups, zeta
    of the first is integrated by midpoints of its noise.
    """
    model = rule.model
    kl = 0.0
    encoded = model.encode(x)
    # With one group, no bit depends on a zeta: the plain KL of bits, without log Z.
    if len(model.sizes) == 2:
        return float(exact.layer_kl(model, x)[0]) - prior_log_z(model)

    # Noise of the first group's two units: the midpoints of a grid on the unit square, each with
    # the same weight.
    u = (torch.arange(grid, dtype=torch.float64, device=x.device) + 0.5) / grid
    u = torch.cartesian_prod(u, u).unsqueeze(1)  # (grid^2, 1, 2)

    logits1 = model.group_logits(0, encoded, [])
    for z1 in exact.states(2).to(x.device):
        # log Bernoulli(z; sigmoid(l)) = -softplus((1 - 2 z) l).
        log_q1 = -nn.functional.softplus((1 - 2 * z1) * logits1).sum()
        # Logits of -40 or 40 fix the bit, so that the sample is of r(zeta | z1).
        zeta1 = rule.relax.sample((80.0 * (z1 - 0.5)).expand_as(u), u.unsqueeze(0))
        logits2 = model.group_logits(1, encoded, [zeta1])
        for z2 in exact.states(2).to(x.device):
            log_q2 = -nn.functional.softplus((1 - 2 * z2) * logits2).sum(-1)
            energy = model.prior().negative_energy(z1[None], z2[None])
            kl += float((log_q1.exp() * log_q2.exp() * (log_q1 + log_q2 - energy)).mean())
    return kl
