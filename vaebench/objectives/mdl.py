"""Minimum description length for belief nets (Gregor, Mnih & Wierstra 2014).

The cost of an example is the length of its code h and of the data given the code, L(x | h) + L(h) =
-log p(x, h), less the entropy of the coder q(h | x), which bits-back coding returns. Its mean over
q is minus the ELBO.

The generative model follows the gradient at the code, which is unbiased. The coder uses no score
function. Instead a gradient df/dh passes back through each bit, though h has no value between 0 and
1.

- Random codes: dE[f]/dq is estimated by f'(h) / (2 q(h)). The mean of that over h is (f'(0) +
  f'(1)) / 2, and the true gradient is f(1) - f(0). Both agree if f is quadratic in every bit.
  Otherwise the estimate is biased, with a low variance.
- Deterministic codes h = [q > 1/2]: dh/dq is taken as 1, straight through the threshold. There is
  no entropy, and the cost bounds -log p(x) by itself.
"""

from __future__ import annotations

import torch
from torch import Tensor

from vaebench.dists import bernoulli
from vaebench.errors import UserError
from vaebench.models.base import Model
from vaebench.models.belief_net import BeliefNet
from vaebench.models.posterior import total
from vaebench.objectives import reduction
from vaebench.objectives.base import Batch, Objective, State, Step, told
from vaebench.objectives.decay import check_decay, penalty
from vaebench.objectives.weight_noise import WeightNoise
from vaebench.rng.noise import Shapes
from vaebench.settings import validate


class MDL(Objective):
    """Minimises -log p(x, h) - H(q) at one code h of every example; the entropies are exact.

    Without weight noise there is no state. With several layers the entropy of a layer is
    conditional on the code below, and its gradient passes through that code too.

    Args:
        model: A belief net. Its posterior, factorial or deterministic, decides the kind of codes.
        reduce: ``sum`` or ``mean`` over the examples of the batch.
        weight_decay: lambda in lambda / 2 |.|^2 over ``model.decayed()``, added to the loss.
        weight_noise: Standard deviation with which adaptive noise on every parameter begins, see
            vaebench.objectives.weight_noise; 0: none.
        weight_noise_from: Share of the budget that is trained before without noise.

    Reference:
        Gregor, Danihelka, Mnih, Blundell & Wierstra 2014, Deep AutoRegressive Networks, sections 3
        and 4; the estimator as Gu, Levine, Sutskever & Mnih 2016, MuProp, state it.
    """

    tiny = (
        {},
        {"weight_decay": 0.2},
        {"weight_noise": 0.1},
        {"weight_noise": 0.1, "weight_noise_from": 0.5},
    )

    model: BeliefNet

    def __init__(
        self,
        model: BeliefNet,
        reduce: str = "sum",
        weight_decay: float = 0.0,
        weight_noise: float = 0.0,
        weight_noise_from: float = 0.0,
    ) -> None:
        super().__init__()
        self.model = model
        self.reduce = reduction.check(reduce)
        self.weight_decay = check_decay(weight_decay)

        self.weights = None
        if validate.from_zero("objective.weight_noise", weight_noise):
            self.weights = WeightNoise(model, weight_noise)
            self.block = self.weights.block

        self.noise_from = validate.below_one("objective.weight_noise_from", weight_noise_from)
        self.budget_free = self.noise_from == 0
        if self.noise_from and self.weights is None:
            raise UserError(
                f"objective.weight_noise_from={weight_noise_from}: there is no weight noise; "
                "allowed: 0, or objective.weight_noise above 0"
            )

    @staticmethod
    def trains(model: Model) -> bool:
        """Whether ``model`` is a belief net without an autoregressive coder.

        With one, the gradient of a bit would pass through all later bits.
        """
        return isinstance(model, BeliefNet) and all(
            units.autoregressive is None for units in model.q
        )

    def groups(self) -> dict[str, str]:
        """Return the parameter groups; the standard deviations of weight noise are one."""
        return {**super().groups(), "noise": "weights."}

    def state(self, seed: int = 0, cases: int = 1) -> State:
        """Return the number of training examples: the cost of noisy weights is spread over them."""
        count = {} if self.weights is None else {"cases": torch.tensor(float(cases))}
        return {**super().state(seed, cases), **count}

    def noise(self, batch: int) -> Shapes:
        """Return the noise of one code of every example, and of the weights."""
        of_weights = {} if self.weights is None else self.weights.draws()
        return {**self.model.posterior_noise(1, batch), **of_weights}

    def codes(self, x: Tensor, noise: State) -> tuple[list[Tensor], list[Tensor]]:
        """Draw the codes of every layer.

        Returns:
            The codes, (1, batch, n) each, with the gradient that they pass back; and the entropy of
            every layer given the code below, (1, batch) or (batch,), nats. Deterministic codes have
            no entropies.
        """
        h: list[Tensor] = []
        entropies: list[Tensor] = []
        parent = x - self.model.mean
        for i, units in enumerate(self.model.q, start=1):
            # ``code`` has no gradient. The next ``parent`` has its value, and the gradient rule of
            # its kind; through it the gradients of all layers above reach this one.
            logits = units.logits(parent)
            code = units.sample(parent, noise[f"q{i}"])
            if self.model.deterministic:
                parent = straight(code, logits)
            else:
                parent = half(code, logits)
                entropies.append(bernoulli.entropy(logits))
            h.append(parent)

        return h, entropies

    def forward(self, state: State, batch: Batch, noise: State) -> Step:
        """Make one pure step; see the package docstring."""
        # ``cost``: the KL of noisy weights, spread over the training examples. Before the noise
        # begins it is multiplied by 0.
        cost: Tensor | float = 0.0
        if self.weights is None:
            gain = self._gain(batch.x, noise)
        else:
            begun = self._begun(batch)
            with self.weights.on(self.model, noise, begun):
                gain = self._gain(batch.x, noise)
            cost = self.weights.cost(self.model) / state["cases"]
            cost = cost if begun is None else begun * cost

        loss = reduction.over_cases(cost - gain, self.reduce)
        if self.weight_decay:
            loss = loss + penalty(self.model, self.weight_decay)

        metrics = {"bound": gain.detach().mean()}
        if isinstance(cost, Tensor):
            metrics["weight_cost"] = cost.detach()
        return loss, state, metrics

    def _begun(self, batch: Batch) -> Tensor | None:
        """Return 1 if the weights are noisy by now, else 0, (); None if they always are."""
        if not self.noise_from:
            return None
        return (told(batch.progress) >= self.noise_from).to(batch.x.dtype)

    def _gain(self, x: Tensor, noise: State) -> Tensor:
        """Return the one-sample bounds of the examples ``x`` (batch, d): (1, batch), nats."""
        h, entropies = self.codes(x, noise)
        return total([self.model.log_joint(x, h), *entropies])


def half(h: Tensor, logits: Tensor) -> Tensor:
    """Return bits ``h``, drawn from q = sigmoid(``logits``), with gradient f'(h) / (2 q(h)) for q.

    All shapes are (k, batch, n). Since dq / dlogit is q (1 - q), the gradient of a logit is f'(h)
    |h - q| / 2, without a quotient.
    """
    # h + 0, where the 0 has the derivative ``slope`` for the logits.
    slope = 0.5 * (h - torch.sigmoid(logits)).abs()
    return h + slope.detach() * (logits - logits.detach())


def straight(h: Tensor, logits: Tensor) -> Tensor:
    """Return ``h`` (k, batch, n), which passes df/dh unchanged to q = sigmoid(``logits``)."""
    q = torch.sigmoid(logits)
    return h + (q - q.detach())
