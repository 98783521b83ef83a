"""Measures of models whose posterior of every example is a Boltzmann machine (DVAE##).

q(z | x) = exp(-E_x(z)) / Z_x. Neither samples nor Z_x are available at once, so the RBM of
every example is annealed from its own biases, while W is switched on (Vahdat, Andriyash & Macready
2020). The K chains' final states z_i are the samples, and their weights a_i give Z_x. With
w_i = p(x, z_i) exp(E_x(z_i)) Z_x^,

- the plain estimate log (1/K) sum w_i, which is the paper's, takes the states as if they were
  drawn from q, and needs Z_x^;
- the weighted estimate log (1/K) sum w_i a_i K / sum a is the log of an unbiased estimate of p(x),
  however short the annealing: Z_x^ cancels, and states and weights make one long importance sample
  (Neal 2001).

Errors of Z_x^ are independent between examples and average out over them; the error of the
prior's log Z does not.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor

from vaebench.dists.rbm import RBM
from vaebench.estimators import jackknife
from vaebench.estimators.importance_weighted import ImportanceSum
from vaebench.estimators.log_z.annealing import MAX_FLOATS, ais
from vaebench.estimators.sums import Sums
from vaebench.estimators.weights import Pass
from vaebench.models.base import BoltzmannPosterior
from vaebench.models.rbm_posterior import RBMPosteriorVAE
from vaebench.work.steps import Stateful, steps

SHOWN = 5
"""Number of examples for which the posterior's modes are counted."""


@dataclass(frozen=True)
class AnnealedPass(Pass):
    """A pass whose samples are final states of annealing.

    ``log_a`` (k, batch), float64, are the logs of the states' weights, whose mean over all chains
    is 1. ``error`` is the standard error of log Z_x, which log_q contains.
    """

    error: Tensor = field(kw_only=True)
    log_a: Tensor = field(kw_only=True)


