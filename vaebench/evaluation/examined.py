"""The data on which a trained model is evaluated: its own, or others of the same kind and shape."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple, Protocol

from vaebench.data import DATA
from vaebench.data.kinds import Kind
from vaebench.data.splits import Splits
from vaebench.errors import UserError
from vaebench.protocol.signature import TRAINED_ON


class Examined(NamedTuple):
    """What a model is evaluated on.

    Attributes:
        splits: The data.
        config: The cell's configuration, as it signs numbers on these data.
        own: Whether the model was trained on them.
    """

    splits: Splits
    config: dict[str, Any]
    own: bool


def other_data(
    config: dict[str, Any], trained_on: Splits, settings: Mapping[str, Any], splits: Splits
) -> Examined:
    """Return other data for a model to be evaluated on; its own if both are the same.

    Args:
        config: The configuration of the model's cell.
        trained_on: The data on which it was trained.
        settings: The ``data`` settings of the other data.
        splits: The other data, loaded.

    Raises:
        UserError: If the model cannot read them, in one line.
    """
    if splits.hash == trained_on.hash:
        return Examined(trained_on, config, own=True)
    _refuse_unlike(trained_on, splits)

    name = f"{trained_on.name}@{trained_on.hash[:8]}"
    # ``cases`` limited the training examples of the model's own data; other data are whole.
    train = {**config["train"], "cases": None}
    return Examined(
        splits, {**config, "data": dict(settings), "train": train, TRAINED_ON: name}, own=False
    )


def check_kind(own: Mapping[str, Any], other: Mapping[str, Any]) -> None:
    """Refuse other data for a model, as far as possible without reading either data set.

    Args:
        own: The ``data`` settings of its training.
        other: The ``data`` settings of the other data.

    Raises:
        UserError: If their kinds or shapes differ.
    """
    # A data set that is not registered must be read first: then ``other_data`` refuses it.
    classes = [DATA.get(settings["name"]) for settings in (own, other)]
    if all(classes):
        _refuse_kind(
            *(cls.of(settings) for cls, settings in zip(classes, (own, other), strict=True) if cls)
        )


class _Known(Protocol):
    """What a loader knows of a data set before it is read, and its splits afterwards.

    An empty shape is an unknown one.
    """

    @property
    def name(self) -> str: ...
    @property
    def kind(self) -> Kind: ...
    @property
    def shape(self) -> tuple[int, ...]: ...


def _refuse_kind(own: _Known, other: _Known) -> None:
    """Refuse other data whose kind or shape differs from that of the model's own data."""
    setting = f"data={other.name}"
    if own.kind.seen is not other.kind.seen:
        refused, allowed = (
            "documents" if d.kind is Kind.TOKENS else str(d.kind.seen) for d in (other, own)
        )
        raise UserError(f"{setting}: {refused} for examples; allowed: {allowed}, as in {own.name}")

    # The width of token numbers is that of the longest document, which a model does not depend on.
    if own.kind is not Kind.TOKENS and own.shape and other.shape and own.shape != other.shape:
        refused, allowed = (" x ".join(map(str, d.shape)) for d in (other, own))
        raise UserError(f"{setting}: examples of {refused}; allowed: {allowed}, as in {own.name}")


def _refuse_unlike(own: Splits, other: Splits) -> None:
    """Refuse other data that the model cannot read, once both are loaded."""
    _refuse_kind(own, other)
    if own.vocabulary != other.vocabulary:
        raise UserError(
            f"data={other.name}: another vocabulary ({len(other.vocabulary):,} entries) than that "
            f"of {own.name} ({len(own.vocabulary):,}); allowed: data with the same training "
            "documents"
        )
