"""DVAE: the spike-and-exponential smoothing and its gradient of the KL (Rolfe 2017)."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from vaebench.dists.smoothing import SpikeExponential
from vaebench.models.rbm_vae import RBMVAE
from vaebench.objectives.directed import DirectedObjective, relaxation
from vaebench.objectives.rbm_prior import FEW_CHAINS


class DVAE(DirectedObjective):
    """The ELBO with KL(q(zeta, z | x) || p(zeta, z)), where z = 1[zeta > 0] is known from zeta.

    The value of the KL is the energy minus the entropies. In the energy the couplings are
    multiplied by bits, except for the last group; its units and all biases are multiplied by means.
    With one group this is the KL itself.

    With more groups a bit of side 1 switches when its logit moves. Derivatives at fixed noise do
    not see this. It happens where the bit's zeta is 0, so they lack -dq_i E[(W z2)_i | zeta_i = 0].
    An unbiased estimate of that is

        -dq_i (1 - z_i) / (1 - q_i) (W z2)_i,

    since side 2 is drawn given zeta_i = 0 if z_i = 0. In terms of the logit, dq_i / (1 - q_i) = q_i
    dl_i. So nothing is divided by 1 - q_i, and saturated units need no cap on q.
    """

    tiny = (FEW_CHAINS,)

    relax: SpikeExponential

    def __init__(self, model: RBMVAE, beta: float | None = None, **more: Any) -> None:
        super().__init__(
            model, relaxation("spike_exponential", beta, ("spike_exponential",)), **more
        )

    def kl(self, zeta: list[Tensor], logits: list[Tensor]) -> Tensor:
        # The posterior's gradient is written out below, so nothing here may pass one of its own.
        sides = self.model.sides
        rbm = self.model.prior().detach()
        fixed_logits = [v.detach() for v in logits]

        # Bits of all groups but the last, which enters by its mean: nothing is drawn given it.
        # (k, batch, n1) and (k, batch, n2).
        z1, z2 = sides(
            [self.relax.active(v.detach()) for v in zeta[:-1]] + [torch.sigmoid(fixed_logits[-1])]
        )
        l1, l2 = sides(fixed_logits)
        # 1 - q as sigmoid(-l): the difference itself would round to 0 for saturated units.
        off1, off2 = sides([torch.sigmoid(-v) for v in fixed_logits])

        # Derivative of each unit's part with respect to its logit l. Given the groups below, -H(q)
        # - h.q, where h is the unit's input in the energy, has the slope q (1 - q) (l - h). On side
        # 1 the couplings' part of h stands apart: it is the estimate of the class docstring. (With
        # one group 1 - z1 is 1 - q, so that this is the same formula.)
        slope1 = torch.sigmoid(l1) * (off1 * (l1 - rbm.b1) - (1.0 - z1) * (z2 @ rbm.w.mT))
        slope2 = torch.sigmoid(l2) * off2 * (l2 - rbm.b2 - z1 @ rbm.w)

        # Add a term of value 0 that has this gradient. The prior has its gradient in expected_kl.
        live1, live2 = sides(logits)
        posterior = (live1 * slope1).sum(-1) + (live2 * slope2).sum(-1)
        return self.expected_kl(fixed_logits, z1, z2) + posterior - posterior.detach()