@torch.no_grad()
def stream(
    model: BoltzmannPosterior,
    x: Tensor,
    chains: int,
    temperatures: int,
    seed: int,
    purpose: str = "eval",
    *,
    chunk: int | None = None,
    batch: int | None = None,
    max_floats: int | None = None,
    state: Stateful | None = None,
) -> Iterator[AnnealedPass]:
    """Yield all ``chains`` final states of every example of ``x`` (n, d), as passes.

    An example's noise is its own and depends on its position. The encoder sees every example once.
    The number of chains is part of an estimate: the first of many chains do not give the result of
    few.

    Args:
        model: The model.
        x: Examples.
        chains: Chains of each example.
        temperatures: Steps of the annealing.
        seed: Seed of the noise.
        purpose: Purpose of the noise.
        chunk: States that are decoded at a time; None: as many as fit ``max_floats``.
        batch: Examples that are annealed together; None: as many as fit ``max_floats``.
        max_floats: Floats held at a time; None: the default of the device.
        state: What the caller gathers from the passes.
    """
    max_floats = max_floats or MAX_FLOATS.get(x.device.type, MAX_FLOATS["cuda"])
    units = sum(model.sizes[1:])
    widest = max(model.sizes)
    batch = batch or max(1, max_floats // (chains * units))

    for group in steps("posteriors", -(-len(x) // batch), state):
        start = group * batch
        cases = slice(start, min(start + batch, len(x)))
        xs = x[cases].to(model.mean.dtype)

        # An RBM for each example of the group, annealed side by side. ``first`` gives each the
        # noise of its position in ``x``.
        rbm = model.posterior(xs)
        annealed = ais(
            rbm,
            temperatures,
            chains,
            seed,
            keep=True,
            first=start,
            purpose=purpose,
            max_floats=max_floats,
        )
        if annealed.z1 is None or annealed.z2 is None or annealed.log_w is None:
            raise RuntimeError("the annealing has not kept its states")

        # The weights are scaled to a mean of 1.
        log_a = annealed.log_w - torch.logsumexp(annealed.log_w, 0) + math.log(chains)

        # Decoding a state takes as many floats as the widest layer has units, so states are decoded
        # in chunks.
        states_at_once = chunk or max(1, max_floats // (len(xs) * widest))
        for first in range(0, chains, states_at_once):
            some_chains = slice(first, min(first + states_at_once, chains))
            z1 = annealed.z1[some_chains]
            z2 = annealed.z2[some_chains]

            # log q(z | x) = -E_x(z) - log Z_x^, where the estimate of log Z_x stands for the exact
            # one.
            log_q = rbm.negative_energy(z1, z2).double() - annealed.value
            z = [torch.cat([z1, z2], -1)]
            log_p = model.log_joint_terms(xs, z)
            yield AnnealedPass(
                cases, first, log_p, [log_q], z, error=annealed.error, log_a=log_a[some_chains]
            )


class AnnealedSum(Sums):
    """Streaming sums of w and of w a over the samples of every example.

    It also keeps how well the annealing worked.
    """

    def __init__(
        self,
        cases: int,
        samples: int,
        device: torch.device | str = "cpu",
        *,
        chains: int | None = None,
        log_z: float = 0.0,
        shown: int = SHOWN,
    ) -> None:
        """Average ``samples`` of the ``chains`` chains of every example (None: all of them).

        log Z_x^ always comes from all chains.
        """
        self.samples = chains or samples
        self.shown = min(shown, cases)
        self.weighted = ImportanceSum(cases, samples, device, log_z=log_z)
        self.plain = _Plain(self.samples, cases, samples, device, log_z=log_z)
        self.states: dict[int, list[Tensor]] = {i: [] for i in range(self.shown)}

    def add(self, part: Pass) -> None:
        """Add the first ``samples`` states to both estimates, and all weights a to log Z_x^."""
        if not isinstance(part, AnnealedPass):
            raise TypeError(
                "samples of a Boltzmann posterior come with the weights of their annealing"
            )

        self.plain.add(part)
        self.plain.annealing.add(part.log_a, part.first, part.cases)
        self.plain.sd[part.cases] = part.error.double()

        # -log a joins log_q: the states come with weights, so the importance weight is w a.
        self.weighted.add(
            Pass(part.cases, part.first, part.log_p, [*part.log_q, -part.log_a], part.z)
        )

        # Keep the states of the first examples, for ``modes``.
        for i in range(part.cases.start, min(part.cases.stop, self.shown)):
            self.states[i].append(part.z[0][:, i - part.cases.start])

    def modes(self, model: RBMPosteriorVAE, x: Tensor) -> list[int]:
        """Return the number of modes of the posterior of each of the first examples."""
        rbms = model.posterior(x[: self.shown].to(model.mean.dtype))
        with_states = ((RBM(*(p[i] for p in rbms)), torch.cat(z)) for i, z in self.states.items())
        return [count_modes(rbm, model.sides([z])[0]) for rbm, z in with_states]


class _Plain(ImportanceSum):
    """The plain estimate, whose error includes that of log Z_x^ from the same chains.

    One jackknife covers both. ``annealing`` has the sums of the weights a of all ``chains``, in the
    groups of the samples. ``sd`` (n,) is the error of log Z_x^ alone.
    """

    def __init__(self, chains: int, cases: int, samples: int, *args: Any, **more: Any) -> None:
        super().__init__(cases, samples, *args, **more)
        self.chains = chains
        self.annealing = jackknife.LogSums(cases, samples, self.log_sum.device)
        self.sd = torch.full_like(self.log_sum, math.nan)

    def variance(self) -> Tensor:
        """Return Var[log mean w + log mean a] of every example, (n,).

        The jackknife leaves a group of chains out of both means at once.
        """
        w = self.groups.groups
        a = self.annealing.groups

        # log Z_x^ is log mean a plus a constant, and log q contains it. So log p^ varies as log
        # mean w + log mean a, where w is computed with the fixed log Z_x^.
        without_group = jackknife.left_out(w, self.samples) + jackknife.left_out(a, self.chains)
        whole = (
            torch.logsumexp(w, 0)
            - math.log(self.samples)
            + torch.logsumexp(a, 0)
            - math.log(self.chains)
        )
        return jackknife.jackknife(without_group, whole, self.samples)


@torch.no_grad()
def count_modes(rbm: RBM, z1: Tensor, sweeps: int = 40, least: int = 5) -> int:
    """Return how many mean-field fixed points the states ``z1`` (k, n1) of one RBM lead to.

    A fixed point counts if more than ``least`` of the states lead to it. From each state, side 2
    and side 1 are set to their means in turn, ``sweeps`` times. Fixed points are told apart to
    1/100 (Vahdat, Andriyash & Macready 2020).
    """
    for _ in range(sweeps):
        mean2 = rbm.mean2(z1)
        z1 = rbm.mean1(mean2)

    fixed_points = (100 * torch.cat([z1, mean2], -1)).round()
    _, counts = fixed_points.unique(dim=0, return_counts=True)
    return int((counts > least).sum())
