"""The parts of a run: prepared data, a model to train, a model that was exported."""

from __future__ import annotations

import pickle
from pathlib import Path
from typing import TYPE_CHECKING, Any

from vaebench.api import words
from vaebench.config import compose
from vaebench.errors import UserError

if TYPE_CHECKING:
    from torch import nn

    from vaebench.data.info import DataInfo
    from vaebench.data.splits import Splits


def load_data(name: str, **settings: Any) -> Splits:
    """Return the train, validation and test examples of a data set.

    They are fetched and prepared if need be.

    Args:
        name: A name that ``vaebench ls data`` shows.
        settings: Settings of conf/data/NAME.yaml, such as ``held_out=100`` or ``mirror="folder"``.

    Returns:
        ``Splits`` with ``train``, ``valid``, ``test``, arrays (n, d), and what is known of them.

    Raises:
        UserError: If the name or a setting is refused.
        DataError: A UserError, if a file is missing, truncated or altered.
    """
    from vaebench import data

    return data.load(compose.section("data", name, words.overrides("data", settings)))


def build_model(name: str, data: Splits, *, seed: int = 0, **settings: Any) -> nn.Module:
    """Build a model for some data, with the parameters that training with this seed begins with.

    Args:
        name: A name that ``vaebench ls models`` shows.
        data: Splits from ``load_data``; the training mean enters the model.
        seed: Seed of the initial parameters.
        settings: Settings of conf/model/NAME.yaml, such as ``dims=[200]``.

    Returns:
        A ``torch.nn.Module``; ``vaebench.models`` says what it offers.

    Raises:
        UserError: If the name or a setting is refused, or the model cannot read such data.
    """
    from vaebench import models

    config = compose.section("model", name, words.overrides("model", settings))
    models.check_data(name, data.name, data.kind)
    model = models.build(config, data.info)
    models.start(model, config, seed)
    return model


def load_model(path: Path | str) -> nn.Module:
    """Load the model of a file that ``Run.export`` wrote, without its data or its run.

    Returns:
        A ``torch.nn.Module`` on the CPU, whose parameters take gradients.

    Raises:
        UserError: If the file cannot be read, or was not written by ``Run.export``.
    """
    import torch

    from vaebench import models
    from vaebench.evaluation.exported import FORMAT
    from vaebench.models import refinement

    try:
        content = torch.load(path, map_location="cpu", weights_only=True)
    except OSError as e:
        raise UserError(f"{path}: cannot be read: {e.strerror or e}") from None
    except (pickle.UnpicklingError, RuntimeError, EOFError, ValueError, KeyError):
        raise UserError(f"{path}: not a model that vaebench exported") from None

    # ``torch.load`` reads other files of torch as well, which lack some of these keys.
    if not isinstance(content, dict) or not {"format", "model", "state_dict"} <= set(content):
        raise UserError(f"{path}: not a model that vaebench exported")
    if content["format"] != FORMAT:
        raise UserError(
            f"{path}: written in format {content['format']} by vaebench {content.get('vaebench')}"
        )

    # What the model was told about its data is in the file, so it can be built without them.
    state = content["state_dict"]
    model = models.build(content["model"], _info_of(content))
    try:
        model.load_state_dict(state)
    except RuntimeError as e:
        raise UserError(
            f"{path}: its state does not fit its settings: {' '.join(str(e).split())}"
        ) from None

    # SA-VAE refines its posterior by settings that are no parameters of the module.
    refinement.restore(model, content.get("refinement"))
    return model


def _info_of(content: dict[str, Any]) -> DataInfo:
    """Return what the model of an exported file was told about its data.

    Older files do not say of which kind the data are: then it is the first kind that the model
    takes.
    """
    from vaebench.data.info import DataInfo
    from vaebench.data.kinds import Kind
    from vaebench.protocol.families import family

    # The mean of the training data is part of the model's state. The shape of documents is unknown
    # to a model.
    data = content.get("data", {})
    kind = Kind(data.get("kind", family(content).takes[0]))
    shape = () if kind is Kind.TOKENS else tuple(data.get("shape", ()))
    return DataInfo(content["state_dict"]["mean"], kind, shape)
