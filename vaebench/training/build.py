"""Make a cell's settings into a model, an objective, an optimiser, batches and first parameters."""

from __future__ import annotations

from typing import Any, NamedTuple

import torch

from vaebench import models, objectives, optim
from vaebench.data.info import DataInfo
from vaebench.data.splits import Splits
from vaebench.errors import UserError
from vaebench.models import refinement
from vaebench.models.base import Model
from vaebench.nn.tokens import lengths_of
from vaebench.objectives.base import Objective
from vaebench.optim import Optimiser
from vaebench.settings.records import TrainSettings
from vaebench.training import checkpoint
from vaebench.training.batches import Batches, check_order
from vaebench.training.checkpoint import Checkpoint, Tensors
from vaebench.training.run_state import RunState


class Trio(NamedTuple):
    """The model of a cell, the objective around it, and the optimiser."""

    model: Model
    objective: Objective
    optimiser: Optimiser

    @property
    def budget_free(self) -> bool:
        """Whether an update is the same however many updates there will be."""
        return self.objective.budget_free and self.optimiser.budget_free


def trio(config: dict[str, Any], info: DataInfo) -> Trio:
    """Build the three of a cell.

    Args:
        config: The cell's settings.
        info: Facts about its data.

    Raises:
        UserError: For settings or data that they do not take.
    """
    model = models.build(config["model"], info)
    objective = objectives.build(config["objective"], model)
    refinement.attach(model, config)
    optimiser = optim.build(config["optim"], objective.largest_rates(config["train"]["batch"]))
    return Trio(model, objective, optimiser)


def load_model(config: dict[str, Any], info: DataInfo, found: Checkpoint) -> Model:
    """Build the model of a cell with the parameters and buffers of the checkpoint ``found``.

    Raises:
        UserError: As ``put`` does.
    """
    model = models.build(config["model"], info)
    put(model, found)
    refinement.attach(model, config)
    return model


def put(model: Model, found: Checkpoint) -> None:
    """Give a model the parameters and buffers of a checkpoint, there named ``model.*``.

    Raises:
        UserError: For a checkpoint of another model; this one then stays as it is.
    """
    # Tensors of the objective alone, such as a baseline's, have other names and are left out.
    tensors = {**found.params, **found.state}
    of_model = {
        k.removeprefix("model."): value for k, value in tensors.items() if k.startswith("model.")
    }

    # Everything is checked before anything is loaded. Buffers may be missing.
    missing = {name for name, _ in model.named_parameters()} - set(of_model)
    if missing:
        raise UserError(
            f"the checkpoint does not fit its settings: it lacks {', '.join(sorted(missing))}"
        )

    wrong = [
        name
        for name, value in model.state_dict().items()
        if name in of_model and value.shape != of_model[name].shape
    ]
    if wrong:
        raise UserError(
            f"the checkpoint does not fit its settings: other sizes of {', '.join(wrong)}"
        )
    model.load_state_dict(of_model, strict=False)


def batches_of(config: dict[str, Any], splits: Splits) -> Batches:
    """Return the batches of a cell's training.

    Raises:
        UserError: For an order that the data do not have.
    """
    cfg = config["train"]
    check_order(cfg["order"], splits.name, splits.tokens)
    lengths = lengths_of(torch.from_numpy(splits.train)) if splits.tokens else None
    return Batches(len(splits.train), cfg["batch"], cfg["order"], lengths)


def in_updates(config: dict[str, Any], batches: Batches, key: str) -> int:
    """Return ``train.updates`` or ``train.valid_every`` in updates, whatever ``train.unit`` is."""
    return _updates(config["train"][key], TrainSettings.of(config["train"]).unit, batches)


def _updates(number: int, unit: str, batches: Batches) -> int:
    return number * (batches.per_epoch if unit == "epochs" else 1)


def too_short(config: dict[str, Any], batches: Batches) -> str:
    """Warn of a budget that ends before every part of a model is trained.

    This concerns objectives that train a model part by part.

    Returns:
        One line for the user; empty if the budget is long enough.
    """
    # Asked of the class: nothing need be built.
    objective = objectives.OBJECTIVES[config["objective"]["name"]]
    first = objective.first_parts(config["objective"], config["model"])
    if first is None:
        return ""

    # Both in updates, since their units may differ.
    if _updates(first.length, first.unit, batches) < in_updates(config, batches, "updates"):
        return ""

    unit = TrainSettings.of(config["train"]).unit
    given = config["objective"][first.setting.rpartition(".")[2]]
    return (
        f"{first.setting}={given}: the first {first.length} {first.unit} train a part of the "
        f"model, and there are {config['train']['updates']} {unit} (train.updates), so the rest "
        "of it stays as it begins"
    )


def start_or_load(
    state: RunState, objective: Objective, optimiser: Optimiser, config: dict[str, Any], cases: int
) -> tuple[Tensors, Tensors, Tensors]:
    """Return parameters and the states of objective and optimiser, to begin with or to go on.

    They come from the checkpoint, or are new if the seed is at update 0.

    Raises:
        UserError: If the checkpoint was reduced after the end of its run, or is damaged.
    """
    if state.shed:
        raise UserError(
            f"{state.last}: of a run that has ended, without the state to go on with; vaebench "
            "run --force starts anew"
        )

    if state.update:
        # The parameters are in the order of a new run: the rounding of sums depends on it.
        saved = checkpoint.read(state.last)
        try:
            return (
                {name: saved.params[name] for name, _ in objective.named_parameters()},
                saved.state,
                saved.opt,
            )
        except KeyError as e:
            raise checkpoint.damaged(state.last, f"no {e.args[0]} in it") from None

    # A new run: its first parameters are a function of the seed.
    models.start(objective, config["model"], state.seed)
    params = {name: value.detach().clone() for name, value in objective.named_parameters()}
    return params, objective.state(state.seed, cases), optimiser.state(params)
