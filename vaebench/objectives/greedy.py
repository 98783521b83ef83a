"""Greedy training of a deep belief net, one Boltzmann machine after the other.

For some passes the lower layer is trained by contrastive divergence as an RBM over the data
(Hinton, Osindero & Teh 2006). After that it has no gradient, and the upper RBM is trained the same
way on samples of h1 given the data. An optimiser with momentum m still moves the lower layer then,
altogether by m / (1 - m) of its last step.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from vaebench.dists.rbm import RBM, bits
from vaebench.models.base import Model
from vaebench.models.dbn import DBN
from vaebench.models.posterior import total
from vaebench.objectives.base import Batch, Objective, Parts, State, Step, told
from vaebench.objectives.contrastive_divergence import EARLY, chain_ends, chain_length, readable
from vaebench.objectives.decay import check_decay
from vaebench.rng.noise import Shapes
from vaebench.settings import validate


class Greedy(Objective):
    """CD-k of the lower RBM, then of the upper one.

    For each of them k grows as in ``contrastive_divergence``, counted from the start of its own
    training, and the loss is divided by k in the same way. 'bound' in the metrics is -mean F of the
    RBM that learns, on its inputs.

    Args:
        model: A deep belief net.
        lower: Passes over the data for the lower RBM; the upper one has the rest.
        steps: The most Gibbs steps of a chain at each update.
        grow: See ``contrastive_divergence``; None: ``steps`` throughout.
        weight_decay: lambda in lambda / 2 |.|^2 over the weights of the RBM that learns.
        valid_temperatures: Temperatures of the annealing by which a validation finds log Z of the
            upper RBM.
        valid_chains: Number of chains of that annealing.

    Raises:
        UserError: For a setting that is out of range.
    """

    tiny = ({"lower": 3, "steps": 3, "grow": 1}, {"lower": 3, "steps": 2, "grow": None})

    model: DBN

    block = 1  # long chains draw much noise
    worth_compiling = False

    def __init__(
        self,
        model: DBN,
        lower: int = 250,
        steps: int = 25,
        grow: float | None = 10,
        weight_decay: float = 2e-4,
        valid_temperatures: int = 1000,
        valid_chains: int = 100,
    ) -> None:
        super().__init__()
        self.model = model
        self.passes = validate.whole("objective.lower", lower)
        self.steps = validate.whole("objective.steps", steps)
        self.grow = None if grow is None else validate.positive("objective.grow", grow)
        self.cost = check_decay(weight_decay)

        self.validation = {
            "temperatures": validate.whole("objective.valid_temperatures", valid_temperatures),
            "chains": validate.whole("objective.valid_chains", valid_chains, 2),
        }

    @staticmethod
    def trains(model: Model) -> bool:
        """Whether ``model`` is a deep belief net."""
        return isinstance(model, DBN)

    @staticmethod
    def first_parts(objective: dict[str, Any], model: dict[str, Any]) -> Parts:
        """Return the passes of the lower RBM."""
        return Parts("objective.lower", objective["lower"], "epochs")

    def noise(self, batch: int) -> Shapes:
        """Return uniform noise for ``steps`` steps of either RBM's chains and for samples of h1."""
        d, n1, n2 = self.model.sizes
        sides = {"x": d, "h1": n1, "h2": n2}
        chains = {name: ("dithered", (self.steps, batch, n)) for name, n in sides.items()}
        return {**chains, "shown": ("uniform", (batch, n1))}

    def forward(self, state: State, batch: Batch, noise: State) -> Step:
        """Make one pure step; see the package docstring."""
        passes = told(batch.passes)
        lower = passes <= self.passes + EARLY
        if readable(lower):
            loss, bound = self._lower(batch, noise) if bool(lower) else self._upper(batch, noise)
        else:
            # If the step cannot read the number, compute both RBMs and take the one that learns.
            both = zip(self._lower(batch, noise), self._upper(batch, noise), strict=True)
            loss, bound = (torch.where(lower, of_lower, of_upper) for of_lower, of_upper in both)

        # Every parameter must be a part of the loss: those of the other RBM have gradient 0.
        all_sums = total([p.sum() for p in self.model.parameters()])
        return loss + 0 * all_sums, dict(state), {"bound": bound.detach()}

    def _lower(self, batch: Batch, noise: State) -> tuple[Tensor, Tensor]:
        """Return loss and mean -F of the RBM over the data."""
        return self._contrast(
            self.model.lower(), batch.x, told(batch.passes), noise["h1"], noise["x"]
        )

    def _upper(self, batch: Batch, noise: State) -> tuple[Tensor, Tensor]:
        """Return the same of the RBM over h1 and h2, on samples of h1."""
        # The data of the upper RBM: h1 drawn given x. h1 is side 2 of the lower RBM, but side 1 of
        # the upper one, so in its chain h2 is drawn first.
        with torch.no_grad():
            h1 = bits(self.model.encode(batch.x), noise["shown"])
        passes = told(batch.passes) - self.passes
        return self._contrast(self.model.prior(), h1, passes, noise["h2"], noise["h1"])

    def _contrast(
        self, rbm: RBM, x: Tensor, passes: Tensor, u2: Tensor, u1: Tensor
    ) -> tuple[Tensor, Tensor]:
        """Return loss and mean -F of an RBM.

        Args:
            rbm: The RBM.
            x: Side 1 of the RBM, (batch, n1).
            passes: Passes over the data in its own training, ().
            u2: Noise of side 2 in the chains, (steps, batch, n2).
            u1: Noise of side 1, (steps, batch, n1).
        """
        k = self.steps if self.grow is None else chain_length(passes, self.grow, self.steps)

        def gibbs(z: Tensor, noise: State) -> Tensor:
            return rbm.gibbs(z, noise["u2"], noise["u1"])[0]

        with torch.no_grad():
            end = chain_ends(gibbs, x, k, {"u2": u2, "u1": u1}, self.steps)

        on_data, on_chains = rbm.free_energy1(torch.cat([x, end])).split([len(x), len(end)])
        loss = on_data.mean() - on_chains.mean() + 0.5 * self.cost * (rbm.w**2).sum()
        return (loss if self.grow is None else loss / k), -on_data.mean()
