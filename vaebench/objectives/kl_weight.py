"""The weight of the KL over the course of training.

Fixed (beta-VAE) or rising (Bowman et al. 2016).
"""

from __future__ import annotations

from torch import Tensor

from vaebench.errors import UserError
from vaebench.objectives.base import Batch, told
from vaebench.settings.kinds import is_number
from vaebench.settings.validate import positive

UNITS = ("epochs", "updates")
SLOPES = ("rest", "whole")


class KLWeight:
    """``final`` throughout where ``start`` is None, else a straight line from ``start``.

    The line is cut off at ``final``. It rises by (final - start) / ``warmup`` an epoch (or update,
    ``unit``) with the slope ``rest``, so that it arrives when ``warmup`` is over; by final /
    ``warmup`` with the slope ``whole``, and arrives earlier. It rises before an update uses it. An
    epoch is so many updates as cases / batch, fractions counted.
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
        self.slope = (final - (start or 0.0) * (slope == "rest")) / positive(
            "objective.kl_warmup", warmup
        )

    def at(self, batch: Batch) -> Tensor:
        """The weight in an update, ().

        ``batch`` tells the updates before it and the passes over the data with it.
        """
        passes = told(batch.passes)
        if self.start is None:
            return passes.new_full((), self.final)
        done = passes if self.unit == "epochs" else told(batch.update) + 1
        return (self.start + self.slope * done).clamp(max=self.final)
