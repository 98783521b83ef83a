"""Parallel tempering of Boltzmann machines, and log Z by bridges between neighbouring temperatures.

Replicas at 0 = t_0 < ... < t_R = 1 share the path of ``annealing``: side 2 is summed out,
f_t = exp F_t, and the base is at t = 0, where every sweep is a new exact sample. Neighbours
exchange states with probability min(1, exp(u(z_i) - u(z_{i+1}))), u = F_{t_{i+1}} - F_{t_i}, even
and odd pairs in turn. The temperatures are placed so that all neighbours exchange at the same rate:
rejections add up along the path to a barrier, and each interval gets the same share of it (Syed,
Bouchard-Cote, Deligiannidis & Doucet 2022). Vahdat et al. 2018 (DVAE++) evaluate log Z by tempering
with an adaptive number of temperatures; the details here are ours.

Bridge (Bennett 1976): Z_{i+1} / Z_i = C E_i[sigmoid(u - log C)] / E_{i+1}[sigmoid(log C - u)] for
every constant C. The best C is the ratio itself. C comes from the runs that place the temperatures,
so what follows is a plain average.
"""

from __future__ import annotations

import math
from itertools import pairwise
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from vaebench import kernels
from vaebench.dists.rbm import RBM
from vaebench.estimators.log_z.annealing import WORTH, Base, base_biases
from vaebench.estimators.log_z.partition import LogZ, flat, generators
from vaebench.rng.noise import uniform_
from vaebench.work.steps import Box, steps, tick

ROUNDS = 20
"""Largest number of rounds of placing. After them the run goes on with what it has and says so."""

MOST = 512
"""Largest number of intervals. Beyond it the run goes on with what it has and says so."""


@torch.no_grad()
def parallel_tempering(
    rbm: RBM,
    sweeps: int,
    chains: int,
    seed: int,
    *,
    base: Base = "biases",
    band: tuple[float, float] = (0.4, 0.8),
    pilot: int = 50,
    burn: int | None = None,
    first: int = 0,
    purpose: str = "eval",
) -> LogZ:
    """Return log Z of every machine from ``chains`` independent ladders of replicas.

    Temperatures are added, moved or removed between rounds of ``pilot`` sweeps until the exchange
    rates of all neighbours lie in ``band``; with only one or two intervals, rates may be higher.
    The error is that of the mean over the ladders. As these are independent, it includes any
    correlation along a ladder. Machines run one after the other, each with the noise of its own
    position.

    Args:
        rbm: The machines.
        sweeps: Block sweeps of each ladder.
        chains: Number of ladders.
        seed: Seed of the noise.
        base: As for ``ais``.
        band: Lowest and highest exchange rate.
        pilot: Sweeps of a round that places temperatures.
        burn: Sweeps before averaging starts; None: a tenth of ``sweeps``.
        first: Position of the first machine.
        purpose: Purpose of the noise.

    Returns:
        The estimate; its ``swap_rates`` are those of the averaged sweeps.

    Raises:
        ValueError: For bad arguments.
    """
    low, high = band
    if sweeps < 1 or chains < 2 or pilot < 2:
        raise ValueError(
            f"{sweeps} sweeps, {chains} chains, {pilot} pilot sweeps: at least 1, 2 and 2"
        )
    if not 0 < low < high < 1:
        raise ValueError(
            f"the band of exchange rates is {low} to {high}; allowed: between 0 and 1, rising"
        )

    own = flat(rbm)
    start = flat(RBM(*base_biases(rbm, base), rbm.w))
    makers = generators(range(first, first + len(own.b1)), seed, purpose, 2, rbm.w.device)
    work = sweeps * chains * own.w[0].numel()
    make = _BitLadder if work >= WORTH and kernels.allowed() and kernels.fits(own.w[0]) else _Ladder

    out = []
    for i, maker in enumerate(makers):
        ladder = make(RBM(*(p[i] for p in own)), RBM(*(p[i] for p in start)), chains, maker)
        placed = Box()
        for _ in steps("placing of temperatures", 1, placed):
            log_c = ladder.place(low, high, pilot)
            placed.load({"log_c": log_c, **ladder.state()})
        # If a resumed run has skipped the placing, this restores what it had found.
        ladder.load(placed.state())

        for step in steps(
            "tempering, first sweeps", sweeps // 10 if burn is None else burn, ladder
        ):
            ladder.step(step)
        out.append((*ladder.bridge(placed.log_c, sweeps), ladder.t))

    value, error, rates, temperatures = zip(*out, strict=True)
    fit = all(float(r.min()) >= low for r in rates)
    counts = sorted(len(t) for t in temperatures)
    method = (
        f"parallel tempering, {counts[0]} to {counts[-1]} temperatures, {chains} "
        f"ladders of {sweeps} sweeps"
    )
    return LogZ(
        torch.stack(value).reshape(rbm.shape),
        torch.stack(error).reshape(rbm.shape),
        method if fit else f"{method}; neighbours exchange too rarely",
        temperatures=list(temperatures),
        swap_rates=list(rates),
    )


