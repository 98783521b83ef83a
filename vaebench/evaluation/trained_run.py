"""A trained run as it is evaluated: its model, with the selected parameters, and its data."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from vaebench import data
from vaebench.config.cells import run_key
from vaebench.data.examples import every_nth, fixed
from vaebench.data.splits import Splits
from vaebench.errors import UserError
from vaebench.models.base import Model
from vaebench.results.lock import holder_now
from vaebench.results.store import read_note
from vaebench.settings.kinds import whole
from vaebench.training.build import load_model
from vaebench.training.run_state import evaluated_checkpoint, progress_of


@dataclass(frozen=True)
class Trained:
    """A trained model, with the data it was trained on.

    ``model`` is on the CPU and has no gradients; ``config`` is the cell's configuration; ``update``
    is the number of updates behind the parameters.
    """

    model: Model
    splits: Splits
    config: dict[str, Any]
    update: int

    def test_cases(self, number: int | None = None) -> Tensor:
        """Return test examples for the model to read, (n, d).

        Args:
            number: How many, spread as evenly as those of ``eval.points``; None: all.

        Raises:
            UserError: If there are fewer.
        """
        examples = fixed(self.splits, "test")
        if number is not None:
            whole(1, len(examples)).check("--test", number, f"--test {number}")

        # Token numbers stay whole numbers; all other examples take the model's dtype.
        chosen = torch.from_numpy(every_nth(examples, number))
        return chosen.long() if self.splits.tokens else chosen.to(self.model.mean.dtype)


def load(folder: Path) -> Trained:
    """Load the run in ``folder`` (``.../seed-<n>``), finished or not.

    Raises UserError if nothing is trained there yet, if it is damaged, or if its data have changed;
    DataError if the data cannot be had.
    """
    note, number = read_note(folder)
    config = note["config"]
    trained_on = note["data_hash"]
    # A run's name is made of its settings, so a folder that was renamed or edited does not fit.
    if run_key(config) != folder.resolve().parent.name:
        raise UserError(f"{folder}: its settings do not fit its name; was it moved, or changed?")

    state = progress_of(folder, number)
    if not state.update:
        raise UserError(f"{folder}: nothing is trained there yet")

    splits = data.load(config["data"])
    if splits.hash != trained_on:
        raise UserError(
            f"{folder}: trained on other data ({trained_on[:8]}, now {splits.hash[:8]})"
        )

    try:
        evaluated = evaluated_checkpoint(state, config["train"]["select"])
    except UserError:
        # A process that trains the run writes two checkpoints, one after the other. Between the two
        # they do not fit together.
        holder = holder_now(folder)
        if holder is None:
            raise
        raise UserError(
            f"{folder}: {holder} works on this run, and its checkpoints do not fit together "
            "yet; try again later"
        ) from None

    # The evaluated checkpoint may be the best one, of an earlier update than the last one.
    model = load_model(config, splits.info, evaluated).requires_grad_(False)
    return Trained(model, splits, config, int(evaluated.meta["update"]))
