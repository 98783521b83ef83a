"""The settings of a cell, all at their defaults."""

from __future__ import annotations

import pytest
import yaml

from vaebench.config import catalogue


@pytest.fixture
def cell():
    """The defaults of a cell, read without Hydra."""
    content = yaml.safe_load((catalogue.conf_dir() / "cell.yaml").read_text())
    for choice in content.pop("defaults"):
        if isinstance(choice, dict):
            ((group, name),) = choice.items()
            content[group] = catalogue.load_yaml(group, name)
    return content
