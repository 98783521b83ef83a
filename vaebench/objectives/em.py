"""Expectation maximisation (Dempster, Laird & Rubin 1977) for mixtures of Bernoullis."""

from __future__ import annotations

from types import MappingProxyType

import torch
from torch import Tensor

from vaebench.models.base import Model
from vaebench.models.bernoulli_mixture import BernoulliMixture, log_joint
from vaebench.objectives.base import Batch, Objective, State, Step
from vaebench.settings import validate

LEAST = 1e-30
"""Least share of the examples that a component has: its logarithm is finite."""

EDGE = 1e-3
"""How far the training mean, to which the first components are shrunk, is kept from 0 and 1."""


class EM(Objective):
    """Maximises sum_n log p(x_n) + prior sum_ki log mu_ki (1 - mu_ki).

    A Beta(1 + prior, 1 + prior) on every mean. An update is the E-step of its batch. The statistics
    of the batches are added up, and the update that completes a sweep, a pass over as many examples
    as there are, ends with the M-step. Its parameters are the target of the loss, half the squared
    distance to them: an optimiser of plain steps at rate 1 (``optim=sgd``) sets them. Between two
    M-steps the gradient is 0. With ``train.order=shuffle`` and a batch that divides the number of
    training examples this is EM as it stands in books; else the last batch of a sweep also has
    examples of the next pass.

    Before the first E-step every component is placed at an example of the first batch, shrunk to
    the training mean. The model's initial logits are added, and tell apart components that were
    placed at the same example.

    State: the statistics of the sweep, ``sums`` (components, d) and ``counts`` (components,);
    ``seen`` examples of it; ``cases``, how many make a sweep; ``placed``, whether the components
    are.

    Args:
        model: The mixture.
        prior: Of the means: 0 is maximum likelihood.
        shrink: Weight of the training mean where components are placed, from above 0 to below 1.

    Raises:
        UserError: For a setting out of its range.
    """

    tiny = ({},)

    model: BernoulliMixture

    worth_compiling = False
    validation = MappingProxyType({"exact": True})

    def __init__(self, model: BernoulliMixture, prior: float = 0.1, shrink: float = 0.5) -> None:
        super().__init__()
        self.model = model
        self.prior = validate.from_zero("objective.prior", prior)
        self.shrink = validate.between("objective.shrink", shrink)

    @staticmethod
    def trains(model: Model) -> bool:
        """Mixtures of Bernoullis."""
        return isinstance(model, BernoulliMixture)

    def state(self, seed: int = 0, cases: int = 1) -> State:
        """No statistics yet, and components that are not placed."""
        logits = self.model.p["logits"].detach()
        zero = torch.zeros((), dtype=logits.dtype)
        return {
            "sums": torch.zeros_like(logits),
            "counts": torch.zeros_like(logits[:, 0]),
            "seen": zero,
            "cases": zero + cases,
            "placed": zero.clone(),
        }

    def forward(self, state: State, batch: Batch, noise: State) -> Step:
        """One pure step; see the package docstring."""
        x = batch.x
        logits = self.model.p["logits"]
        log_weights = self.model.p["log_weights"]
        now = {"logits": logits.detach(), "log_weights": log_weights.detach()}

        # Components that stand where they were placed, if they are not placed yet.
        waiting = state["placed"] == 0
        start = self.placed(x, now["logits"])
        now = {name: torch.where(waiting, start[name], v) for name, v in now.items()}

        log_p, counts, sums = expectations(x, now["logits"], now["log_weights"])
        counts = state["counts"] + counts
        sums = state["sums"] + sums
        seen = state["seen"] + len(x)

        done = seen >= state["cases"]
        best = self.maximised(counts, sums)
        target = {name: torch.where(done, best[name], v) for name, v in now.items()}
        loss = 0.5 * (logits - target["logits"]).square().sum()
        loss = loss + 0.5 * (log_weights - target["log_weights"]).square().sum()

        new = {
            "sums": torch.where(done, 0.0, sums),
            "counts": torch.where(done, 0.0, counts),
            "seen": torch.where(done, 0.0, seen),
            "cases": state["cases"],
            "placed": torch.ones_like(state["placed"]),
        }
        return loss, new, {"bound": log_p.mean()}

    def placed(self, x: Tensor, jitter: Tensor) -> State:
        """Parameters with every component at an example of ``x`` (batch, d).

        One after the other, with equal weights.
        """
        rows = torch.arange(self.model.components, device=x.device) % len(x)
        centre = self.model.mean.clamp(EDGE, 1 - EDGE)
        means = (1 - self.shrink) * x[rows] + self.shrink * centre
        return {
            "logits": torch.logit(means) + jitter,
            "log_weights": torch.zeros_like(jitter[:, 0]),
        }

    def maximised(self, counts: Tensor, sums: Tensor) -> State:
        """The M-step: parameters from the sums over examples.

        How many examples each component has, and how often each pixel is on in them.
        """
        on = sums + self.prior
        off = (counts.unsqueeze(-1) - sums).clamp(min=0) + self.prior
        share = counts / counts.sum()
        edge = torch.finfo(sums.dtype).tiny
        logits = torch.log(on.clamp(min=edge)) - torch.log(off.clamp(min=edge))
        return {"logits": logits, "log_weights": torch.log(share.clamp(min=LEAST))}


def expectations(x: Tensor, logits: Tensor, log_weights: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """The E-step of a batch.

    log p(x) (batch,), and the sums over it of responsibilities and of these times ``x``.

    Args:
        x: Examples, (batch, d).
        logits: Of the means, (components, d).
        log_weights: (components,), not normalised.

    Returns:
        log p(x) (batch,), nats; counts (components,); sums (components, d).
    """
    each = log_joint(x, logits, log_weights)
    responsibilities = torch.softmax(each, -1)
    return torch.logsumexp(each, -1), responsibilities.sum(0), responsibilities.mT @ x
