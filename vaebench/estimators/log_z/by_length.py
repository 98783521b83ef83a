"""log Z_L of a Replicated Softmax, one for every length L of documents.

It is found by enumeration, or by annealing in both directions. Annealing leads from W = a = 0 and
visible biases c, where words are drawn from softmax(c) and log Z_L = H log 2 + L log sum_w
exp(c_w), to the model. At t, couplings and hidden biases are t times those of the model, and
the visible biases are (1 - t) c + t b (Salakhutdinov & Hinton 2009). The chain is one of counts;
the hidden units are summed out: f_t(n) = exp(((1 - t) c + t b).n + sum_j softplus(t (L a_j +
W_j.n))). See ``annealing`` for what the two directions enclose.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

import torch
import torch.nn.functional as F
from torch import Tensor

from vaebench.dists import boltzmann_exact, multinomial
from vaebench.dists.resampling import parents
from vaebench.estimators.log_z.partition import LogZ, log_mean
from vaebench.models.replicated_softmax import ReplicatedSoftmax
from vaebench.protocol.log_z import MAX_SIDE
from vaebench.rng import seeds
from vaebench.rng.noise import uniform
from vaebench.work.steps import Box, steps

STATES = 1024
"""Hidden states that are computed at a time."""


@torch.no_grad()
def exact(model: ReplicatedSoftmax, lengths: Tensor) -> Tensor:
    """Return log Z_L of each of the ``lengths`` (m,), (m,), nats, float64.

    It is log sum_h exp(L a.h) (sum_w exp(b_w + W_w.h))^L. Raises ValueError for more than MAX_SIDE
    hidden units.
    """
    hidden_units = len(model.p.hidden)
    if hidden_units > MAX_SIDE:
        raise ValueError(
            f"{hidden_units} hidden units cannot be enumerated; allowed: 1 to {MAX_SIDE}"
        )

    # The sum over words factorises: given h, the words are independent. So log Z_L needs the hidden
    # states once for all lengths.
    per_word = _per_word(model)
    return torch.stack([torch.logsumexp(float(length) * per_word, 0) for length in lengths])


def _per_word(model: ReplicatedSoftmax) -> Tensor:
    """Return a.h + log sum_w exp(b_w + W_w.h) of every hidden state, (2^units,), float64.

    L times it is log p(h) + log Z_L.
    """
    values = []
    count = 2 ** len(model.p.hidden)
    for first in range(0, count, STATES):
        h = _states(model, first, min(first + STATES, count))
        logits = h @ model.p.weight.double().mT + model.p.visible.double()
        values.append(h @ model.p.hidden.double() + torch.logsumexp(logits, -1))
    return torch.cat(values)


def _states(model: ReplicatedSoftmax, first: int, end: int) -> Tensor:
    return boltzmann_exact.states(len(model.p.hidden), model.mean.double(), first, end)


@dataclass(frozen=True)
class Annealing:
    """How log Z_L is annealed.

    ``times`` are the inverse temperatures, from 0 up to 1, both included, see ``spacing``. Each
    length has ``chains`` chains. ``base`` has the visible biases c at 0, (V,); None: those of the
    model.
    """

    times: Sequence[float]
    chains: int
    base: Tensor | None = None

    def biases(self, model: ReplicatedSoftmax) -> Tensor:
        """Return c, (V,), in the model's dtype."""
        return model.p.visible.detach() if self.base is None else self.base.to(model.mean)


@torch.no_grad()
def ais(
    model: ReplicatedSoftmax,
    lengths: Tensor,
    annealing: Annealing,
    seed: int,
    *,
    reverse: bool = False,
    purpose: str = "logz",
) -> LogZ:
    """Return log Z_L of each of the ``lengths``, (m,), by annealed importance sampling.

    The noise of a length depends on the seed, the purpose and the length alone. Products are in the
    model's precision, weights in float64.

    Args:
        model: The model.
        lengths: Lengths of documents, (m,), whole numbers from 1.
        annealing: How it is annealed.
        seed: Seed of the noise.
        reverse: Whether to find the upper bound too. It starts at exact samples of the model if
            the hidden units can be enumerated, else at the forward run's last states, resampled by
            their weights. Then ``upper_exact`` is False.
        purpose: Purpose of the noise.

    Raises:
        ValueError: For fewer than one temperature or two chains.
    """
    step_count = len(annealing.times) - 1
    if step_count < 1 or annealing.chains < 2:
        raise ValueError(f"{step_count} temperatures, {annealing.chains} chains: at least 1 and 2")

    enumerable = len(model.p.hidden) <= boltzmann_exact.MAX_UNITS

    # A row of results for each length: log mean w, its error, the effective number of chains and
    # the standard deviation of log w; then, from above, the first three again.
    results = Box(rows=[])
    for number in steps("lengths", len(lengths), results):
        length = int(lengths[number])
        run = _Chains(model, length, annealing, _generator(model, seed, purpose, length))
        log_w = run.forward()
        below = log_mean(log_w.unsqueeze(-1))
        numbers = [*below, log_w.std()]

        if reverse:
            # The weights of the way down are 1 / w. Use 1 keeps its noise apart from that of the
            # way up.
            start = _exact_samples(model, length, run) if enumerable else run.resampled()
            reverse_run = _Chains(
                model, length, annealing, _generator(model, seed, purpose, length, 1)
            )
            numbers += log_mean(-reverse_run.backward(start).unsqueeze(-1))
        results.rows = [*results.rows, [float(v) for v in numbers]]

    value, error, ess, sd, *above = torch.tensor(results.rows, dtype=torch.float64).unbind(-1)

    # From here on ``start`` is log Z of the base, (m,).
    start = log_z0(annealing.biases(model), len(model.p.hidden), lengths.cpu())
    method = (
        f"AIS, {step_count} steps, {annealing.chains} chains for each of {len(lengths)} lengths"
    )
    estimate = LogZ(start + value, error, method, ess, sd, annealing.chains)

    if not reverse:
        return estimate

    # E[1 / w] = Z_0 / Z, so the log of their mean is subtracted.
    mean, upper_error, upper_ess = above
    upper = start - mean
    return replace(
        estimate, upper=upper, upper_error=upper_error, upper_ess=upper_ess, upper_exact=enumerable
    )


