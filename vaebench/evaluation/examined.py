"""The data that a trained model is evaluated on: its own, or others of the same kind and shape."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

from vaebench.data.splits import Splits
from vaebench.errors import UserError
from vaebench.protocol.signature import TRAINED_ON


class Examined(NamedTuple):
    """What a model is evaluated on.

    Attributes:
        splits: The data.
        config: The configuration of the cell as numbers of these data are signed.
        own: Whether the model was trained on them.
    """

    splits: Splits
    config: dict[str, Any]
    own: bool


def other_data(config: dict[str, Any], trained_on: Splits, settings: Mapping[str, Any], splits: Splits) -> Examined:
    """Other data for a model; its own if they turn out to be the same.

    Args:
        config: The configuration of the model's cell.
        trained_on: The data it was trained on.
        settings: The ``data`` settings of the others.
        splits: The others, loaded.

    Raises:
        UserError: If the model cannot read them, in one line.
    """
    if splits.hash == trained_on.hash:
        return Examined(trained_on, config, own=True)
    _refuse_unlike(trained_on, splits)
    name = f"{trained_on.name}@{trained_on.hash[:8]}"
    train = {**config["train"], "cases": None}  # a part of the training cases that were its own
    return Examined(splits, {**config, "data": dict(settings), "train": train, TRAINED_ON: name}, own=False)


def _refuse_unlike(own: Splits, other: Splits) -> None:
    asked = f"data={other.name}"
    if own.kind.seen is not other.kind.seen:
        found, wanted = ("documents" if s.tokens else str(s.kind.seen) for s in (other, own))
        raise UserError(f"{asked}: {found} for examples; allowed: {wanted}, as in {own.name}")
    if own.vocabulary != other.vocabulary:
        raise UserError(
            f"{asked}: another vocabulary ({len(other.vocabulary):,} entries) than that of {own.name} "
            f"({len(own.vocabulary):,}); allowed: data with the same training documents"
        )
    if not own.tokens and own.shape != other.shape:
        sizes = (" x ".join(map(str, splits.shape)) for splits in (other, own))
        raise UserError("{}: examples of {}; allowed: {}, as in {}".format(asked, *sizes, own.name))
