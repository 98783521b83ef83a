"""Model families: sampling and log-densities, nothing of training.

``base`` has the kinds of models and what each kind offers. ``vaebench.protocol.families`` lists the
models and where each is defined.
"""

from __future__ import annotations

from collections.abc import Callable
from importlib import import_module
from inspect import Parameter, signature
from typing import Any

import torch
from torch import nn

from vaebench.config.cells import settings_of
from vaebench.data.info import DataInfo
from vaebench.data.kinds import Kind
from vaebench.errors import UserError, nearest
from vaebench.models.base import Model
from vaebench.nn.init import TEXT_KEYS, initialize
from vaebench.protocol.families import FAMILIES
from vaebench.rng import seeds
from vaebench.settings.kinds import shown


def model_class(name: str) -> type[Model]:
    """Return the class of a registered family. Raises UserError for an unknown name."""
    if name not in FAMILIES:
        raise UserError(f"model {name!r}: {nearest(name, FAMILIES)}")
    file, _, cls = FAMILIES[name].place.partition(".")
    return getattr(import_module(f"vaebench.models.{file}"), cls)


def build(config: dict[str, Any], info: DataInfo) -> Model:
    """Build the model of a cell's ``model`` group; its parameters are not yet initialised.

    Args:
        config: The group: ``name``, and the settings of conf/model/NAME.yaml.
        info: What is known of the data, such as ``splits.info``, or ``DataInfo(mean)`` for a tiny
            model.

    Raises:
        UserError: If the model or a key is unknown, or a value is refused.
    """
    cls = model_class(config["name"])
    # The group also says how parameters start. That is for ``start``, not for the constructor.
    settings = {
        k: v for k, v in settings_of(config).items() if k not in ("init", "init_scale", *TEXT_KEYS)
    }
    try:
        model = cls(info, **settings)
    except TypeError as e:
        # Python says "SBN.__init__() got an unexpected ..."; the user knows no constructors.
        raise UserError(f"model {config['name']}: {str(e).split(') ')[-1]}") from None

    model.settings = settings
    return model


def unlike_default(model: Model, wanted: Callable[[Model], bool]) -> str:
    """Find a setting that alone is the reason why a model is not ``wanted``.

    With the default of this setting, and all others as they are, the model would be.

    Returns:
        ``model.KEY=VALUE`` of the first such setting; empty if there is none.
    """
    for name, value in model.settings.items():
        default = _default(type(model), name)
        if default is Parameter.empty or value == default:
            continue

        # On the device "meta" a model has shapes but no values, so that building it costs nothing.
        try:
            with torch.device("meta"):
                with_default = type(model)(model.info, **{**model.settings, name: default})
        except UserError:  # the default does not go with the other settings
            continue

        if wanted(with_default):
            return f"model.{name}={shown(value)}"
    return ""


def _default(cls: type[Model], name: str) -> Any:
    """Return the default of a setting, from the class or the nearest base class that takes it.

    ``Parameter.empty``: it has no default.
    """
    # A constructor with ``**settings`` passes them on to that of its base class.
    for base in (base for base in cls.__mro__ if issubclass(base, Model)):
        parameters = signature(base).parameters
        if name in parameters:
            return parameters[name].default
    return Parameter.empty


def check_data(model: str, data: str, kind: Kind) -> None:
    """Refuse a data set whose examples are of a kind that the model does not take.

    Args:
        model: Name of the model.
        data: Name of the data set.
        kind: The kind of its examples.

    Raises:
        UserError: If the model does not take them.
    """
    takes = FAMILIES[model].takes
    if kind.seen in takes:
        return

    if kind is Kind.TOKENS:
        reason = f"documents, which model={model} cannot read"
    elif Kind.TOKENS in takes:
        reason = f"no documents, which model={model} needs"
    else:
        reason = f"{kind} for examples; model={model} takes {' or '.join(takes)}"

    fitting = ", ".join(name for name, facts in FAMILIES.items() if kind.seen in facts.takes)
    raise UserError(f"data={data} has {reason}; allowed with it: {fitting}")


def start(module: nn.Module, config: dict[str, Any], seed: int) -> None:
    """Initialise the parameters of ``module`` for one seed, in place.

    ``module`` is a model, or an objective with a model inside.
    """
    generator = torch.Generator().manual_seed(seeds.derive(seed, "init"))
    text = {key: config[key] for key in TEXT_KEYS if key in config}
    initialize(module, generator, config["init"], config["init_scale"], **text)
