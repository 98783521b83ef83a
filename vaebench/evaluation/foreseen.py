"""What a run can make, by its settings alone: before torch, its model and its data are loaded.

What would be refused later is refused here in the same words, as far as the settings tell.
"""

from __future__ import annotations

import contextlib
from collections.abc import Mapping
from typing import Any, Literal

from vaebench.data import DATA
from vaebench.data.kinds import Kind
from vaebench.errors import UserError
from vaebench.protocol.families import FAMILIES
from vaebench.settings.kinds import whole


def makes(config: Mapping[str, Any]) -> Literal["images", "documents"] | None:
    """Return what the model of a run draws; None for a model that is not known here.

    Raises UserError if the run is on documents as counts: nothing can be drawn for them.
    """
    model = FAMILIES.get(config["model"]["name"])
    if model is None:
        return None

    data = DATA.get(config["data"]["name"])
    if data is not None and data.kind is Kind.COUNTS:
        raise UserError(
            f"{data.name} has documents as counts; allowed: runs on images of zeros "
            "and ones, or on texts"
        )
    return "documents" if model.reads_documents else "images"


def check_moved(config: Mapping[str, Any], latents: int) -> None:
    """Refuse to move ``latents`` latents one by one if the model does not allow it.

    Raises UserError if the model's latents are not Gaussian, or if it has fewer.
    """
    name = config["model"]["name"]
    if FAMILIES[name].latent != "gaussian":
        raise UserError(f"model={name} has no Gaussian latents of images")
    # A model with several layers is refused once it is built, so the first of ``dims`` is enough.
    available = config["model"].get("latents") or next(
        iter(config["model"].get("dims") or ()), None
    )
    if available is not None and latents > available:
        raise UserError(f"{latents} latents to move: the model has {available}")


def check_cases(config: Mapping[str, Any], around: int | None, test: int | None) -> None:
    """Refuse test examples that the data do not have.

    Args:
        config: The settings of the run.
        around: The position of one test image.
        test: A number of test examples.

    Raises:
        UserError: If there are fewer; it says how many there are.
    """
    available = _test_cases(config)
    if available is None:
        return

    if around is not None and around >= available:
        raise UserError(f"image {around}: allowed: a whole number from 0 to {available - 1}")
    if test is not None:
        whole(1, available).check("--test", test, f"--test {test}")


def _test_cases(config: Mapping[str, Any]) -> int | None:
    """Return how many test examples the data of a run have.

    It is None if they would have to be read first.
    """
    cls = DATA.get(config["data"]["name"])
    if cls is None:
        return None

    # Settings that the data set refuses are refused when it is loaded, with the reason.
    with contextlib.suppress(UserError):
        return cls.of(config["data"]).sizes.get("test")
    return None
