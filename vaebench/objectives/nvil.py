"""Neural variational inference and learning, NVIL (Mnih & Gregor 2014).

Score-function gradients with reduced variance, from one sample h ~ Q(h | x) per example. The
generative model follows grad log P(x, h). Layer i of the inference network follows s_i grad log
Q(h_i | h_{i-1}). The signal s_i is the layer's share of the bound, centred and scaled.
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
from vaebench.rng.noise import Shapes
from vaebench.settings import validate

RANGE = 5.0
"""Largest plausible prediction of a baseline, as a multiple of the largest signal of its batch."""


class NVIL(Objective):
    """NVIL, with a switch for every part of its variance reduction.

    The paper compares them in Figure 1 and in its remark on 0.4 nat. The state holds the running
    mean and variance of the signal for every latent layer; both start at 0.

    Args:
        model: A belief net whose latents are drawn.
        local_signals: Whether every layer has a signal of its own; else all have the whole bound.
        constant_baseline: Whether the running mean is subtracted from the signal.
        input_baseline: Whether the prediction of a baseline network is subtracted too.
        variance_normalization: Whether the signal is divided by max(1, its running deviation).
        baseline_units: Hidden units of the baseline network of every layer.
        decay: Weight of the old value in the running mean and variance.
        reduce: ``sum`` or ``mean`` over the examples of the batch.
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
        validate.below_one("objective.decay", decay)
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
        """Whether ``model`` is a belief net whose latents are drawn, with one term per layer."""
        return isinstance(model, BeliefNet) and not model.deterministic

    def groups(self) -> dict[str, str]:
        """Return the prefix of every group: generative model, inference network, baselines."""
        return {"model": "model.p.", "posterior": "model.q.", "baseline": "baseline."}

    def largest_rates(self, batch: int) -> dict[str, float]:
        """Return the largest rate of the baselines: one at which an output layer is always stable.

        A step changes the predictions c of a batch by -(rate / s) G (c - l), where l is the signal,
        s = max(1, sd of the signal), and G the Gram matrix of the hidden units and the constant 1.
        Above rate = 2 s / (largest eigenvalue of G), an error that is common to the batch grows
        with every step. Saturated tanh units are close to 1 in size, so the eigenvalue can reach
        its bound, batch (units + 1). s does not help, since a common jump leaves the variance
        small. Half the limit at s = 1 is therefore stable, whatever the units and the signal do. If
        gradients are means over the batch, the factor ``batch`` disappears.
        """
        if self.baseline is None:
            return {}
        gram = self.baseline_units + 1
        return {"baseline": 1.0 / (gram * batch if self.reduce == "sum" else gram)}

    def state(self, seed: int = 0, cases: int = 1) -> State:
        """Return the running mean (nats) and variance (nats^2) of the signals, (layers,) each."""
        return {"mean": torch.zeros(self.model.layers), "variance": torch.zeros(self.model.layers)}

    def noise(self, batch: int) -> Shapes:
        """Return the noise of one posterior sample per example."""
        return self.model.posterior_noise(1, batch)

    def signals(self, log_p: list[Tensor], log_q: list[Tensor]) -> Tensor:
        """Return the raw signals l_i, (layers, batch), nats (equation 12).

        l_i = log P(h_n) + sum_{k >= i} [log P(h_{k-1} | h_k) - log Q(h_k | h_{k-1})] is a running
        sum from the top down, and l_1 is the one-sample bound. Without local signals every layer
        gets l_1.
        """
        # log_p is [log P(x | h_1), ..., log P(h_{n-1} | h_n), log P(h_n)], log_q is
        # [log Q(h_1 | x), ..., log Q(h_n | h_{n-1})]; every term is (1, batch).
        total = log_p[-1]
        signals: list[Tensor] = []
        for p, q in zip(reversed(log_p[:-1]), reversed(log_q), strict=True):
            total = total + p - q
            signals.insert(0, total)
        raw = torch.cat(signals).detach()
        return raw if self.local_signals else raw[:1].expand_as(raw)

    def center(self, raw: Tensor, predicted: Tensor | None, state: State) -> tuple[Tensor, State]:
        """Return the learning signal and the new running statistics.

        The order is the paper's (Algorithm 1). First the input-dependent baseline is subtracted,
        and the statistics of the rest are updated. Only then is the NEW mean subtracted, and the
        result divided by max(1, new standard deviation).

        Args:
            raw: Raw signals, (layers, batch), nats.
            predicted: Predictions of the baseline networks, (layers, batch), or None.
            state: Running mean and variance, (layers,) each.
        """
        # s is (layers, batch); the statistics are over the batch, one of each for every layer.
        s = raw if predicted is None else raw - predicted.detach()

        old_share = self.decay
        new_share = 1.0 - self.decay
        mean = old_share * state["mean"] + new_share * s.mean(-1)
        variance = old_share * state["variance"] + new_share * s.var(-1, unbiased=False)

        if self.constant_baseline:
            s = s - mean.unsqueeze(-1)
        if self.variance_normalization:
            s = s / torch.clamp(variance.sqrt(), min=1.0).unsqueeze(-1)
        return s, {"mean": mean, "variance": variance}

    def forward(self, state: State, batch: Batch, noise: State) -> Step:
        """Make one pure step; see the package docstring.

        The bound in ``metrics`` is raw, before any baseline.
        """
        x = batch.x
        z = self.model.sample_posterior(x, 1, noise)
        log_p = self.model.log_joint_terms(x, z)
        log_q = self.model.log_posterior_terms(z, x)
        raw = self.signals(log_p, log_q)

        # Baseline i sees what layer i of the inference network sees, h_{i-1}. It must not see h_i:
        # only then does its subtraction leave the mean of the gradient as it is.
        predicted = None
        if self.baseline is not None:
            inputs = self.model.posterior_inputs(x, z)
            predicted = torch.stack(
                [c(v).reshape(-1) for c, v in zip(self.baseline, inputs, strict=True)]
            )
        s, new_state = self.center(raw, predicted, state)

        # (1, batch). Its gradient is that of log P(x, h) for the generative model, and
        # s_i grad log Q(h_i | h_{i-1}) for the inference network. The signals are constants.
        gain = sum(log_p) + (s * torch.cat(log_q)).sum(0, keepdim=True)
        if predicted is not None:
            # The baselines minimise (l - C - c)^2. As in all published code, the normalised signal
            # drives them.
            gain = gain + (s * predicted).sum(0, keepdim=True)

        loss = -reduction.over_cases(gain, self.reduce)
        metrics = {"bound": raw[0].mean()}
        if predicted is not None:
            # The constant baseline is a part of the prediction too: only their sum is learned.
            common = state["mean"] if self.constant_baseline else torch.zeros_like(state["mean"])
            metrics["baseline_outside"] = outside(raw, predicted.detach() + common.unsqueeze(-1))
        return loss, new_state, metrics


def outside(raw: Tensor, predicted: Tensor) -> Tensor:
    """Return 1 if a prediction of any layer is far outside the signals of its batch, else 0.

    Args:
        raw: Signals, (layers, batch), nats. A range below one nat counts as one, as in ``center``.
        predicted: Prediction of all baselines together, (layers, batch), nats.
    """
    limit = RANGE * raw.abs().amax(-1).clamp(min=1.0)
    return (predicted.abs().amax(-1) > limit).any().to(raw.dtype)
