"""How the bias of the layer next to the data begins.

As all parameters do, or where the data are on average.
"""

from __future__ import annotations

from abc import abstractmethod

import torch

from vaebench.models.base import Model
from vaebench.nn.init import logit_of_mean
from vaebench.nn.mlp import Heads
from vaebench.settings import validate


class VisibleBias(Model):
    """A model with a ``visible_bias``.

    ``init``, drawn as all others are, or ``mean``, the logit of the training mean. That is at least
    0.001 away from 0 and 1, as in IWAE (Burda et al. 2016).
    """

    visible_bias: str

    @property
    @abstractmethod
    def visible(self) -> Heads:
        """The network whose first head gives the logits of the mean of x."""

    def start(self, generator: torch.Generator) -> None:
        """Initial values that are not drawn as all others.

        The visible bias, if it is to follow the data.
        """
        if self.visible_bias == "mean":
            first, *_ = self.visible.heads.values()
            first.bias.copy_(logit_of_mean(self.mean))


def check_visible_bias(visible_bias: str) -> str:
    """The setting itself. Raises UserError for an unknown one."""
    return validate.one_of("model.visible_bias", visible_bias, ("init", "mean"))
