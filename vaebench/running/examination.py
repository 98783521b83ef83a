"""The evaluation of one trained seed, which can be stopped and continued later."""

from __future__ import annotations

import logging
from functools import partial
from typing import Any

from vaebench import kernels
from vaebench.config.cells import Cell
from vaebench.data.splits import Splits
from vaebench.errors import Interrupted
from vaebench.evaluation.evaluate import cases, evaluate
from vaebench.evaluation.examined import Examined
from vaebench.evaluation.partial import Partial
from vaebench.evaluation.posterior_means import write_means
from vaebench.models.base import Model
from vaebench.results.stats import Measure
from vaebench.running.machine import describe, versions
from vaebench.training import clock
from vaebench.training.checkpoint import Checkpoint, checksum
from vaebench.training.run_state import RunState
from vaebench.work.events import Say, ShouldStop, Working
from vaebench.work.steps import Kept, Work

log = logging.getLogger(__name__)


class Examination:
    """The evaluation of a seed.

    Args:
        cell: The cell.
        examined: On which data it is evaluated.
        splits: The data of its training.
        state: Where the seed stands.
        model: The model on its device, with the parameters of ``found`` in it.
        found: The checkpoint that is evaluated.
    """

    def __init__(
        self,
        cell: Cell,
        examined: Examined,
        splits: Splits,
        state: RunState,
        model: Model,
        found: Checkpoint,
    ) -> None:
        self.cell = cell
        self.examined = examined
        self.splits = splits
        self.state = state
        self.model = model
        self.found = found
        self._begun = Partial(state.folder, self._depends_on())

    def measured(
        self, who: str, say: Say, should_stop: ShouldStop
    ) -> tuple[list[Measure], float, Exception | None]:
        """Evaluate the seed; an evaluation that was interrupted goes on from where it stopped.

        Args:
            who: What is evaluated, in words.
            say: Called with how far the evaluation is.
            should_stop: Called meanwhile.

        Returns:
            The measures, the seconds that they took in all, and the error if the posterior means
            could not be written.

        Raises:
            Interrupted: If ``should_stop`` returned True; what was computed by then is kept.
        """
        state = self.state
        examined = self.examined
        device = self.model.mean.device
        x = cases(examined.splits, self.cell.eval).to(device)

        # ``kept`` has what loops of an interrupted evaluation have computed, ``spent`` its seconds.
        kept, spent = self._begun.read()

        def tell(text: str) -> None:
            say(Working(who, f"evaluating seed {state.seed}{text and ': ' + text}"))

        tell("")
        failure = None
        timer = partial(clock.seconds, device)
        try:
            with Work(
                should_stop, keep=self._keep, kept=kept, spent=spent, clock=timer, tell=tell
            ) as work:
                measures = evaluate(
                    self.model, x, examined.config, examined.splits.hash, state.seed
                )

                # Posterior means are a file beside the result: without it the measures still count.
                try:
                    self._write_means()
                except Interrupted:
                    raise
                except Exception as error:  # raised later, once the measures are written
                    failure = error
        except Interrupted as error:
            raise Interrupted(
                f"the evaluation of seed {state.seed} {error}; what it has found is kept"
            ) from None
        return measures, work.seconds, failure

    def forget(self) -> None:
        """Remove what an interrupted evaluation has left, once the measures are written."""
        self._begun.remove()

    def _write_means(self) -> None:
        if self.examined.own:
            update = self.found.meta["update"]
            write_means(self.state.folder, self.cell.config, self.splits, self.model, update)

    def _keep(self, loops: list[Kept], seconds: float) -> None:
        try:
            self._begun.write(loops, seconds)
        except OSError as e:  # the evaluation itself does not depend on it
            log.warning(
                "%s: what the evaluation has found is not kept: %s",
                self._begun.path,
                e.strerror or e,
            )

    def _depends_on(self) -> dict[str, Any]:
        """Return all that the numbers of the evaluation depend on, rounding included."""
        config = self.cell.config
        return {
            "eval": config["eval"],
            "model": config["model"],
            "data": self.examined.splits.hash,
            "seed": self.state.seed,
            "parameters": checksum({**self.found.params, **self.found.state}),
            "device": describe(self.model.mean.device, self.cell.run.threads),
            "kernels": kernels.allowed(),
            "versions": versions(),
        }
