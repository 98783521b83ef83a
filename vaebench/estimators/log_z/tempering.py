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
"""Largest number of rounds that place temperatures. Afterwards the run uses what it has; ``method``
says so if neighbours exchange too rarely."""

MOST = 512
"""Largest number of intervals. If more are needed, the run uses what it has; ``method`` says so if
neighbours exchange too rarely."""


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
    """Return log Z of every RBM from ``chains`` independent ladders of replicas.

    Temperatures are added, moved or removed between rounds of ``pilot`` sweeps until the exchange
    rates of all neighbours lie in ``band``; with only one or two intervals, rates may be higher.
    The error is that of the mean over the ladders. As these are independent, it includes any
    correlation along a ladder. The RBMs run one after the other, each with the noise of its own
    position.

    Args:
        rbm: The RBMs.
        sweeps: Block sweeps of each ladder.
        chains: Number of ladders.
        seed: Seed of the noise.
        base: As for ``ais``.
        band: Lowest and highest exchange rate.
        pilot: Sweeps of a round that places temperatures.
        burn: Sweeps before averaging starts; None: a tenth of ``sweeps``.
        first: Position of the first RBM.
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

    # All RBMs of the batch in one row, each with a generator of its own. Use 2 keeps this noise
    # apart from that of annealing.
    rbms = flat(rbm)
    bases = flat(RBM(*base_biases(rbm, base), rbm.w))
    makers = generators(range(first, first + len(rbms.b1)), seed, purpose, 2, rbm.w.device)

    multiplications = sweeps * chains * rbms.w[0].numel()
    ladder_type = (
        _BitLadder
        if multiplications >= WORTH and kernels.allowed() and kernels.fits(rbms.w[0])
        else _Ladder
    )

    estimates = []
    for i, maker in enumerate(makers):
        ladder = ladder_type(RBM(*(p[i] for p in rbms)), RBM(*(p[i] for p in bases)), chains, maker)

        # The placing is a single step of a loop, so that a resumed run can skip it as a whole.
        placed = Box()
        for _ in steps("placing of temperatures", 1, placed):
            log_c = ladder.place(low, high, pilot)
            placed.load({"log_c": log_c, **ladder.state()})
        # If a resumed run has skipped the placing, this restores what it had found.
        ladder.load(placed.state())

        # The first sweeps after the placing are not averaged.
        for step in steps(
            "tempering, first sweeps", sweeps // 10 if burn is None else burn, ladder
        ):
            ladder.step(step)
        estimates.append((*ladder.bridge(placed.log_c, sweeps), ladder.t))

    value, error, rates, temperatures = zip(*estimates, strict=True)
    exchange_enough = all(float(r.min()) >= low for r in rates)
    ladder_lengths = sorted(len(t) for t in temperatures)
    method = (
        f"parallel tempering, {ladder_lengths[0]} to {ladder_lengths[-1]} temperatures, {chains} "
        f"ladders of {sweeps} sweeps"
    )
    return LogZ(
        torch.stack(value).reshape(rbm.shape),
        torch.stack(error).reshape(rbm.shape),
        method if exchange_enough else f"{method}; neighbours exchange too rarely",
        temperatures=list(temperatures),
        swap_rates=list(rates),
    )


class _Ladder:
    """Replicas z1 (chains, temperatures, n1) of one RBM.

    ``t`` (temperatures,) are their inverse temperatures.
    """

    def __init__(self, own: RBM, base: RBM, chains: int, generator: torch.Generator) -> None:
        self.own = own
        self.base = base
        self.generator = generator
        self.d1 = own.b1 - base.b1
        self.d2 = own.b2 - base.b2

        # Sums of the bridge and of exchange rates; see ``bridge``. They are part of the state, so
        # they must exist before.
        self.above = self.below = self.rates = torch.zeros(
            (), dtype=torch.float64, device=own.w.device
        )

        # The ladder begins with the two ends only, and all replicas at samples of the base.
        # ``place`` adds temperatures.
        self.t = torch.tensor([0.0, 1.0], dtype=torch.float64, device=own.w.device)
        self.z1 = (self.uniform(chains, 2, len(own.b1)) < torch.sigmoid(base.b1)).to(own.w.dtype)
        self.heat()

    def uniform(self, *shape: int) -> Tensor:
        w = self.own.w
        return uniform_(w.new_empty(shape), self.generator)

    def heat(self) -> None:
        """Make the RBMs of the present temperatures."""
        t = self.t.to(self.own.w.dtype).unsqueeze(-1)

        # Lower and upper end of each interval, (intervals, 1).
        self.low = t[:-1]
        self.high = t[1:]

        # One RBM for each temperature: a batch of shape (temperatures,), which all ladders
        # share.
        b1 = self.base.b1 + t * self.d1
        b2 = self.base.b2 + t * self.d2
        self.rbms = RBM(b1, b2, t.unsqueeze(-1) * self.own.w)

    def step(self, number: int) -> tuple[Tensor, Tensor]:
        """Sweep all replicas, then exchange every other pair.

        Return u of every interval before the exchange, at its lower and at its upper end,
        (chains, intervals) each.
        """
        chains, temperatures, n1 = self.z1.shape
        at_low, at_high = self.move(
            self.uniform(chains, temperatures, len(self.own.b2)),
            self.uniform(chains, temperatures, n1),
        )

        # u(z_i) - u(z_{i+1}): u of the interval at the state of its lower end, minus that at its
        # upper end. Only even or only odd intervals exchange in one step.
        accept = self.uniform(chains, temperatures - 1) < torch.exp(at_low - at_high)
        accept &= torch.arange(temperatures - 1, device=accept.device) % 2 == number % 2

        # No two accepted pairs overlap, so the shifts up and down make a permutation of the
        # replicas.
        shift = F.pad(accept.long(), (0, 1)) - F.pad(accept.long(), (1, 0))
        source = torch.arange(temperatures, device=accept.device) + shift
        self.z1 = self.z1.gather(1, source.unsqueeze(-1).expand(-1, -1, n1))
        return at_low, at_high

    def move(self, u2: Tensor, u1: Tensor) -> tuple[Tensor, Tensor]:
        """Sweep all replicas; return u of every interval at both ends, as ``step`` does."""
        self.z1, _ = self.rbms.sweep(self.z1, u2, u1)
        field = self.z1 @ self.own.w + self.d2
        slope = self.z1 @ self.d1

        # Interval i reaches from replica i to replica i + 1, the states at its lower and upper
        # ends.
        return self.gain(field[:, :-1], slope[:, :-1]), self.gain(field[:, 1:], slope[:, 1:])

    def gain(self, field: Tensor, slope: Tensor) -> Tensor:
        """Return u = F_high - F_low of every interval.

        The states have the fields ``field``, z1 W + d2, and the slopes ``slope``, z1.d1.
        """
        c2 = self.base.b2

        # F is linear in the visible biases and a sum of softplus over side 2; see ``annealing``.
        terms = F.softplus(c2 + self.high * field) - F.softplus(c2 + self.low * field)
        return terms.sum(-1).double() + (self.t[1:] - self.t[:-1]) * slope

    def place(self, low: float, high: float, pilot: int) -> Tensor:
        """Adapt the temperatures; return log C of every interval, (intervals,)."""
        for attempt in range(ROUNDS + 1):
            at_low, at_high = self.pilot(pilot)
            rates = exchange_rates(at_low, at_high)

            # New temperatures aim at the middle of the band. With one or two intervals a rate above
            # it is accepted, because the ladder can hardly be shorter.
            intervals = len(rates)
            in_band = rates.min() >= low and (rates.max() <= high or intervals <= 2)
            new_t = respaced(self.t, rates, (low + high) / 2)
            if in_band or len(new_t) - 1 > MOST or attempt == ROUNDS:
                break

            # A new temperature starts from the states of the nearest old one.
            nearest = (new_t[:, None] - self.t).abs().argmin(1)
            self.t = new_t
            self.z1 = self.z1[:, nearest]
            self.heat()

        # The constants come from the last pilot, whose temperatures are the final ones.
        return bennett(at_low.flatten(0, 1), at_high.flatten(0, 1))

    def pilot(self, sweeps: int) -> tuple[Tensor, Tensor]:
        """Make ``sweeps`` sweeps; return u at both ends of every interval.

        Each is (steps, chains, intervals), from the latter half of the sweeps.
        """
        pairs = []
        for i in range(sweeps):
            tick()
            pairs.append(self.step(i))

        # The first half lets replicas settle at their temperatures.
        at_low, at_high = zip(*pairs[sweeps // 2 :], strict=True)
        return torch.stack(at_low), torch.stack(at_high)

    def bridge(self, log_c: Tensor, sweeps: int) -> tuple[Tensor, Tensor, Tensor]:
        """Return log Z, its standard error, and the exchange rates (intervals,) of ``sweeps``."""
        # Each ladder averages both sides of the bridge apart, (chains, intervals); a scalar zero
        # takes the shape of the first term.
        self.above = self.below = self.rates = torch.zeros_like(log_c[:1]).sum()
        for i in steps("tempering", sweeps, self):
            at_low, at_high = self.step(i)
            self.above = self.above + torch.sigmoid(at_low - log_c) / sweeps
            self.below = self.below + torch.sigmoid(log_c - at_high) / sweeps
            self.rates = self.rates + exchange_rates(at_low, at_high) / sweeps

        # log Z = log Z_0 + sum over intervals of log C + log above - log below, with the averages
        # over ladders.
        above = self.above
        below = self.below
        log_z0 = F.softplus(self.base.b1.double()).sum() + F.softplus(self.base.b2.double()).sum()
        top = above.mean(0)
        bottom = below.mean(0)

        # Jackknife over ladders, which are independent. ``left`` has log Z without one ladder, up
        # to log Z_0 and log C; the factor 1 / (k - 1) of both means cancels.
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
        from vaebench.kernels.rbm import RBMKernel

        self.kernel = RBMKernel(base.b1, base.b2, own.w, own.b1 - base.b1, own.b2 - base.b2)
        super().__init__(own, base, chains, generator)

    def heat(self) -> None:
        """Set the scales of the present temperatures."""
        self.scales = self.t.tolist()

    def move(self, u2: Tensor, u1: Tensor) -> tuple[Tensor, Tensor]:
        from vaebench.kernels.rbm import laid_out

        chains, temperatures, n1 = self.z1.shape
        n2 = u2.shape[-1]

        # Noise is (chains, temperatures, n). The kernels take one temperature at a time, so the
        # noise of its first chain begins at row i and that of the next chain ``temperatures`` rows
        # later.
        noise2 = laid_out(u2)
        noise1 = laid_out(u1)
        states = []
        for i, t in enumerate(self.scales):
            side2 = self.kernel.half2(
                self.kernel.packed(self.z1[:, i]), t, noise2, i * n2, temperatures * n2
            )
            states.append(self.kernel.half1(side2, t, noise1, i * n1, temperatures * n1))
        self.z1 = torch.stack([self.kernel.unpacked(state, chains, n1) for state in states], 1)

        # u of interval i at its lower end, gains[0], and at its upper end, gains[1]. The kernel
        # adds in place, so each row must be contiguous; the result is transposed to (chains,
        # intervals).
        gains = torch.zeros(2, temperatures - 1, chains, dtype=torch.float64)
        for i, (low, high) in enumerate(pairwise(self.scales)):
            self.kernel.weigh(states[i], low, high, gains[0, i].numpy())
            self.kernel.weigh(states[i + 1], low, high, gains[1, i].numpy())
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
    # The barrier up to each temperature: rejections add up along the path. A positive floor keeps
    # it strictly rising, so that it can be inverted.
    barrier = F.pad((1 - rates).clamp(min=1e-6).cumsum(0), (1, 0))
    intervals = max(1, math.ceil(float(barrier[-1]) / (1 - target) - 1e-6))

    # Invert it by linear interpolation at equal shares.
    shares = barrier[-1] * torch.linspace(0, 1, intervals + 1, dtype=t.dtype, device=t.device)
    i = torch.searchsorted(barrier, shares, right=True).clamp(1, len(rates)) - 1
    new_t = t[i] + (t[i + 1] - t[i]) * (shares - barrier[i]) / (barrier[i + 1] - barrier[i])

    # Rounding must not move the ends.
    new_t[0] = 0.0
    new_t[-1] = 1.0
    return new_t


def bennett(at_low: Tensor, at_high: Tensor) -> Tensor:
    """Return log Z_{i+1} / Z_i of every interval from u, by bisection.

    u is given at samples of both ends, (samples, intervals). The root d of mean sigmoid(u_low - d)
    = mean sigmoid(d - u_high) lies between the smallest and the largest u.
    """
    # The first mean falls in d and the second rises, so there is one root. 60 halvings of the
    # interval exhaust the digits of float64.
    both = torch.cat([at_low, at_high])
    left = both.amin(0)
    right = both.amax(0)
    for _ in range(60):
        middle = (left + right) / 2
        too_small = torch.sigmoid(at_low - middle).mean(0) > torch.sigmoid(middle - at_high).mean(0)
        left = torch.where(too_small, middle, left)
        right = torch.where(too_small, right, middle)

    return (left + right) / 2
