"""The weight of the KL during training: fixed (beta-VAE) or rising (Bowman et al. 2016)."""

from __future__ import annotations

from torch import Tensor

from vaebench.errors import UserError
from vaebench.objectives.base import Batch, told
from vaebench.settings.kinds import is_number
from vaebench.settings.validate import positive

UNITS = ("epochs", "updates")
SLOPES = ("rest", "whole")


class KLWeight:
    """A weight that is constant, or rises in a straight line from ``start`` to ``final``.

    It rises before an update uses it. An epoch is examples / batch updates, with the fraction.

    Args:
        final: The last weight; the only one if ``start`` is None.
        start: The first weight, or None.
        warmup: Length of the rise, in ``unit``.
        unit: ``epochs`` or ``updates``.
        slope: ``rest``: the weight rises by (final - start) / ``warmup`` in a unit, and arrives
            when ``warmup`` is over. ``whole``: it rises by final / ``warmup``, and arrives earlier.

    Raises:
        UserError: For a setting that is out of range.
    """

    def __init__(
        self, final: float, start: float | None, warmup: float, unit: str, slope: str
    ) -> None:
        if not is_number(final) or final < 0:
            raise UserError(
                f"objective.kl_weight={final!r}: must be a number from 0 (an autoencoder)"
            )
        self.final = float(final)

        if start is not None and (not is_number(start) or not 0 <= start <= final):
            raise UserError(
                f"objective.kl_start={start!r}: must be null or a number from 0 to "
                f"kl_weight ({final})"
            )

        if unit not in UNITS:
            raise UserError(f"objective.kl_unit={unit!r}: allowed: {', '.join(UNITS)}")
        if slope not in SLOPES:
            raise UserError(f"objective.kl_slope={slope!r}: allowed: {', '.join(SLOPES)}")

        self.start = start
        self.unit = unit
        # Rise in a unit. With ``whole`` the start is not subtracted.
        self.slope = (final - (start or 0.0) * (slope == "rest")) / positive(
            "objective.kl_warmup", warmup
        )

    def at(self, batch: Batch) -> Tensor:
        """Return the weight of the KL in the update of ``batch``, ()."""
        passes = told(batch.passes)

        if self.start is None:
            return passes.new_full((), self.final)

        # Both count the update that is about to be made: the weight rises before it is used.
        done = passes if self.unit == "epochs" else told(batch.update) + 1
        return (self.start + self.slope * done).clamp(max=self.final)
