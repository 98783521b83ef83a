"""The site of some shipped results."""

from __future__ import annotations

import pytest

from vaebench.cli import main


@pytest.fixture(scope="session")
def folder(tmp_path_factory):
    """The site of the shipped results of four tables; of the last one nothing has been run."""
    out = tmp_path_factory.mktemp("site")
    tables = "table=nvil_recipe,lagging_synthetic,dvae_sharp_sharp_toy,lagging_yelp"

    assert main(["site", tables, "--from", "reference", "--output", str(out)]) == 0
    return out
