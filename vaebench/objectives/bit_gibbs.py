"""Maximum likelihood with samples of the true posterior, drawn bit by bit.

It is the baseline of DVAE## (Vahdat et al. 2020, appendix E). Every training image has a chain of
its own, whose state is kept from epoch to epoch. Fisher's identity, d log p(x) = E_{p(z | x)}[d log
p(x, z)], turns the chain's last state into an update.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from vaebench import kernels
from vaebench.dists import boltzmann_exact
from vaebench.dists.rbm import bits
from vaebench.models.base import Model
from vaebench.models.rbm_generator import RBMGenerator
from vaebench.nn import batch_norm
from vaebench.objectives.base import MODEL, Batch, Objective, State, Step
from vaebench.objectives.decay import check_decay, penalty
from vaebench.rng import noise as draws
from vaebench.rng.noise import Shapes
from vaebench.settings import validate

STATISTICS = ("running", "batch")


class BitGibbs(Objective):
    """Maximises log p(x, z) after Gibbs sweeps over all bits z of the batch's images.

    log Z is exact, by enumeration of one side, and part of the bound in the metrics. That bound is
    log p(x, z), which is at most log p(x).

    Batch normalisation needs fixed statistics while bits are drawn. If every state that is tried
    had statistics of its own, two different decoders would weigh the two values of a bit, and the
    stored value of the present state would be that of a third.

    Args:
        model: A generative model with a Boltzmann prior.
        sweeps: Sweeps before each update.
        weight_decay: lambda in lambda / 2 |.|^2 over ``model.decayed()``.
        statistics: What batch normalisation uses while bits are drawn. 'running': its running
            averages, so that the chains follow, image by image, the posterior of the model that
            measures see. 'batch': mean and variance of the batch at the chains' present state, kept
            until the sweeps are over; this is closer to the decoder that the update sees.
    """

    tiny = ({"sweeps": 2},)

    model: RBMGenerator

    per_case = ("posterior",)
    worth_compiling = False
    kernel = "chains"

    def __init__(
        self,
        model: RBMGenerator,
        sweeps: int = 10,
        weight_decay: float = 1e-4,
        statistics: str = "running",
    ) -> None:
        super().__init__()
        validate.one_of("objective.statistics", statistics, STATISTICS)
        self.model = model
        self.statistics = statistics
        self.sweeps = validate.whole("objective.sweeps", sweeps)
        self.weight_decay = check_decay(weight_decay)

    @staticmethod
    def trains(model: Model) -> bool:
        """Whether ``model`` has a Boltzmann prior and no inference network."""
        return isinstance(model, RBMGenerator)

    def groups(self) -> dict[str, str]:
        """Return one parameter group: there is no inference network."""
        return {"model": "model.p."}

    def state(self, seed: int = 0, cases: int = 1) -> dict[str, Tensor]:
        """Return a chain for every training example and the averages of batch normalisation.

        The chains are random bits at first, (cases, latents).
        """
        shape = (cases, self.model.sizes[1])
        return {"posterior": draws.random_bits(shape, seed), **super().state(seed, cases)}

    def noise(self, batch: int) -> Shapes:
        """Return uniform noise (sweeps, latents, batch), one number for every bit drawn."""
        return {"posterior": ("uniform", (self.sweeps, self.model.sizes[1], batch))}

    def forward(self, state: State, batch: Batch, noise: State) -> Step:
        """Make one pure step; see the package docstring."""
        x = batch.x
        rbm = self.model.prior()
        tape: batch_norm.Tape = {}

        # Draw the bits, (batch, latents). Meanwhile batch normalisation has fixed statistics.
        z = state["posterior"].to(x.dtype)
        log_joint = self.model.frozen(self._statistics(state, z))
        with torch.no_grad():
            z = sweep_bits(lambda v: log_joint(x, v), z, noise["posterior"])

        # Fisher's identity: follow log p(x, z) at the chains' last state, one sample of one group,
        # (1, batch, latents). Here batch normalisation takes the statistics of this very state.
        groups = [z.unsqueeze(0)]
        log_p = self.model.log_likelihood(x, groups, tape) + rbm.negative_energy(
            *self.model.sides(groups)
        )
        bound = (log_p - boltzmann_exact.log_z(rbm)).mean()

        decay = penalty(self.model, self.weight_decay)
        new_state = {"posterior": z.to(state["posterior"].dtype), **self.averages(state, tape)}
        return decay - bound, new_state, {"bound": bound.detach()}

    def _statistics(self, state: dict[str, Tensor], z: Tensor) -> batch_norm.Tape:
        """Return what batch normalisation uses while bits are drawn, see ``statistics``."""
        if self.statistics == "running":
            norms = [m.path for m in batch_norm.layers(self.model)]
            return {
                path: (state[f"{MODEL}{path}.mean"], state[f"{MODEL}{path}.variance"])
                for path in norms
            }

        # A pass of the decoder writes the statistics of the batch to the tape.
        tape: batch_norm.Tape = {}
        self.model.decode([z], tape)
        return tape


def sweep_bits(log_p: Callable[[Tensor], Tensor], z: Tensor, u: Tensor) -> Tensor:
    """Make Gibbs sweeps over the bits in their order, each from p(z_i | all others).

    No gradient passes.

    Args:
        log_p: log p(z) up to a constant, (batch, n) -> (batch,). It is called once for every bit
            drawn, since the value of the present state is kept, and once before.
        z: The bits to begin with, (batch, n).
        u: Uniforms on (0, 1), (sweeps, n, batch).

    Returns:
        The bits after the sweeps, (batch, n).
    """
    if kernels.allowed() and kernels.takes(z, u):
        from vaebench.kernels import likelihood

        return likelihood.sweep_bits(log_p, z, u)

    log_now = log_p(z)
    for sweep in u.unbind():
        for i, v in enumerate(sweep.unbind()):
            bit = z[:, i]
            flipped = torch.cat([z[:, :i], 1 - z[:, i : i + 1], z[:, i + 1 :]], 1)
            log_flipped = log_p(flipped)

            # The logit of bit i is log p at 1 minus log p at 0. The sign says which of the two
            # states has the 1.
            moved = bits((1 - 2 * bit) * (log_flipped - log_now), v) != bit
            z = torch.where(moved.unsqueeze(1), flipped, z)
            log_now = torch.where(moved, log_flipped, log_now)
    return z
