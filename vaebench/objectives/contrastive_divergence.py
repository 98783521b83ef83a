"""Contrastive divergence (Hinton 2002) of energy models, also persistent (Tieleman 2008).

The gradient of -log p(x) is that of F(x), less the mean of that gradient over the model. This mean
is taken at the ends of Markov chains of k Gibbs steps. The chains start at the batch itself (CD-k),
or where they stood after the last update (PCD). Neither gives the gradient of a likelihood, unless
the chains have forgotten where they started.

Latents that F sums out enter by their probabilities, at the batch and at the ends of the chains.
Within a chain they are sampled, and so is x.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from vaebench.errors import UserError
from vaebench.models.base import EnergyModel, Model
from vaebench.models.posterior import total
from vaebench.objectives.base import Batch, Objective, State, Step, told
from vaebench.objectives.decay import check_decay, penalty
from vaebench.rng import noise as draws
from vaebench.rng.noise import Shapes
from vaebench.settings import validate
from vaebench.settings.kinds import is_number

EARLY = 1e-4
"""Tolerance in passes over the data: rounding of the passes must not lengthen the chains an update
too soon."""


class ContrastiveDivergence(Objective):
    """Minimises mean F(x) - mean F(x'), where x' are the ends of chains.

    No gradient passes through the chains. 'bound' in the metrics is -mean F(x) of the batch: log
    p(x) without log Z, which is not known in training.

    Args:
        model: An energy model.
        steps: Gibbs steps of a chain at each update, k.
        grow: None: k is ``steps`` throughout. A number: k = ceil(passes / ``grow``), at most
            ``steps``, and the loss is divided by k. That divides the rate of an optimiser whose
            steps are proportional to the gradient. The steps of Adam and Adagrad do not change.
        chains: None: chains start at the batch. A number: so many chains, which start as random
            bits and persist.
        weight_decay: lambda in lambda / 2 |.|^2 over ``model.decayed()``.
        valid_temperatures: Temperatures of the annealing by which a validation finds log Z.
        valid_chains: Number of chains of that annealing.

    Raises:
        UserError: For a setting that is out of range, or for ``chains`` if the examples of the
            model are not bits.
    """

    tiny = ({"steps": 2}, {"steps": 3, "grow": 1, "chains": 5})

    model: EnergyModel

    block = 1  # hundreds of chains, perhaps with many steps, draw much noise
    # There are no kernels either: with hundreds of units the library's products are faster.
    worth_compiling = False

    def __init__(
        self,
        model: EnergyModel,
        steps: int = 1,
        grow: float | None = None,
        chains: int | None = None,
        weight_decay: float = 2e-4,
        valid_temperatures: int = 1000,
        valid_chains: int = 100,
    ) -> None:
        super().__init__()
        if grow is not None and not (is_number(grow) and grow > 0):
            raise UserError(f"objective.grow={grow!r}: must be a number of passes above 0, or null")
        if chains is not None and not model.draws_bits:
            raise UserError(
                f"objective.chains={chains!r}: for models of bits only; allowed here: null"
            )

        self.model = model
        self.plain_only = model.ragged
        self.steps = validate.whole("objective.steps", steps)
        self.grow = None if grow is None else float(grow)
        self.chains = None if chains is None else validate.whole("objective.chains", chains)

        self.validation = {
            "temperatures": validate.whole("objective.valid_temperatures", valid_temperatures),
            "chains": validate.whole("objective.valid_chains", valid_chains, 2),
        }

        cost = check_decay(weight_decay)
        # With growing chains the whole loss is divided by k. The engine's own decay does not know
        # k, so the penalty is then a part of the loss here.
        self.weight_decay, self.cost = (cost, 0.0) if grow is None else (0.0, cost)

    @staticmethod
    def trains(model: Model) -> bool:
        """Whether ``model`` is an energy model."""
        return isinstance(model, EnergyModel)

    def groups(self) -> dict[str, str]:
        """Return one parameter group: there is no inference network."""
        return {"model": "model.p."}

    def state(self, seed: int = 0, cases: int = 1) -> State:
        """Return the persistent chains, (chains, d) uint8, if there are any."""
        if self.chains is None:
            return super().state(seed, cases)
        bits = draws.random_bits((self.chains, self.model.sizes[0]), seed)
        return {"chains": bits, **super().state(seed, cases)}

    def noise(self, batch: int) -> Shapes:
        """Return the noise of ``steps`` Gibbs steps of every chain."""
        return self.model.gibbs_noise(self.steps, self.chains or batch)

    def length(self, batch: Batch) -> Tensor | int:
        """Return k at this update, see ``chain_length``."""
        return (
            self.steps
            if self.grow is None
            else chain_length(told(batch.passes), self.grow, self.steps)
        )

    def forward(self, state: State, batch: Batch, noise: State) -> Step:
        """Make one pure step; see the package docstring."""
        x = batch.x
        k = self.length(batch)
        start = x if self.chains is None else state["chains"].to(x.dtype)
        end = chain_ends(self.model.gibbs, start, k, noise, self.steps)

        # F of data and chain ends in one call: one large product instead of two.
        energies = self.model.free_energy(torch.cat([x, end]))
        on_data, on_chains = energies.split([len(x), len(end)])
        loss: Any = on_data.mean() - on_chains.mean() + penalty(self.model, self.weight_decay)
        if self.cost:
            loss = loss + 0.5 * self.cost * total([(p**2).sum() for p in self.model.decayed()])
        if self.grow is not None:
            loss = loss / k

        kept = {} if self.chains is None else {"chains": end.to(state["chains"].dtype)}
        return loss, {**state, **kept}, {"bound": -on_data.detach().mean()}


def readable(v: Tensor) -> bool:
    """Whether a step can read the number ``v``: on the CPU, without vmap and compiler."""
    return not (
        torch.compiler.is_compiling()
        or torch._C._functorch.is_functorch_wrapped_tensor(v)
        or v.is_cuda
    )


def chain_length(passes: Tensor, grow: float, most: int) -> Tensor | int:
    """Return k = ceil(passes / ``grow``), from 1 to ``most``; a tensor () if it cannot be read."""
    k = torch.ceil(passes / grow - EARLY).clamp(1, most)
    return int(k) if readable(k) else k


def chain_ends(
    gibbs: Callable[[Tensor, State], Tensor], x: Tensor, k: Tensor | int, noise: State, most: int
) -> Tensor:
    """Return where chains from ``x`` (chains, d) stand after ``k`` steps, (chains, d).

    Args:
        gibbs: Makes as many Gibbs steps as its noise has rows.
        x: Where the chains start, (chains, d).
        k: Number of steps.
        noise: Noise of ``most`` steps, name -> (most, ...).
        most: The most steps that ``k`` can be.
    """
    if isinstance(k, int):
        return gibbs(x, {name: v[:k] for name, v in noise.items()})

    # If k cannot be read, make all steps and drop the later ones.
    for step in range(most):
        moved = gibbs(x, {name: v[step : step + 1] for name, v in noise.items()})
        x = torch.where(step < k, moved, x)
    return x
