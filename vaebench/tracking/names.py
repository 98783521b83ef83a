"""Names of rows and columns as other programs allow them."""

from __future__ import annotations

import re


def as_folder(text: str) -> str:
    """``text`` as the name of one folder: letters, digits, ``.``, ``+``, ``=`` and ``-``.

    Others become ``-``.
    """
    return re.sub(r"[^\w.+=-]+", "-", text).strip("-.") or "-"


def as_key(text: str) -> str:
    """``text`` as a metric of MLflow: letters, digits, ``_``, ``-``, ``.``, ``/`` and space.

    Others become ``_``.
    """
    return re.sub(r"[^\w\-./ ]", "_", text)
