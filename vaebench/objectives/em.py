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
"""Least share of the examples of a component, so that its logarithm is finite."""

EDGE = 1e-3
"""Least distance of the training mean, to which the first components are shrunk, from 0 and 1."""


class EM(Objective):
    """Maximises sum_n log p(x_n) + prior sum_ki log mu_ki (1 - mu_ki).

    The second term is a prior Beta(1 + prior, 1 + prior) of every mean. An update is the E-step of
    its batch, whose statistics are added up. The update that completes a sweep, which is a pass
    over as many examples as there are, ends with the M-step. The loss is half the squared distance
    to the parameters of the M-step, so plain gradient steps at rate 1 (``optim=sgd``) set these.
    Between two M-steps the gradient is 0. With ``train.order=shuffle`` and a batch that divides the
    number of training examples this is EM as in textbooks. Otherwise the last batch of a sweep also
    has examples of the next pass.

    Before the first E-step every component is placed at an example of the first batch, shrunk to
    the training mean. The model's initial logits are added, so that components placed at the same
    example differ.

    The state has the statistics of the sweep, ``sums`` (components, d) and ``counts``
    (components,); the number of examples ``seen`` in it; ``cases``, the examples of a whole sweep;
    and whether the components are ``placed``.

    Args:
        model: The mixture.
        prior: See above; 0 is maximum likelihood.
        shrink: Weight of the training mean when components are placed, between 0 and 1.

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
        """Whether ``model`` is a mixture of Bernoullis."""
        return isinstance(model, BernoulliMixture)

    def state(self, seed: int = 0, cases: int = 1) -> State:
        """Return statistics of 0, and components that are not placed yet."""
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
        """Make one pure step; see the package docstring."""
        x = batch.x
        logits = self.model.p["logits"]
        log_weights = self.model.p["log_weights"]
        present = {"logits": logits.detach(), "log_weights": log_weights.detach()}

        # Before the first E-step every component is at an example, whatever its parameters are.
        # Here and below ``where`` decides, not ``if``, so that the step can run under vmap.
        waiting = state["placed"] == 0
        at_examples = self.placed(x, present["logits"])
        present = {name: torch.where(waiting, at_examples[name], v) for name, v in present.items()}

        # E-step of the batch, added to the statistics of the sweep so far.
        log_p, counts, sums = expectations(x, present["logits"], present["log_weights"])
        counts = state["counts"] + counts
        sums = state["sums"] + sums
        seen = state["seen"] + len(x)

        # M-step once the sweep is complete; until then the present parameters are the target. The
        # gradient of the loss is the parameter minus its target, so a step at rate 1 arrives there.
        done = seen >= state["cases"]
        best = self.maximised(counts, sums)
        target = {name: torch.where(done, best[name], v) for name, v in present.items()}
        loss = 0.5 * (logits - target["logits"]).square().sum()
        loss = loss + 0.5 * (log_weights - target["log_weights"]).square().sum()

        new_state = {
            "sums": torch.where(done, 0.0, sums),
            "counts": torch.where(done, 0.0, counts),
            "seen": torch.where(done, 0.0, seen),
            "cases": state["cases"],
            "placed": torch.ones_like(state["placed"]),
        }
        return loss, new_state, {"bound": log_p.mean()}

    def placed(self, x: Tensor, jitter: Tensor) -> State:
        """Return parameters that place every component at an example.

        The weights are equal.

        Args:
            x: Examples, (batch, d), which the components take in turn.
            jitter: Added to the logits, (components, d).
        """
        # Shrunk to the mean, which is kept off 0 and 1. So every logit is finite.
        rows = torch.arange(self.model.components, device=x.device) % len(x)
        centre = self.model.mean.clamp(EDGE, 1 - EDGE)
        means = (1 - self.shrink) * x[rows] + self.shrink * centre
        return {
            "logits": torch.logit(means) + jitter,
            "log_weights": torch.zeros_like(jitter[:, 0]),
        }

    def maximised(self, counts: Tensor, sums: Tensor) -> State:
        """Make the M-step: return the parameters that maximise the objective.

        Args:
            counts: How many examples each component has, (components,).
            sums: How often each pixel is on in them, (components, d).
        """
        # How often each pixel is on and off in each component, plus the prior's pseudo-counts.
        # Rounding can make ``off`` slightly negative.
        on = sums + self.prior
        off = (counts.unsqueeze(-1) - sums).clamp(min=0) + self.prior
        share = counts / counts.sum()

        # The logit of on / (on + off). Without a prior either count may be 0.
        edge = torch.finfo(sums.dtype).tiny
        logits = torch.log(on.clamp(min=edge)) - torch.log(off.clamp(min=edge))
        return {"logits": logits, "log_weights": torch.log(share.clamp(min=LEAST))}


def expectations(x: Tensor, logits: Tensor, log_weights: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Make the E-step of a batch.

    Args:
        x: Examples, (batch, d).
        logits: Logits of the means, (components, d).
        log_weights: Logarithms of the weights, (components,), not normalised.

    Returns:
        log p(x), (batch,), nats; the sums over the batch of the responsibilities, (components,),
        and of the responsibilities times ``x``, (components, d).
    """
    joint = log_joint(x, logits, log_weights)  # log p(x, component), (batch, components)
    responsibilities = torch.softmax(joint, -1)
    return torch.logsumexp(joint, -1), responsibilities.sum(0), responsibilities.mT @ x