class _Ladder:
    """Replicas z1 (chains, temperatures, n1) of one machine.

    ``t`` (temperatures,) are their inverse temperatures.
    """

    def __init__(self, own: RBM, base: RBM, chains: int, generator: torch.Generator) -> None:
        self.own = own
        self.base = base
        self.generator = generator
        self.d1 = own.b1 - base.b1
        self.d2 = own.b2 - base.b2
        self.above = self.below = self.rates = torch.zeros(
            (), dtype=torch.float64, device=own.w.device
        )
        self.t = torch.tensor([0.0, 1.0], dtype=torch.float64, device=own.w.device)
        self.z1 = (self.uniform(chains, 2, len(own.b1)) < torch.sigmoid(base.b1)).to(own.w.dtype)
        self.heat()

    def uniform(self, *shape: int) -> Tensor:
        w = self.own.w
        return uniform_(w.new_empty(shape), self.generator)

    def heat(self) -> None:
        """Make the machines of the present temperatures."""
        t = self.t.to(self.own.w.dtype).unsqueeze(-1)
        self.low = t[:-1]
        self.high = t[1:]
        b1 = self.base.b1 + t * self.d1
        b2 = self.base.b2 + t * self.d2
        self.machines = RBM(b1, b2, t.unsqueeze(-1) * self.own.w)

    def step(self, number: int) -> tuple[Tensor, Tensor]:
        """Sweep all replicas, then exchange every other pair.

        Return u of every interval before the exchange, at its lower and at its upper end,
        (chains, intervals) each.
        """
        k, r, n1 = self.z1.shape
        at_low, at_high = self.move(self.uniform(k, r, len(self.own.b2)), self.uniform(k, r, n1))
        accept = self.uniform(k, r - 1) < torch.exp(at_low - at_high)
        accept &= torch.arange(r - 1, device=accept.device) % 2 == number % 2

        # No two accepted pairs overlap, so the shifts up and down make a permutation of the
        # replicas.
        move = F.pad(accept.long(), (0, 1)) - F.pad(accept.long(), (1, 0))
        source = torch.arange(r, device=accept.device) + move
        self.z1 = self.z1.gather(1, source.unsqueeze(-1).expand(-1, -1, n1))
        return at_low, at_high

    def move(self, u2: Tensor, u1: Tensor) -> tuple[Tensor, Tensor]:
        """Sweep all replicas; return u of every interval at both ends, as ``step`` does."""
        self.z1, _ = self.machines.sweep(self.z1, u2, u1)
        field = self.z1 @ self.own.w + self.d2
        slope = self.z1 @ self.d1
        return self.gain(field[:, :-1], slope[:, :-1]), self.gain(field[:, 1:], slope[:, 1:])

    def gain(self, field: Tensor, slope: Tensor) -> Tensor:
        """Return u = F_high - F_low of every interval.

        The states have the fields ``field``, z1 W + d2, and the slopes ``slope``, z1.d1.
        """
        c2 = self.base.b2
        terms = F.softplus(c2 + self.high * field) - F.softplus(c2 + self.low * field)
        return terms.sum(-1).double() + (self.t[1:] - self.t[:-1]) * slope

    def place(self, low: float, high: float, pilot: int) -> Tensor:
        """Adapt the temperatures; return log C of every interval, (intervals,)."""
        for attempt in range(ROUNDS + 1):
            at_low, at_high = self.pilot(pilot)
            rates = exchange_rates(at_low, at_high)
            n = len(rates)
            fit = rates.min() >= low and (rates.max() <= high or n <= 2)
            t = respaced(self.t, rates, (low + high) / 2)
            if fit or len(t) - 1 > MOST or attempt == ROUNDS:
                break

            # A new temperature starts from the states of the nearest old one.
            nearest = (t[:, None] - self.t).abs().argmin(1)
            self.t = t
            self.z1 = self.z1[:, nearest]
            self.heat()
        return bennett(at_low.flatten(0, 1), at_high.flatten(0, 1))

    def pilot(self, sweeps: int) -> tuple[Tensor, Tensor]:
        """Make ``sweeps`` sweeps; return u at both ends of every interval.

        Each is (steps, chains, intervals), from the latter half of the sweeps.
        """
        pairs = []
        for i in range(sweeps):
            tick()
            pairs.append(self.step(i))
        at_low, at_high = zip(*pairs[sweeps // 2 :], strict=True)
        return torch.stack(at_low), torch.stack(at_high)

    def bridge(self, log_c: Tensor, sweeps: int) -> tuple[Tensor, Tensor, Tensor]:
        """Return log Z, its standard error, and the exchange rates (intervals,) of ``sweeps``."""
        self.above = self.below = self.rates = torch.zeros_like(log_c[:1]).sum()
        for i in steps("tempering", sweeps, self):
            at_low, at_high = self.step(i)
            self.above = self.above + torch.sigmoid(at_low - log_c) / sweeps
            self.below = self.below + torch.sigmoid(log_c - at_high) / sweeps
            self.rates = self.rates + exchange_rates(at_low, at_high) / sweeps

        above = self.above
        below = self.below
        log_z0 = F.softplus(self.base.b1.double()).sum() + F.softplus(self.base.b2.double()).sum()
        top = above.mean(0)
        bottom = below.mean(0)

        # Ladders are independent: leave out one at a time.
        k = len(above)
        left = ((k * top - above).log() - (k * bottom - below).log()).sum(-1)
        error = ((k - 1) * left.var(unbiased=False)).sqrt()
        return log_z0 + (log_c + top.log() - bottom.log()).sum(), error, self.rates

    def state(self) -> dict[str, Any]:
        """Return temperatures, replicas, generator and sums, between two steps."""
        sums = {"above": self.above, "below": self.below, "rates": self.rates}
        return {"t": self.t, "z1": self.z1, "generator": self.generator.get_state(), **sums}

    def load(self, kept: dict[str, Any]) -> None:
        """Take over what ``state`` gave."""
        self.t = kept["t"]
        self.z1 = kept["z1"]
        self.above = kept["above"]
        self.below = kept["below"]
        self.rates = kept["rates"]
        self.generator.set_state(kept["generator"].cpu())
        self.heat()


class _BitLadder(_Ladder):
    """The replicas by the kernels: the same noise, the same bits within rounding."""

    def __init__(self, own: RBM, base: RBM, chains: int, generator: torch.Generator) -> None:
        from vaebench.kernels.machine import Machine

        self.machine = Machine(base.b1, base.b2, own.w, own.b1 - base.b1, own.b2 - base.b2)
        super().__init__(own, base, chains, generator)

    def heat(self) -> None:
        """Set the scales of the present temperatures."""
        self.scales = self.t.tolist()

    def move(self, u2: Tensor, u1: Tensor) -> tuple[Tensor, Tensor]:
        from vaebench.kernels.machine import laid_out

        (k, r, n1), n2 = self.z1.shape, u2.shape[-1]
        noise2 = laid_out(u2)
        noise1 = laid_out(u1)
        states = []
        for i, t in enumerate(self.scales):
            side2 = self.machine.half2(
                self.machine.packed(self.z1[:, i]), t, noise2, i * n2, r * n2
            )
            states.append(self.machine.half1(side2, t, noise1, i * n1, r * n1))
        self.z1 = torch.stack([self.machine.unpacked(state, k, n1) for state in states], 1)

        gains = torch.zeros(2, r - 1, k, dtype=torch.float64)
        for i, (low, high) in enumerate(pairwise(self.scales)):
            self.machine.weigh(states[i], low, high, gains[0, i].numpy())
            self.machine.weigh(states[i + 1], low, high, gains[1, i].numpy())
        return gains[0].T, gains[1].T


def exchange_rates(at_low: Tensor, at_high: Tensor) -> Tensor:
    """Return the mean probability of an exchange, (intervals,).

    It is found from u at the lower and upper ends, (..., chains, intervals).
    """
    return torch.exp((at_low - at_high).clamp(max=0)).flatten(0, -2).mean(0)


def respaced(t: Tensor, rates: Tensor, target: float) -> Tensor:
    """Return new temperatures: as many as would exchange at the rate ``target``.

    Each interval gets the same share of the barrier.
    """
    barrier = F.pad((1 - rates).clamp(min=1e-6).cumsum(0), (1, 0))
    n = max(1, math.ceil(float(barrier[-1]) / (1 - target) - 1e-6))
    goals = barrier[-1] * torch.linspace(0, 1, n + 1, dtype=t.dtype, device=t.device)
    i = torch.searchsorted(barrier, goals, right=True).clamp(1, len(rates)) - 1
    new = t[i] + (t[i + 1] - t[i]) * (goals - barrier[i]) / (barrier[i + 1] - barrier[i])
    new[0], new[-1] = 0.0, 1.0
    return new


def bennett(at_low: Tensor, at_high: Tensor) -> Tensor:
    """Return log Z_{i+1} / Z_i of every interval from u, by bisection.

    u is given at samples of both ends, (samples, intervals). The root d of mean sigmoid(u_low - d)
    = mean sigmoid(d - u_high) lies between the smallest and the largest u.
    """
    both = torch.cat([at_low, at_high])
    left = both.amin(0)
    right = both.amax(0)
    for _ in range(60):
        d = (left + right) / 2
        small = torch.sigmoid(at_low - d).mean(0) > torch.sigmoid(d - at_high).mean(0)
        left = torch.where(small, d, left)
        right = torch.where(small, right, d)

    return (left + right) / 2
