"""How the bias of the layer next to the data starts: like all parameters, or at the data's mean."""

from __future__ import annotations

from abc import abstractmethod

import torch

from vaebench.models.base import Model
from vaebench.nn.init import logit_of_mean
from vaebench.nn.mlp import Heads
from vaebench.settings import validate


class VisibleBias(Model):
    """A model with a setting ``visible_bias``.

    ``init``: the bias is drawn as all other parameters are. ``mean``: it is the logit of the
    training mean, which is kept at least 0.001 away from 0 and 1, as in IWAE (Burda et al. 2016).
    """

    visible_bias: str

    @property
    @abstractmethod
    def visible(self) -> Heads:
        """The network whose first head gives the logits of the mean of x."""

    def start(self, generator: torch.Generator) -> None:
        """Set the visible bias to the logit of the data's mean, if ``visible_bias`` is ``mean``.

        All other parameters are drawn elsewhere; the generator is not used.
        """
        if self.visible_bias == "mean":
            first, *_ = self.visible.heads.values()
            first.bias.copy_(logit_of_mean(self.mean))


def check_visible_bias(visible_bias: str) -> str:
    """Return the setting itself. Raises UserError for an unknown one."""
    return validate.one_of("model.visible_bias", visible_bias, ("init", "mean"))
