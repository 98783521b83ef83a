"""A strongly coupled posterior whose estimates mean something."""

from __future__ import annotations

from kit.boltzmann import boltzmann  # noqa: F401
