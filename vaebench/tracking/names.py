"""Names of rows and columns, changed to what other programs allow."""

from __future__ import annotations

import re


def as_folder(text: str) -> str:
    """Return ``text`` as the name of one folder.

    Letters, digits, ``_``, ``.``, ``+``, ``=`` and ``-`` are kept; others become ``-``.
    """
    return re.sub(r"[^\w.+=-]+", "-", text).strip("-.") or "-"


def as_key(text: str) -> str:
    """Return ``text`` as the name of a metric of MLflow.

    Letters, digits, ``_``, ``-``, ``.``, ``/`` and space are kept; others become ``_``.
    """
    return re.sub(r"[^\w\-./ ]", "_", text)
