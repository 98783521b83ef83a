"""Fit a Boltzmann machine q to a known p by descent of KL(q || p), as DVAE## fits its posteriors.

Reference: Vahdat, Andriyash & Macready 2020, Figure 5.
"""

from __future__ import annotations

from types import MappingProxyType

from torch import Tensor

from vaebench.dists import boltzmann_exact
from vaebench.models.base import Model
from vaebench.models.rbm_target import RBMTarget
from vaebench.objectives import chains
from vaebench.objectives.base import Batch, Objective, State, Step
from vaebench.rng import noise as draws
from vaebench.rng.noise import Shapes
from vaebench.settings import validate

GRADIENTS = ("path", "exact")


class RBMKL(Objective):
    """Minimises KL(q || p) for a Boltzmann machine q and a known target p.

    The chains run with either gradient: 'bound' in the metrics is -KL as their bits estimate it,
    with the exact log Z.

    Args:
        model: The Boltzmann machine and its target.
        discrete_sweeps: Sweeps of bits of every chain at each update.
        relaxed_sweeps: Relaxed sweeps after these.
        relaxation: Relaxation of the bits, one of ``chains.RELAXATIONS``.
        beta: Sharpness of the relaxation; None: its default.
        rao_blackwell: Whether side 1 enters the loss by its mean given side 2. That is exact for
            the energy of q, but not for a log p that is not linear in the bits.
        gradient: 'path': through relaxed sweeps at the end of persistent chains, as in
            ``dvae_sharp_sharp``. The loss is log q(zeta) - log p(zeta) without log Z, where the
            gradient of q's parameters inside log q is stopped; log p takes values between 0 and 1
            by its formula for bits. 'exact': the derivative of the KL by enumeration, for
            comparison.
    """

    tiny = ({"discrete_sweeps": 2},)

    model: RBMTarget

    per_case = ("chains",)
    validation = MappingProxyType({"exact": True})

    def __init__(
        self,
        model: RBMTarget,
        discrete_sweeps: int = 10,
        relaxed_sweeps: int = 1,
        relaxation: str = "piecewise_linear",
        beta: float | None = None,
        rao_blackwell: bool = False,
        gradient: str = "path",
    ) -> None:
        super().__init__()
        chains.check_sweeps(discrete_sweeps, relaxed_sweeps)
        validate.one_of("objective.gradient", gradient, GRADIENTS)
        self.model = model
        self.gradient = gradient

        self.discrete_sweeps = discrete_sweeps
        self.relaxed_sweeps = relaxed_sweeps
        self.relax = chains.relaxation(relaxation, beta)
        self.rao_blackwell = validate.flag("objective.rao_blackwell", rao_blackwell)

    @staticmethod
    def trains(model: Model) -> bool:
        """Whether ``model`` has a Boltzmann machine and a known target."""
        return isinstance(model, RBMTarget)

    def groups(self) -> dict[str, str]:
        """Return one parameter group: the target has no parameters."""
        return {"posterior": "model.q."}

    def state(self, seed: int = 0, cases: int = 1) -> dict[str, Tensor]:
        """Return side 1 of the chains, (cases, n1) uint8, random bits at first."""
        return {"chains": draws.random_bits((cases, self.model.rbm().b1.shape[-1]), seed, 0)}

    def noise(self, batch: int) -> Shapes:
        """Return uniform noise (sweeps, batch, n) for each side.

        The discrete sweeps come first, then the relaxed ones.
        """
        rbm = self.model.rbm()
        lead = (self.discrete_sweeps + self.relaxed_sweeps, batch)
        return {
            f"side{i}": ("uniform", (*lead, b.shape[-1])) for i, b in ((2, rbm.b2), (1, rbm.b1))
        }

    def forward(self, state: State, batch: Batch, noise: State) -> Step:
        """Make one pure step; see the package docstring."""
        rbm = self.model.rbm()
        z1, z2, end = chains.advance(
            rbm, state["chains"], self.relax, self.discrete_sweeps, noise["side2"], noise["side1"]
        )

        # -KL = E_q[log p - log q], where log q = -E_q - log Z_q. Stopped, since log q in the loss
        # may have a gradient only through the samples: E_q[d log q / d phi] = 0.
        stopped = rbm.detach()
        bound = (
            self.model.target(z1, z2) - stopped.negative_energy(z1, z2)
        ).mean() + boltzmann_exact.log_z(stopped)

        if self.gradient == "exact":
            loss = self.model.kl()
        else:
            # log q - log p at the relaxed samples, through which the gradient passes.
            side1 = end.mean1 if self.rao_blackwell else end.zeta1
            loss = (
                stopped.negative_energy(side1, end.zeta2) - self.model.target(side1, end.zeta2)
            ).mean()
        return loss, {"chains": z1.to(state["chains"].dtype)}, {"bound": bound.detach()}