def log_z0(biases: Tensor, units: int, lengths: Tensor) -> Tensor:
    """Return log Z_L with these visible biases (V,), without couplings and hidden biases.

    The result is (m,), nats, float64.
    """
    return units * math.log(2) + lengths.double() * float(torch.logsumexp(biases.double(), 0))


def _generator(
    model: ReplicatedSoftmax, seed: int, purpose: str, length: int, use: int = 0
) -> torch.Generator:
    return torch.Generator(device=model.mean.device).manual_seed(
        seeds.derive(seed, purpose, 2, use, length)
    )


def _exact_samples(model: ReplicatedSoftmax, length: int, run: _Chains) -> Tensor:
    """Return counts (chains, V) of documents of this length, drawn from the model."""
    # L times ``_per_word`` is log p(h) up to log Z_L. Given h, the words of a document are
    # independent.
    p = torch.softmax(length * _per_word(model), 0)
    chosen = torch.multinomial(p, run.chains, replacement=True, generator=run.generator)
    h = _states(model, 0, len(p))[chosen].to(model.mean.dtype)
    return multinomial.sample(model.word_logits(h), uniform((run.chains, length), run.generator))


class _Chains:
    """Chains of counts of one length, (chains, V)."""

    def __init__(
        self,
        model: ReplicatedSoftmax,
        length: int,
        annealing: Annealing,
        generator: torch.Generator,
    ) -> None:
        self.model = model
        self.length = length
        self.times = annealing.times
        self.chains = annealing.chains
        self.base = annealing.biases(model)
        self.gap = model.p.visible.detach() - self.base
        self.generator = generator
        self.log_w = torch.zeros(self.chains, dtype=torch.float64, device=model.mean.device)
        self.x = model.mean.new_zeros(self.chains, model.sizes[0])
        self.put(self.x)

    def put(self, x: Tensor) -> None:
        """Take counts (chains, V) as the present state of the chains."""
        # They are copied into the chains' own memory: the layout of what was read from a file may
        # differ, and sums would then be taken in another order.
        self.x.copy_(x)
        self.logits = self.model.hidden_logits(x)

    def weigh(self, low: float, high: float) -> None:
        """Add log f_high - log f_low at the present counts to the log-weights."""
        # The hidden units are summed out; their logits at t are t (L a + W.n).
        gain = F.softplus(high * self.logits).double() - F.softplus(low * self.logits).double()
        self.log_w += gain.sum(-1) + (high - low) * (self.x @ self.gap).double()

    def move(self, t: float) -> None:
        """Make a Gibbs step at ``t``: draw the hidden bits given the words, then all words."""
        hidden_noise = uniform(tuple(self.logits.shape), self.generator)
        h = (hidden_noise < torch.sigmoid(t * self.logits)).to(self.x.dtype)
        # The visible biases are (1 - t) c + t b = c + t gap.
        logits = t * F.linear(h, self.model.p.weight) + self.base + t * self.gap
        self.put(multinomial.sample(logits, uniform((self.chains, self.length), self.generator)))

    def forward(self) -> Tensor:
        """Return log w, (chains,), from exact samples of the base."""
        base = self.base.expand(self.chains, -1)
        self.put(multinomial.sample(base, uniform((self.chains, self.length), self.generator)))
        for i in steps("annealing", len(self.times) - 1, self):
            self.weigh(self.times[i], self.times[i + 1])
            self.move(self.times[i + 1])
        return self.log_w

    def backward(self, x: Tensor) -> Tensor:
        """Return log w of the way down to the base, (chains,).

        The way begins at samples ``x`` (chains, V) of the model.
        """
        # The forward steps in reverse order, see ``annealing``.
        self.put(x)
        count = len(self.times) - 1
        for done in steps("annealing from above", count, self):
            i = count - 1 - done
            self.move(self.times[i + 1])
            self.weigh(self.times[i], self.times[i + 1])
        return self.log_w

    def resampled(self) -> Tensor:
        """Return the chains' states after ``forward``, drawn again by their weights."""
        return self.x[parents(self.log_w, uniform((1,), self.generator))]

    def state(self) -> dict[str, Tensor]:
        """Return counts, weights and the generator, between two steps."""
        return {"x": self.x, "log_w": self.log_w, "generator": self.generator.get_state()}

    def load(self, kept: dict[str, Tensor]) -> None:
        """Take over what ``state`` gave."""
        self.put(kept["x"])
        self.log_w.copy_(kept["log_w"])
        self.generator.set_state(kept["generator"].cpu())
