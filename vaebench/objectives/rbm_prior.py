"""The base of objectives for models with a Boltzmann prior: log Z, KL warm-up, weight decay.

The gradient of log Z is E_p[d(-E)]. It is estimated with persistent chains (Tieleman 2008): at
every update each chain makes ``prior_sweeps`` block Gibbs sweeps under the present parameters, from
where it stood. The chains may also be a population that follows the parameters by weights, see
``population``. log Z itself is not known in training, so the bound in the metrics lacks it;
measures add it.
"""

from __future__ import annotations

import torch
from torch import Tensor

from vaebench.dists.rbm import RBM
from vaebench.errors import UserError
from vaebench.models.rbm_vae import RBMPriorModel
from vaebench.nn import batch_norm
from vaebench.objectives import population
from vaebench.objectives.base import Batch, Objective, State, Step, told
from vaebench.objectives.decay import check_decay, penalty
from vaebench.rng import noise as draws
from vaebench.rng.noise import Shapes
from vaebench.settings import validate
from vaebench.settings.kinds import is_number

FEW_CHAINS = {"prior_chains": 6, "prior_sweeps": 2}
"""Small settings that all these objectives share, see ``Objective.tiny``."""


class RBMPriorObjective(Objective):
    """Base: a subclass supplies ``posterior_noise`` and ``gain``.

    Args:
        model: A model with a Boltzmann prior.
        samples: Posterior samples per example.
        warmup: Share of the budget over which the weight of the KL rises linearly from 0 to 1; 0:
            it is always 1.
        weight_decay: lambda in lambda / 2 |.|^2 over ``model.decayed()``.
        prior_chains: Number of the prior's chains, which start as random bits.
        prior_sweeps: Sweeps of these chains at every update.
        prior_sampler: ``persistent`` or ``population``.
        valid_temperatures: Temperatures of the annealing by which a validation finds log Z.
        valid_chains: Number of chains of that annealing.
    """

    model: RBMPriorModel

    budget_free = False  # the warm-up is a share of the budget
    block = 1  # a thousand chains times forty sweeps draw much noise
    worth_compiling = False
    kernel = "chains"
    chain_noise = ("prior2", "prior1")

    def __init__(
        self,
        model: RBMPriorModel,
        samples: int = 1,
        warmup: float = 0.3,
        weight_decay: float = 1e-4,
        prior_chains: int = 1000,
        prior_sweeps: int = 40,
        prior_sampler: str = "persistent",
        valid_temperatures: int = 1000,
        valid_chains: int = 1024,
    ) -> None:
        super().__init__()
        if not is_number(warmup) or not 0 <= warmup <= 1:
            raise UserError(f"objective.warmup={warmup!r}: must be a number from 0 to 1")

        self.model = model
        self.samples = validate.whole("objective.samples", samples)
        self.warmup = float(warmup)
        self.weight_decay = check_decay(weight_decay)

        self.prior_chains = validate.whole("objective.prior_chains", prior_chains)
        self.prior_sweeps = validate.whole("objective.prior_sweeps", prior_sweeps)
        self.reweighted = population.check(prior_sampler) == "population"

        self.validation = {
            "temperatures": validate.whole("objective.valid_temperatures", valid_temperatures),
            "chains": validate.whole("objective.valid_chains", valid_chains),
        }

    def posterior_noise(self, batch: int) -> Shapes:
        """Return the noise of the posterior's samples in one update."""
        raise NotImplementedError

    def gain(
        self,
        x: Tensor,
        weight: Tensor,
        log_z: Tensor,
        state: State,
        noise: State,
        tape: batch_norm.Tape,
    ) -> tuple[Tensor, Tensor, dict[str, Tensor]]:
        """Return what is maximised, and the bound, for every example.

        Args:
            x: Examples, (batch, d).
            weight: Weight of the KL, ().
            log_z: 0 with the gradient of log Z, (), to be subtracted from log p(z).
            state: See ``state``.
            noise: See ``noise``.
            tape: Where the normalisation layers write batch statistics.

        Returns:
            What is maximised, (batch,); the one-sample bound without log Z, (batch,), nats; and new
            state of the subclass.
        """
        raise NotImplementedError

    def state(self, seed: int = 0, cases: int = 1) -> dict[str, Tensor]:
        """Return side 1 of the prior's chains, (chains, n1), and the running averages.

        The averages are those of batch normalisation. A population also has the record of its
        weights, (chains,).
        """
        rbm = self.model.prior()
        count = self.prior_chains
        chains = {"prior": draws.random_bits((count, rbm.b1.shape[-1]), seed).to(torch.float32)}
        if self.reweighted:
            chains["prior_record"] = population.start(rbm, count)
        return {**chains, **super().state(seed, cases)}

    def noise(self, batch: int) -> Shapes:
        """Return the noise of the prior's sweeps, of the posterior's samples, and of resampling.

        That of the sweeps is (sweeps, chains, n) for each side. These are millions of numbers, so
        they are ``dithered``; else drawing them would take most of the time of an update.
        """
        rbm = self.model.prior()
        lead = (self.prior_sweeps, self.prior_chains)
        sides = dict(zip(self.chain_noise, (rbm.b2.shape[-1], rbm.b1.shape[-1]), strict=True))
        resampling: Shapes = {"prior_parents": ("uniform", (1,))} if self.reweighted else {}
        return {
            **{k: ("dithered", (*lead, n)) for k, n in sides.items()},
            **self.posterior_noise(batch),
            **resampling,
        }

    def kl_weight(self, progress: Tensor) -> Tensor:
        """Return the weight of the KL at a share of the budget."""
        return (
            torch.clamp(progress / self.warmup, max=1.0)
            if self.warmup
            else torch.ones_like(progress)
        )

    def follow(self, rbm: RBM, state: State, noise: State) -> tuple[Tensor, dict[str, Tensor]]:
        """Let the chains follow the present parameters of the prior.

        Returns:
            ``log_z`` for ``gain``, and the new state of the chains.
        """
        z1 = state["prior"]
        u2 = draws.taken(noise, "prior2")
        u1 = draws.taken(noise, "prior1")
        if not self.reweighted:
            z1, z2 = rbm.gibbs(z1, u2, u1)
            return rate_of_log_z(rbm, z1, z2), {"prior": z1}

        # Weights first: they correct for the change of the parameters since the last update. The
        # sweeps leave the new distribution unchanged, so the weights stay right after them.
        z1, log_w = population.reweight(rbm, z1, state["prior_record"], noise["prior_parents"])
        z1, z2 = rbm.gibbs(z1, u2, u1)
        kept = {"prior": z1, "prior_record": population.record(rbm, z1, log_w)}
        return rate_of_log_z(rbm, z1, z2, log_w), kept

    def forward(self, state: State, batch: Batch, noise: State) -> Step:
        """Make one pure step; see the package docstring."""
        rbm = self.model.prior()
        log_z, chains = self.follow(rbm, state, noise)
        tape: batch_norm.Tape = {}

        weight = self.kl_weight(told(batch.progress))
        gain, bound, of_subclass = self.gain(batch.x, weight, log_z, state, noise, tape)

        # The averages come after ``gain``, which has filled the tape.
        new_state = {**chains, **self.averages(state, tape), **of_subclass}
        return (
            penalty(self.model, self.weight_decay) - gain.mean(),
            new_state,
            {"bound": bound.detach().mean()},
        )


def rate_of_log_z(rbm: RBM, z1: Tensor, z2: Tensor, log_w: Tensor | None = None) -> Tensor:
    """Return a scalar 0 whose gradient estimates that of log Z: the mean of d(-E) over samples.

    Args:
        rbm: The RBM, with gradient.
        z1: Side 1 of its samples, (k, n1).
        z2: Side 2, (k, n2).
        log_w: Log-weights of the samples up to a constant, (k,); None: all are equal.
    """
    energies = rbm.negative_energy(z1, z2)
    energy = energies.mean() if log_w is None else (torch.softmax(log_w, 0) * energies).sum()
    return energy - energy.detach()
