"""Objectives: the learning rules, which know gradients but neither optimisers nor files.

An objective is a torch module that holds the model and whatever else it trains, such as baselines.
A call is a pure step: ``loss, state, metrics = objective(state, batch, noise)``. Everything that
persists between updates is in ``state``, and all randomness enters through ``noise``. The optimiser
follows the gradient of ``loss``, which is minimised. So a step can be replayed, resumed bit for
bit, packed over seeds, compiled or captured, and the objective need not know it.

- ``state(seed, cases)``: the initial state, name -> tensor. Names in ``per_case`` have a row for
  each training example; a step receives and returns the rows of its batch. State with the name of a
  buffer is that buffer's value when the model is validated or evaluated (running statistics of
  batch normalisation).
- ``draws(batch, width)``: name -> (kind, shape) of the noise of one update on ``batch`` examples of
  ``width`` numbers each (see ``vaebench.rng.noise.draw``). Objectives that do not depend on the
  width have ``noise(batch)`` instead.
- ``groups()``: name of a parameter group -> prefix of its parameters' names. The optimiser has a
  rate for each group.
- ``batch``: a ``Batch``, see there.
- ``budget_free``: whether a step is the same however many updates there will be, because no
  schedule is a share of the budget.
- ``block``: how many updates have their noise drawn at once.
- ``validation``: how the bound that selects the checkpoint is taken.
- ``inner_loop(state)``: the updates of some groups before the next outer update, or None.
- ``moves(state)``: the groups that the outer update moves; None: all. Objectives that have an inner
  loop or do not always move all groups train each seed ``alone``.
- ``validated(state, found)``: the state after a validation, which may depend on its results.
- ``metrics``: name -> scalar tensor. 'bound' is the mean one-sample bound of the batch, in nats.
"""

from __future__ import annotations

from typing import Any

from vaebench.config.cells import settings_of
from vaebench.errors import UserError, nearest
from vaebench.models import unlike_default
from vaebench.models.base import Model
from vaebench.objectives.aggressive import Aggressive
from vaebench.objectives.base import Objective
from vaebench.objectives.bit_gibbs import BitGibbs
from vaebench.objectives.contrastive_divergence import ContrastiveDivergence
from vaebench.objectives.dvae import DVAE
from vaebench.objectives.dvae_pp import DVAEPlusPlus
from vaebench.objectives.dvae_sharp import DVAESharp
from vaebench.objectives.dvae_sharp_gaussian import DVAESharpGaussian
from vaebench.objectives.dvae_sharp_sharp import DVAESharpSharp
from vaebench.objectives.em import EM
from vaebench.objectives.free_energy import FreeEnergy
from vaebench.objectives.greedy import Greedy
from vaebench.objectives.gumbolt import PWL, GumBolt
from vaebench.objectives.iw_bound import IWBound
from vaebench.objectives.likelihood import Likelihood
from vaebench.objectives.mcem import MCEM
from vaebench.objectives.mdl import MDL
from vaebench.objectives.nvil import NVIL
from vaebench.objectives.order_agnostic import OrderAgnostic
from vaebench.objectives.ordered_likelihood import OrderedLikelihood
from vaebench.objectives.rbm_kl import RBMKL
from vaebench.objectives.semi_amortised import SemiAmortised
from vaebench.objectives.topic_posterior import TopicPosterior
from vaebench.objectives.vae import VAE
from vaebench.objectives.wake_sleep import WakeSleep

OBJECTIVES: dict[str, type[Objective]] = {
    "nvil": NVIL,
    "wake_sleep": WakeSleep,
    "mdl": MDL,
    "iw_bound": IWBound,
    "dvae": DVAE,
    "dvae_pp": DVAEPlusPlus,
    "dvae_sharp": DVAESharp,
    "dvae_sharp_gaussian": DVAESharpGaussian,
    "dvae_sharp_sharp": DVAESharpSharp,
    "rbm_kl": RBMKL,
    "gumbolt": GumBolt,
    "pwl": PWL,
    "bit_gibbs": BitGibbs,
    "vae": VAE,
    "free_energy": FreeEnergy,
    "mcem": MCEM,
    "aggressive": Aggressive,
    "semi_amortised": SemiAmortised,
    "likelihood": Likelihood,
    "em": EM,
    "contrastive_divergence": ContrastiveDivergence,
    "greedy": Greedy,
    "ordered_likelihood": OrderedLikelihood,
    "topic_posterior": TopicPosterior,
    "order_agnostic": OrderAgnostic,
}


def build(config: dict[str, Any], model: Model) -> Objective:
    """Build the objective of a cell's ``objective`` group around ``model``.

    Raises:
        UserError: For an unknown objective or key, an impossible value, or a model that the
            objective cannot train.
    """
    name = config["name"]
    if name not in OBJECTIVES:
        raise UserError(f"objective {name!r}: {nearest(name, OBJECTIVES)}")

    cls = OBJECTIVES[name]
    if not cls.trains(model):
        able = [k for k, c in OBJECTIVES.items() if c.trains(model)]
        # Perhaps the kind of model is right, and one of its settings is in the way: name that.
        setting = unlike_default(model, cls.trains)
        what = model.called + (f" with {setting}" if setting else "")
        raise UserError(f"objective {name} cannot train {what}; allowed: {', '.join(able)}")

    try:
        objective = cls(model, **settings_of(config))
    except TypeError as e:
        # Python's message begins with the name of the constructor, up to ") ".
        raise UserError(f"objective {name}: {str(e).split(') ')[-1]}") from None

    _refuse_left_out(name, objective, model)
    return objective


def _refuse_left_out(name: str, objective: Objective, model: Model) -> None:
    """Raise a UserError if the model's settings ask for noise that the objective does not draw."""
    # The names of the noise do not depend on the size of the batch, so one small one is enough.
    model_noise = model.dropout_noise(1, 1)
    left_out = set(model_noise) - set(objective.draws(1, 1)) if model_noise else set()
    if left_out:
        raise UserError(
            f"objective {name} trains {model.called} without dropout or noise on its "
            "input, which the model's settings ask for; allowed: these settings off, or another "
            "objective"
        )
