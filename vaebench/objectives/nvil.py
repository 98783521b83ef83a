"""Neural variational inference and learning (Mnih & Gregor 2014).

Score-function gradients, variance reduced. One sample h ~ Q(h | x) per case. The generative model
follows grad log P(x, h). The inference network's layer i follows s_i grad log Q(h_i | h_{i-1}),
where the signal s_i starts as the layer's share of the bound and is centred and scaled.
"""

from __future__ import annotations

import torch
from torch import Tensor

from vaebench.models.base import Model
from vaebench.models.belief_net import BeliefNet
from vaebench.nn.layers import layer_list
from vaebench.nn.mlp import TanhNet
from vaebench.objectives import reduction
from vaebench.objectives.base import Batch, Objective, State, Step
from vaebench.settings import validate

RANGE = 5.0
"""A baseline's prediction of more than so many times the largest signal of its batch is no
prediction of it."""


class NVIL(Objective):
    """NVIL with every part of its variance reduction switchable.

    Figure 1 of the paper, and its 0.4 nat remark. The state holds the running mean and variance of
    the signal, one of each per latent layer, both starting at 0.
    """

    tiny = ({"baseline_units": 5}, {"input_baseline": False, "local_signals": False})

    model: BeliefNet

    kernel = "all"

    def __init__(
        self,
        model: BeliefNet,
        local_signals: bool = True,
        constant_baseline: bool = True,
        input_baseline: bool = True,
        variance_normalization: bool = True,
        baseline_units: int = 100,
        decay: float = 0.8,
        reduce: str = "sum",
    ) -> None:
        super().__init__()
        validate.whole("objective.baseline_units", baseline_units)
        validate.share("objective.decay", decay)
        self.model = model
        self.local_signals = local_signals
        self.constant_baseline = constant_baseline
        self.variance_normalization = variance_normalization
        self.decay = decay
        self.baseline_units = baseline_units
        self.reduce = reduction.check(reduce)
        self.baseline = (
            layer_list([TanhNet(n, baseline_units) for n in model.sizes[:-1]])
            if input_baseline
            else None
        )

    @staticmethod
    def trains(model: Model) -> bool:
        """Binary latents that are drawn, whose joint and posterior fall into one term per layer."""
        return isinstance(model, BeliefNet) and not model.deterministic

    def groups(self) -> dict[str, str]:
        """Parameter groups by prefix.

        Generative model, inference network, input-dependent baselines.
        """
        return {"model": "model.p.", "posterior": "model.q.", "baseline": "baseline."}

    def largest_rates(self, batch: int) -> dict[str, float]:
        """The rate up to which a step of a baseline's output layer helps.

        Up to it the step brings every batch's prediction nearer its signal. A step changes the
        predictions c of a batch by -(rate / s) G (c - l), s = max(1, sd of the signal) and G the
        Gram matrix of the hidden units and the constant 1. Above rate = 2 s / (largest eigenvalue
        of G) the error of a jump that is common to the batch grows with every step. Saturated tanh
        units are all near 1 in size, so the eigenvalue reaches batch (units + 1), its bound; s does
        not help, for a common jump leaves the variance small. Half the limit at s = 1 is stable
        whatever the units and the signal do. (Mean gradients: without the batch.)
        """
        if self.baseline is None:
            return {}
        gram = self.baseline_units + 1
        return {"baseline": 1.0 / (gram * batch if self.reduce == "sum" else gram)}

    def state(self, seed: int = 0, cases: int = 1) -> State:
        """Running mean (nats) and variance (nats^2) of each layer's signal, (layers,)."""
        return {"mean": torch.zeros(self.model.layers), "variance": torch.zeros(self.model.layers)}

    def noise(self, batch: int) -> dict[str, tuple[str, tuple[int, ...]]]:
        """Noise of one update: that of one posterior sample per case."""
        return self.model.posterior_noise(1, batch)

    def signals(self, log_p: list[Tensor], log_q: list[Tensor]) -> Tensor:
        """Raw signals l_i, (layers, batch), nats (equation 12).

        l_i = log P(h_n) + sum_{k >= i} [log P(h_{k-1} | h_k) - log Q(h_k | h_{k-1})], from the top
        down by a running sum; l_1 is the one-sample bound. Without local signals every layer gets
        l_1.
        """
        total = log_p[-1]
        out: list[Tensor] = []
        for p, q in zip(reversed(log_p[:-1]), reversed(log_q), strict=True):
            total = total + p - q
            out.insert(0, total)
        raw = torch.cat(out).detach()
        return raw if self.local_signals else raw[:1].expand_as(raw)

    def center(self, raw: Tensor, predicted: Tensor | None, state: State) -> tuple[Tensor, State]:
        """The learning signal and the new running statistics.

        In the paper's order of operations (Algorithm 1). First the input-dependent baseline is
        subtracted; the statistics of what remains are updated; only then are the NEW mean
        subtracted and the result divided by max(1, new standard deviation). ``raw``
        (layers, batch).
        """
        s = raw if predicted is None else raw - predicted.detach()
        old = self.decay
        new = 1.0 - self.decay
        mean = old * state["mean"] + new * s.mean(-1)
        variance = old * state["variance"] + new * s.var(-1, unbiased=False)
        if self.constant_baseline:
            s = s - mean.unsqueeze(-1)
        if self.variance_normalization:
            s = s / torch.clamp(variance.sqrt(), min=1.0).unsqueeze(-1)
        return s, {"mean": mean, "variance": variance}

    def forward(self, state: State, batch: Batch, noise: State) -> Step:
        """One pure step; see the package docstring.

        The bound in ``metrics`` is raw, before any baseline.
        """
        x = batch.x
        z = self.model.sample_posterior(x, 1, noise)
        log_p = self.model.log_joint_terms(x, z)
        log_q = self.model.log_posterior_terms(z, x)
        raw = self.signals(log_p, log_q)

        predicted = None
        if self.baseline is not None:
            inputs = self.model.posterior_inputs(x, z)
            predicted = torch.stack(
                [c(v).reshape(-1) for c, v in zip(self.baseline, inputs, strict=True)]
            )
        s, new_state = self.center(raw, predicted, state)

        gain = sum(log_p) + (s * torch.cat(log_q)).sum(0, keepdim=True)
        if predicted is not None:
            # The baselines minimise (l - C - c)^2; as in all published code the
            # normalised signal drives them.
            gain = gain + (s * predicted).sum(0, keepdim=True)

        loss = -reduction.over_cases(gain, self.reduce)
        metrics = {"bound": raw[0].mean()}
        if predicted is not None:
            # What the constant baseline takes away as well belongs to the prediction: only their
            # sum is learned.
            common = state["mean"] if self.constant_baseline else torch.zeros_like(state["mean"])
            metrics["baseline_outside"] = outside(raw, predicted.detach() + common.unsqueeze(-1))
        return loss, new_state, metrics


def outside(raw: Tensor, predicted: Tensor) -> Tensor:
    """1 if a baseline's prediction is far outside the range of the signal of its batch, else 0.

    One layer is enough.

    Args:
        raw: signals, (layers, batch), nats. A range below one nat counts as one, as
            it does in ``center``.
        predicted: what all baselines together say of them, (layers, batch), nats.
    """
    limit = RANGE * raw.abs().amax(-1).clamp(min=1.0)
    return (predicted.abs().amax(-1) > limit).any().to(raw.dtype)
