"""Annealed importance sampling of log Z, in both directions.

Neal 2001; for Boltzmann machines Salakhutdinov & Murray 2008. Side 2 is summed out. With base
biases c, f_t(z1) = exp F_t(z1), F_t = z1.((1-t) c1 + t b1) + sum softplus((1-t) c2 + t b2 + t z1
W). So Z_0 = prod (1 + exp(c)) is known, and Z_1 = Z.

Chains start at exact samples of f_0. Step i = 1 ... T first adds F_{t_i} - F_{t_{i-1}} to a chain's
log-weight, then sweeps at t_i, which is i / T unless given. Then E[w] = Z / Z_0. A block sweep is
reversible in z1. So the same steps backwards, from exact samples of the RBM, give 1 / w with
E[1 / w] = Z_0 / Z. Hence log mean w is too small on average, and -log mean (1 / w) of the reverse
run is too large (Grosse, Ghahramani & Adams 2015): they enclose log Z.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace
from itertools import pairwise
from typing import TYPE_CHECKING, Any

import torch
import torch.nn.functional as F
from torch import Tensor

from vaebench import kernels
from vaebench.dists import boltzmann_exact
from vaebench.dists.rbm import RBM
from vaebench.dists.resampling import parents
from vaebench.estimators.log_z import spacing
from vaebench.estimators.log_z.partition import LogZ, fill, flat, generators, groups, log_mean
from vaebench.nn.products import products
from vaebench.rng.noise import digits, dithered, uniform, uniform_
from vaebench.work.steps import steps

if TYPE_CHECKING:
    from vaebench.kernels.rbm import Noise

Base = str | tuple[Tensor, Tensor]

MAX_FLOATS = {"cpu": 2**20, "cuda": 2**28}
"""Chains x units x RBMs at a time: what fits the cache of a CPU, or fills a GPU and leaves room
for six copies."""


FACTORS = 64
"""How many numbers between 1/2 and 1 may be multiplied in a float without underflow."""

MANY = 20_000
"""Numbers from which on ``dithered`` is faster than a plain draw, in spite of its start-up cost."""

WORTH = 1 << 32
"""Multiplications of an RBM from which on the kernels are worth their start, a second or two."""

PAYS = 1 << 17
"""Couplings of an RBM up to which the kernels are faster than the library's products: their
tables stay in a cache.

