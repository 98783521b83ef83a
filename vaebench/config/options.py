"""Sections of a configuration, before any override.

They are those of the primary config, and the options chosen in their place. An option is one file,
``conf/<group>/<option>.yaml``. Cells share most of them, so each is read once.
"""

from __future__ import annotations

from functools import lru_cache
from pathlib import Path
from typing import Any, cast

from vaebench.config import catalogue
from vaebench.errors import UserError
from vaebench.settings.renamed import unknown


@lru_cache(maxsize=256)
def sections(choices: tuple[tuple[str, str], ...], conf: str) -> dict[str, Any]:
    """Return the primary config with the chosen options, (group, name) each, in place of its own.

    It is shared: it must not be changed.
    """
    return {
        **primary_sections(conf),
        **{group: section_of(group, name, conf) for group, name in choices},
    }


@lru_cache(maxsize=16)
def primary_sections(conf: str) -> dict[str, Any]:
    """Return what Hydra composes without a choice."""
    from hydra import compose, initialize_config_dir
    from hydra.errors import HydraException
    from omegaconf import OmegaConf

    try:
        with initialize_config_dir(conf, version_base="1.3"):
            return cast(dict[str, Any], OmegaConf.to_container(compose("cell")))
    except HydraException as e:
        raise UserError(f"cannot compose {conf}: {' '.join(str(e).split())}") from None


@lru_cache(maxsize=256)
def section_of(group: str, name: str, conf: str) -> dict[str, Any]:
    """Return the section of one option, as Hydra would compose it.

    The whole option is in one file, without a defaults list.
    """
    from omegaconf import OmegaConf
    from yaml import YAMLError

    path = Path(conf) / group / f"{name}.yaml"
    try:
        # OmegaConf reads 1e-4 as a number, which plain YAML does not.
        section = OmegaConf.to_container(OmegaConf.load(path))
    except (YAMLError, UnicodeDecodeError) as e:
        raise UserError(f"{path}: not valid YAML: {' '.join(str(e).split())}") from None

    # An option is read without the rest of the configuration, which an interpolation may refer to.
    if "${" in str(section):
        raise UserError(f"{path}: interpolations have no part here; write the values themselves")
    if not isinstance(section, dict) or "defaults" in section:
        raise UserError(
            f"{path}: expected the settings of {group}={name}, all in this file (no defaults list)"
        )
    return cast(dict[str, Any], section)


def known_option(where: str, group: str, value: str) -> str:
    """Return the name of an existing option.

    For any other, raise UserError that begins with ``where``.
    """
    name = value.strip()
    if name not in catalogue.options(group):
        raise UserError(where + unknown(group, name, catalogue.options(group)))
    return name
