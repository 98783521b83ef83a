"""Earlier names of tables and options.

An earlier name is refused with a line that says the present one.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import Any

from vaebench.errors import nearest

RENAMED: dict[str, dict[str, str]] = {
    "objective": {
        "dvaepp": "dvae_pp",
        "dvaes": "dvae_sharp",
        "dvaes_gaussian": "dvae_sharp_gaussian",
        "dvaess": "dvae_sharp_sharp",
    },
    "table": {
        "dvaepp_rbm": "dvae_pp_rbm",
        "dvaepp_smoothing": "dvae_pp_smoothing",
        "dvaess_context": "dvae_sharp_sharp_context",
        "dvaess_gibbs": "dvae_sharp_sharp_gibbs",
        "dvaess_main": "dvae_sharp_sharp_main",
        "dvaess_mcmc": "dvae_sharp_sharp_mcmc",
        "dvaess_toy": "dvae_sharp_sharp_toy",
    },
}
"""Config group -> earlier name -> present name."""


def unknown(group: str, name: str, known: Collection[str]) -> str:
    """Return the line for a name that is not among the ``known`` ones of its group.

    >>> unknown("objective", "dvaess", ["dvae_sharp_sharp"])
    "objective 'dvaess' is called 'dvae_sharp_sharp' now"
    """
    present_name = RENAMED.get(group, {}).get(name)
    if present_name in known:
        return f"{group} {name!r} is called {present_name!r} now"
    return f"unknown {group} {name!r}: {nearest(name, known)}"


def with_present_names(
    config: dict[str, Any], known: Mapping[str, Collection[str]]
) -> dict[str, Any]:
    """Return a stored configuration with the present names of its options.

    ``known`` has the options of each group.
    """
    renamed = dict(config)
    for group, names in RENAMED.items():
        section = config.get(group)
        if not isinstance(section, dict):
            continue
        present_name = names.get(str(section.get("name")))
        if present_name in known.get(group, ()):
            renamed[group] = {**section, "name": present_name}
    return renamed