With 100 chains the kernels take 0.85 of the library's time at 300 + 300 units, 1.4 at 400 + 400,
and 3.2 at 600 + 600 (one thread).
"""


@torch.no_grad()
def ais(
    rbm: RBM,
    temperatures: int | Sequence[float],
    chains: int,
    seed: int,
    *,
    base: Base = "biases",
    sweeps: int = 1,
    reverse: bool | Tensor = False,
    keep: bool = False,
    first: int = 0,
    purpose: str = "eval",
    max_floats: int | None = None,
) -> LogZ:
    """Return log Z of all RBMs, each by ``chains`` chains.

    An RBM's noise depends only on seed, purpose and position, so the results do not depend on
    ``max_floats`` (but for a rare bit that rounding decides). Products are in the RBM's
    precision, weights in float64.

    Args:
        rbm: The RBMs.
        temperatures: Number of equal steps, or the inverse temperatures themselves, from 0 up to 1,
            both included; see ``spacing``.
        chains: Chains of each RBM.
        seed: Seed of the noise.
        base: 'uniform' (c = 0), 'biases' (c = b, so that only W is switched on), or (c1, c2) that
            broadcast to b1, b2.
        sweeps: Block sweeps of each step.
        reverse: Whether to find the upper bound too, from samples of side 1. True draws ``chains``
            exact samples by enumeration if a side is small enough. If not, it resamples the forward
            run's final states by their weights; without the weights they are too hot and the bound
            is too low. A tensor gives the samples, (k, *batch, n1), which should be exact or the
            ends of a long chain. If the samples are not drawn by enumeration, ``upper_exact`` is
            False: a mode that they miss is missing from the bound. ``upper_error`` is then somewhat
            too small, because it takes chains as independent.
        keep: Whether to return the chains' states at t = 1, z1 and z2 (chains, *batch, n), and
            their log-weights.
        first: Position of the first RBM.
        purpose: Purpose of the noise.
        max_floats: Floats held at a time; None: the default of the device.

    Raises:
        ValueError: For bad arguments.
    """
    times = _times(temperatures)
    count_of_steps = len(times) - 1
    if count_of_steps < 1 or chains < 2 or sweeps < 1:
        raise ValueError(
            f"{count_of_steps} temperatures, {chains} chains, {sweeps} sweeps: at least 1, 2 and 1"
        )

    # The base has no couplings, so its log Z is a sum over units. From here on all RBMs of the
    # batch stand in one row, (m, ...).
    c1, c2 = base_biases(rbm, base)
    log_z_of_base = (F.softplus(c1.double()).sum(-1) + F.softplus(c2.double()).sum(-1)).reshape(-1)
    rbms = flat(rbm)
    bases = flat(RBM(c1, c2, rbm.w))
    number_of_rbms, n1 = rbms.b1.shape
    n2 = rbms.b2.shape[-1]

    # Where samples for the way down come from: given ones are (m, k, n1).
    given_samples = _samples(reverse, rbm.shape, n1)
    enumerable = min(n1, n2) <= boltzmann_exact.MAX_UNITS

    # RBMs are annealed in groups that fit into memory. How they are grouped changes no result,
    # because each has a generator of its own.
    if max_floats is None:
        max_floats = MAX_FLOATS.get(rbms.w.device.type, MAX_FLOATS["cuda"])
    chains_type: Callable[[RBM, RBM, int, list[torch.Generator], bool], _Annealing] = _Chains

    # Kernels pay off if the work is worth loading them and their tables stay in a cache.
    worth_kernels = count_of_steps * sweeps * chains * n1 * n2 >= WORTH and n1 * n2 <= PAYS
    if worth_kernels and kernels.allowed() and kernels.fits(rbms.w[0]):
        # The kernels take one RBM after the other.
        chains_type = _BitChains
        max_floats = 1

    lower = []
    upper = []
    final_states = []
    for members in groups(number_of_rbms, chains * (n1 + n2), max_floats):
        group = RBM(*(p[members] for p in rbms))
        group_base = RBM(*(p[members] for p in bases))
        positions = range(first + members.start, first + members.stop)

        makers = generators(positions, seed, purpose, 0, rbms.w.device)
        run = chains_type(group, group_base, chains, makers, base == "biases")

        # Log-weights come as (RBMs, chains); estimates are made over axis 0.
        log_w = run.forward(times, sweeps).T
        lower.append((*log_mean(log_w), log_w.std(0)))
        if keep:
            z1, z2 = run.sides()
            final_states.append((z1.transpose(0, 1), z2.transpose(0, 1), log_w))

        if reverse is not False:
            # Use 1 keeps this noise apart from that of the forward run, use 0.
            makers = generators(positions, seed, purpose, 1, rbms.w.device)
            if given_samples is not None:
                z1 = given_samples[members]
            else:
                z1 = _exact(group, chains, makers) if enumerable else _resampled(run, makers)

            # The number of given samples may differ from ``chains``. The backward weights are
            # 1 / w, and E[1 / w] = Z_0 / Z.
            reverse_run = chains_type(group, group_base, z1.shape[1], makers, run.same)
            upper.append(log_mean(-reverse_run.backward(z1, times, sweeps).T))

    def shaped(parts: Iterable[Tensor]) -> Tensor:
        return torch.cat(tuple(parts)).reshape(rbm.shape)

    value, error, ess, sd = (shaped(p) for p in zip(*lower, strict=True))
    log_z_of_base = log_z_of_base.reshape(rbm.shape)
    name = base if isinstance(base, str) else "given"
    method = f"AIS, {count_of_steps} steps of {sweeps} sweeps from the {name} base, {chains} chains"
    estimate = LogZ(log_z_of_base + value, error, method, ess, sd, chains)

    if upper:
        mean, upper_error, upper_ess = (shaped(p) for p in zip(*upper, strict=True))

        # Only samples by enumeration are exact; resampled and given ones are not.
        exact = given_samples is None and enumerable
        estimate = replace(
            estimate,
            upper=log_z_of_base - mean,
            upper_error=upper_error,
            upper_exact=exact,
            upper_ess=upper_ess,
        )

    if keep:
        z1, z2, log_w = (torch.cat(p, 1) for p in zip(*final_states, strict=True))
        estimate = replace(
            estimate,
            z1=z1.reshape(chains, *rbm.b1.shape),
            z2=z2.reshape(chains, *rbm.b2.shape),
            log_w=log_w.reshape(chains, *rbm.shape),
        )

    return estimate


class _Annealing:
    """Chains of a group of m RBMs, on their way between the bases and the RBMs.

    A subclass makes both sides, (m, chains, n), from ``noise`` (m, chains, n1 + n2), and the
    log-weights.
    """

    log_w: Tensor
    makers: list[torch.Generator]
    same: bool

    def sides(self) -> tuple[Tensor, Tensor]:
        """Return the bits of both sides, (m, chains, n)."""
        raise NotImplementedError

    def start(self) -> None:
        """Draw side 1 from the base."""
        raise NotImplementedError

    def put(self, z1: Tensor, z2: Tensor | None = None) -> None:
        """Take the bits ``z1`` (m, chains, n1) as side 1, and ``z2`` as side 2 if given.

        If ``z2`` is not given, the next sweep makes side 2.
        """
        raise NotImplementedError

    def weigh(self, low: float, high: float) -> None:
        """Add F_high - F_low at the present z1 to the log-weights."""
        raise NotImplementedError

    def move(self, t: float, sweeps: int) -> None:
        """Make block sweeps at temperature ``t``."""
        raise NotImplementedError

    def forward(self, times: Sequence[float], sweeps: int) -> Tensor:
        """Return log w, (m, chains), along the inverse temperatures ``times``, from 0 to 1."""
        self.start()
        for i in steps("annealing", len(times) - 1, self):
            self.weigh(times[i], times[i + 1])
            self.move(times[i + 1], sweeps)
        return self.log_w

    def backward(self, z1: Tensor, times: Sequence[float], sweeps: int) -> Tensor:
        """Return log w of the way down to the base, (m, chains).

        The way begins at ``z1`` (m, chains, n1), samples of the RBM.
        """
        # The forward steps in reverse order: sweep at the upper end of an interval, then weigh it.
        self.put(z1)
        count = len(times) - 1
        for done in steps("annealing from above", count, self):
            i = count - 1 - done
            self.move(times[i + 1], sweeps)
            self.weigh(times[i], times[i + 1])
        return self.log_w

    def state(self) -> dict[str, Any]:
        """Return bits, log-weights and generators between two steps."""
        makers = [generator.get_state() for generator in self.makers]
        z1, z2 = self.sides()
        return {"z1": z1.bool(), "z2": z2.bool(), "log_w": self.log_w, "makers": makers}

    def load(self, kept: dict[str, Any]) -> None:
        """Take over what ``state`` gave."""
        # ``put`` computes the field from the bits, so it is not stored.
        dtype = self.sides()[0].dtype
        self.put(kept["z1"].to(dtype), kept["z2"].to(dtype))
        self.log_w.copy_(kept["log_w"])
        for generator, state in zip(self.makers, kept["makers"], strict=True):
            generator.set_state(state.cpu())


class _Chains(_Annealing):
    """All chains (m, chains, n) of a group of RBMs; every buffer is made once.

    ``field`` is always z1 W + b2 - c2 of the present z1: the two terms of the weight and the next
    conditional share it.
    """

    def __init__(
        self, own: RBM, base: RBM, chains: int, makers: list[torch.Generator], same: bool
    ) -> None:
        # The transpose is a view. The couplings are read in both directions in every sweep.
        self.w = own.w
        self.back = own.w.mT
        self.makers = makers
        self.same = same

        # Biases of the base, and their differences to the RBM's.
        self.c1 = base.b1.unsqueeze(1)
        self.c2 = base.b2.unsqueeze(1)
        self.d1 = own.b1.unsqueeze(1) - self.c1
        self.d2 = own.b2.unsqueeze(1) - self.c2

        # ``high`` and ``low`` are scratch for side 2, (m, chains, n2); ``u1`` and ``u2`` are views
        # of ``noise``, so that one draw fills both sides.
        rbms, n1 = own.b1.shape
        n2 = own.b2.shape[-1]
        make = self.w.new_empty
        self.z1 = make(rbms, chains, n1)
        self.logit1 = make(rbms, chains, n1)
        self.z2, self.field, self.high, self.low = (make(rbms, chains, n2) for _ in range(4))
        self.noise = make(rbms, chains, n1 + n2)
        self.u1, self.u2 = self.noise.split([n1, n2], -1)
        self.log_w = self.w.new_zeros(rbms, chains, dtype=torch.float64)

    def sides(self) -> tuple[Tensor, Tensor]:
        return self.z1, self.z2

    def start(self) -> None:
        # Only side 1 is drawn, but the noise of a whole sweep is taken from the generators. The
        # kernels do the same and so see the same numbers.
        self.draw()
        torch.lt(self.u1, torch.sigmoid(self.c1), out=self.z1)
        self.refresh()

    def put(self, z1: Tensor, z2: Tensor | None = None) -> None:
        self.z1.copy_(z1)
        if z2 is not None:
            self.z2.copy_(z2)
        self.refresh()

    def draw(self) -> None:
        """Draw the noise of a sweep."""
        for row, generator in zip(self.noise, self.makers, strict=True):
            if row.numel() < MANY:
                uniform_(row, generator)
            else:
                row.copy_(dithered(row.shape, generator))

    def refresh(self) -> None:
        """Compute ``field`` from the present z1."""
        products(self.z1, self.w, out=self.field)
        if not self.same:
            self.field += self.d2

    def weigh(self, low: float, high: float) -> None:
        """Add F_high - F_low at the present z1 to the log-weights.

        softplus(x) = relu(x) - log s(|x|), where s is the logistic function, with values in
        [1/2, 1]. A product of these values is taken before the logarithm, so that one logarithm
        serves many units. Terms are subtracted, or divided, before they are summed.
        """
        # The logits of side 2 at both temperatures, and the relu part of the two softplus.
        torch.add(self.c2, self.field, alpha=high, out=self.high)
        torch.add(self.c2, self.field, alpha=low, out=self.low)
        self.log_w += torch.relu(self.high).sub_(torch.relu(self.low)).sum(-1)

        # The rest of the two softplus: s(|logit|), in place.
        torch.sigmoid(self.low.abs_(), out=self.low)
        torch.sigmoid(self.high.abs_(), out=self.high)
        # Each product is taken by itself. In a product of ratios, all near 1, rounding down would
        # be more frequent than rounding up.
        for low_part, high_part in zip(
            self.low.split(FACTORS, -1), self.high.split(FACTORS, -1), strict=True
        ):
            self.log_w += low_part.prod(-1).double().div_(high_part.prod(-1).double()).log_()

        # Visible biases: F also has z1.((1 - t) c1 + t b1). If the base has the biases of the
        # RBM, this does not change with t.
        if not self.same:
            self.log_w += (high - low) * (self.z1 @ self.d1.mT).squeeze(-1)

    def move(self, t: float, sweeps: int) -> None:
        """Make block sweeps at temperature ``t``."""
        for _ in range(sweeps):
            self.draw()

            # Side 2 given side 1: its logits are c2 + t (z1 W + b2 - c2).
            torch.add(self.c2, self.field, alpha=t, out=self.high)
            torch.lt(self.u2, torch.sigmoid(self.high, out=self.high), out=self.z2)

            # Side 1 given the new side 2: c1 + t (W z2 + b1 - c1). If the biases are the same, the
            # difference b1 - c1 is zero and not added.
            products(self.z2, self.back, out=self.logit1)
            if not self.same:
                self.logit1 += self.d1
            torch.add(self.c1, self.logit1, alpha=t, out=self.logit1)
            torch.lt(self.u1, torch.sigmoid(self.logit1, out=self.logit1), out=self.z1)
            self.refresh()


class _BitChains(_Annealing):
    """The chains of one RBM by the kernels: the same noise, the same bits within rounding."""

    def __init__(
        self, own: RBM, base: RBM, chains: int, makers: list[torch.Generator], same: bool
    ) -> None:
        from vaebench.kernels.rbm import RBMKernel

        # The group is a single RBM. The kernels take the biases of the base and what must be
        # added to them at t = 1.
        biases = (base.b1[0], base.b2[0])
        differences = (own.b1[0] - base.b1[0], own.b2[0] - base.b2[0])
        self.kernel = RBMKernel(*biases, own.w[0], *differences)
        self.makers = makers
        self.same = same
        self.chains = chains
        self.log_w = own.w.new_zeros(1, chains, dtype=torch.float64)
        self.stride = self.kernel.n1 + self.kernel.n2

        # Bits in words of 16, chain after chain.
        self._side1 = self.kernel.packed(own.w.new_zeros(chains, self.kernel.n1))
        self._side2 = self.kernel.packed(own.w.new_zeros(chains, self.kernel.n2))

    def sides(self) -> tuple[Tensor, Tensor]:
        z1 = self.kernel.unpacked(self._side1, self.chains, self.kernel.n1)
        z2 = self.kernel.unpacked(self._side2, self.chains, self.kernel.n2)
        return z1.unsqueeze(0), z2.unsqueeze(0)

    def draw(self) -> Noise:
        """Draw the noise of a sweep, both sides in a row."""
        from vaebench.kernels.rbm import laid_out

        # A row of noise has n1 numbers for side 1, then n2 for side 2, as in ``_Chains``.
        shape = self.chains, self.stride
        u = (uniform if self.chains * self.stride < MANY else digits)(shape, self.makers[0])

        # The kernels have u > sigmoid(-l) where the plain code has u < sigmoid(l).
        return laid_out(u).mirrored()

    def start(self) -> None:
        # At temperature 0 the couplings do not count, so the bits of side 2 may be anything.
        self._side1 = self.kernel.half1(self._side2, 0.0, self.draw(), 0, self.stride)

    def put(self, z1: Tensor, z2: Tensor | None = None) -> None:
        self._side1 = self.kernel.packed(z1[0])
        if z2 is not None:
            self._side2 = self.kernel.packed(z2[0])

    def weigh(self, low: float, high: float) -> None:
        # The kernel adds in place: the array shares the memory of ``log_w``.
        self.kernel.weigh(self._side1, low, high, self.log_w[0].numpy())

    def move(self, t: float, sweeps: int) -> None:
        for _ in range(sweeps):
            u = self.draw()
            # Side 2 reads its noise, and its shared lower digits, behind those of side 1.
            self._side2 = self.kernel.half2(
                self._side1, t, u, self.kernel.n1, self.stride, self.kernel.n1
            )
            self._side1 = self.kernel.half1(self._side2, t, u, 0, self.stride)


def _times(temperatures: int | Sequence[float]) -> list[float]:
    """Return the inverse temperatures of a run. Raises ValueError unless they rise from 0 to 1."""
    if isinstance(temperatures, int):
        return spacing.evenly(temperatures) if temperatures > 0 else [0.0]
    times = list(temperatures)
    if (
        times[:1] != [0.0]
        or times[-1:] != [1.0]
        or any(high < low for low, high in pairwise(times))
    ):
        raise ValueError("inverse temperatures must rise from 0 to 1")
    return times


def base_biases(rbm: RBM, base: Base) -> tuple[Tensor, Tensor]:
    """Return c1 and c2, in the shapes of b1 and b2."""
    if isinstance(base, str):
        if base == "biases":
            return rbm.b1, rbm.b2
        if base == "uniform":
            return torch.zeros_like(rbm.b1), torch.zeros_like(rbm.b2)
        raise ValueError(f"base {base!r} is neither 'uniform' nor 'biases' nor a pair of biases")

    c1, c2 = base
    return c1.to(rbm.b1).expand_as(rbm.b1), c2.to(rbm.b2).expand_as(rbm.b2)


def _samples(reverse: bool | Tensor, shape: torch.Size, n1: int) -> Tensor | None:
    """Return given samples (k, *batch, n1) as (m, k, n1); None if none are given."""
    if isinstance(reverse, bool):
        return None
    if reverse.dim() != len(shape) + 2 or reverse.shape[1:] != (*shape, n1) or len(reverse) < 2:
        raise ValueError(
            "samples for the reverse run have the shape "
            f"{tuple(reverse.shape)}, not (k, *batch, n1)"
        )
    return reverse.reshape(len(reverse), -1, n1).transpose(0, 1)


def _exact(rbm: RBM, chains: int, makers: list[torch.Generator]) -> Tensor:
    """Return exact samples (m, chains, n1) of side 1 by enumeration."""
    rbms, n1 = rbm.b1.shape
    n2 = rbm.b2.shape[-1]

    # One uniform chooses the state of the smaller side; the others draw the units of the larger
    # side given it. The sampler wants the chains in front, (chains, m, ...).
    u = fill(rbm.w.new_empty(rbms, chains, 1 + max(n1, n2)), makers).transpose(0, 1)
    return boltzmann_exact.sample(rbm, u[..., 0], u[..., 1:])[0].transpose(0, 1)


def _resampled(run: _Annealing, makers: list[torch.Generator]) -> Tensor:
    """Return a forward run's final states (m, chains, n1), copied as often as their weights say."""
    u = fill(run.log_w.new_empty(len(makers), 1), makers)
    z1, _ = run.sides()

    # Systematic resampling: the number of copies of a chain is as near to its share of the weights
    # as whole numbers allow.
    return z1.gather(1, parents(run.log_w, u).unsqueeze(-1).expand_as(z1))
