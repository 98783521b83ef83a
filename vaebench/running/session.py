"""One cell, some seeds, one process: data, training, evaluation, results.

Here the rooms of data, training, evaluation and results come together.
"""

from __future__ import annotations

import contextlib
import logging
import os
import time
from collections.abc import Iterator, Mapping
from functools import cached_property, partial
from pathlib import Path
from typing import Any

import numpy as np
import torch

from vaebench import kernels
from vaebench.config.cells import Cell
from vaebench.data.splits import with_cases
from vaebench.errors import Interrupted, UserError
from vaebench.evaluation.each_case import each_case
from vaebench.evaluation.evaluate import cases, places
from vaebench.evaluation.examined import Examined, other_data
from vaebench.results.status import Status
from vaebench.results.store import Store
from vaebench.running import loaded
from vaebench.running.device import pick_device
from vaebench.running.examination import Examination
from vaebench.running.machine import keep_freed_memory
from vaebench.running.records import Records
from vaebench.tracking.base import Subject
from vaebench.tracking.follower import Follower
from vaebench.tracking.pictures import Pictures, pictures
from vaebench.training import resume
from vaebench.training.bookkeeping import write_curve
from vaebench.training.build import Trio, batches_of, in_updates, put, trio
from vaebench.training.choice import Choice
from vaebench.training.loop import train
from vaebench.training.programs import NotCompiled
from vaebench.training.run_state import RunState, TrainingStatus, evaluated_checkpoint
from vaebench.work.events import Advanced, Say, ShouldStop, Spared, never, training
from vaebench.work.steps import Work

log = logging.getLogger(__name__)


class Session:
    """Trains and evaluates the seeds of a cell, whose locks are held.

    Something wrong with one seed alone (a damaged checkpoint, other data in its folder) is kept in
    ``failures``, seed -> reason, and the other seeds go on.

    Args:
        cell: The cell.
        store: The store with its runs.
        seeds: The seeds, whose locks are held.
        force: Throw existing runs away.
        earlier: Each seed's earlier result, as it was read under its lock. None: it is read here.

    Raises:
        UserError: If the device does not exist.
        DataError: If the data cannot be had.
    """

    def __init__(
        self,
        cell: Cell,
        store: Store,
        seeds: list[int],
        force: bool = False,
        earlier: Mapping[int, Mapping[str, Any]] | None = None,
    ) -> None:
        self.cell = cell
        self.store = store
        self.config = cell.config

        self.device = pick_device(cell.run.device)
        torch.set_num_threads(cell.run.threads)
        keep_freed_memory()

        self.splits = with_cases(loaded.load(self.config["data"]), cell.train.cases)

        # By default a run is evaluated on the data of its own training; see ``examine``.
        self.examined = Examined(self.splits, self.config, own=True)

        # The budget in updates, and how many updates a unit of ``train.unit`` has.
        batches = batches_of(self.config, self.splits)
        self.updates = in_updates(self.config, batches, "updates")
        self.per_unit = self.updates // cell.train.updates

        self.asked = seeds
        self.force = force
        if earlier is None:
            earlier = {seed: store.read_result(cell.key, seed) or {} for seed in seeds}
        self.records = Records(cell, store, self.splits, self.device, self.updates, earlier)

        self.who = (
            f"{cell.row} / {cell.column} seed{'s' if len(seeds) > 1 else ''} "
            f"{','.join(map(str, seeds))}"
        )
        self.failures: dict[int, str] = {}
        self.seeds: list[RunState] = []

        # A seed that cannot be prepared does not stop the others.
        for seed in seeds:
            try:
                self.seeds.append(resume.prepare(store, cell, seed, self.splits.hash, force))
            except Exception as error:
                self.failures[seed] = reason_of(error, store.run_dir(cell.key, seed))
        self.followers = {
            state.seed: Follower(cell.run.track, self._subject(state)) for state in self.seeds
        }

    @cached_property
    def trio(self) -> Trio:
        """Model, objective and optimiser.

        They are built once, for the training and the evaluation of all seeds. The model has the
        parameters that were last put into it.
        """
        return trio(self.config, self.splits.info)

    # ------------------------------------------------------------------------------------- the work

    def run(self, say: Say, should_stop: ShouldStop, evaluate: bool = True) -> list[dict[str, Any]]:
        """Train what is not trained, evaluate what is not evaluated.

        Returns the results, in the order of the seeds. A seed that fails has status 'failed', one
        that ``should_stop`` left unfinished 'interrupted', both with a reason; the others are not
        affected. Without ``evaluate`` a trained seed has status 'trained', and what the training
        itself measured. Nothing is raised.
        """
        with self._at_work():
            return self._run(say, should_stop, evaluate)

    def _run(self, say: Say, should_stop: ShouldStop, evaluated: bool) -> list[dict[str, Any]]:
        # Why the session was stopped; empty while it was not.
        stopped = ""
        try:
            self._train(say, should_stop)
        except Interrupted as error:
            stopped = str(error)

        ready = {state.seed: state for state in self.seeds}
        results = []

        # After a stop the remaining seeds are not evaluated. A diverged one is finished even so,
        # because its result needs no evaluation.
        for seed in self.asked:
            if should_stop() and not stopped:
                stopped = "stopped before its evaluation; what is trained is saved"

            if seed in self.failures:
                results.append(_unfinished(Status.FAILED, self.failures[seed]))
            elif stopped and ready[seed].status is not TrainingStatus.DIVERGED:
                results.append(_unfinished(Status.INTERRUPTED, stopped))
            else:
                try:
                    finish = self._finish if evaluated else self._leave
                    results.append(finish(ready[seed], say, should_stop))
                except Interrupted as error:
                    stopped = str(error)
                    results.append(_unfinished(Status.INTERRUPTED, stopped))
                except Exception as error:
                    self._fail(ready[seed], error)
                    results.append(_unfinished(Status.FAILED, self.failures[seed]))
        return results

    @contextlib.contextmanager
    def _at_work(self) -> Iterator[None]:
        """Switch kernels off for the engine 'plain', and close the trackers at the end."""
        try:
            with kernels.use(self.cell.run.engine != "plain"):
                yield
        finally:
            for follower in self.followers.values():
                follower.close()

    def _train(self, say: Say, should_stop: ShouldStop) -> None:
        """Train the seeds that are not trained to the end of the budget. Raises Interrupted."""
        limit = self.updates

        # A new run may continue from one that differs only in its budget.
        for state in self.seeds:
            if not state.update and not self.force:
                try:
                    resume.extend(state, self.store, self.cell, self.splits.hash, self.trio)
                except Exception as error:
                    self._fail(state, error)

        # Updates that are made already, or never will be, do not count as progress.
        sound = [state for state in self.seeds if state.seed not in self.failures]
        unfinished = [state for state in sound if state.running and state.update < limit]
        already_made = sum(self._units(state.update) for state in unfinished)
        say(Spared(self._units(limit) * (len(self.asked) - len(unfinished)) + already_made))

        try:
            groups = self._groups(unfinished) if unfinished else []
        except Exception as error:  # the settings of an old run can no longer be built
            groups = []
            for state in unfinished:
                self._fail(state, error)
                say(Spared(self._units(limit) - self._units(state.update)))

        for group in groups:
            self._train_together(group, say, should_stop)

    def _groups(self, seeds: list[RunState]) -> list[list[RunState]]:
        """Choose the engine of every seed, and which seeds train together.

        Those at the same update and with the same engine do, unless the objective trains seeds one
        by one.
        """
        self._choose_engines(seeds)
        if self.trio.objective.alone:
            return [[state] for state in seeds]

        keys = sorted({(state.update, state.engine) for state in seeds})
        return [[state for state in seeds if (state.update, state.engine) == key] for key in keys]

    def _train_together(self, group: list[RunState], say: Say, should_stop: ShouldStop) -> None:
        """Train seeds at the same update to the end of the budget.

        If this fails, all of them have failed. Raises Interrupted when ``should_stop`` returns
        True.
        """
        limit = self.updates
        first = group[0].update
        done = first
        began = time.monotonic()
        say(training(self.who, first, limit, {}, None))

        def report(update: int, shown: dict[str, float]) -> None:
            nonlocal done
            # In units of the budget: a bar counts epochs if the budget does.
            say(Advanced((self._units(update) - self._units(done)) * len(group)))
            rate = (update - first) / max(time.monotonic() - began, 1e-9)
            say(training(self.who, update, limit, shown, rate))
            done = update
            self._follow(group)

        self.records.packs.update({state.seed: len(group) for state in group})
        try:
            train(
                self.config,
                self.splits,
                group,
                self.device,
                group[0].engine,
                report,
                should_stop,
                self.trio,
            )
        except Interrupted:
            raise
        except Exception as error:
            # A Ctrl-C in the terminal reaches the compiler too, and looks like a failure of it.
            if isinstance(error, NotCompiled) and should_stop():
                raise Interrupted(
                    "stopped while the step was compiled; what was saved before is kept"
                ) from None
            for state in group:
                self._fail(state, error)

        self._follow(group)

        # Units that the group will not make: it stopped early, diverged or failed.
        say(Spared((self._units(limit) - self._units(done)) * len(group)))

    def _follow(self, seeds: list[RunState]) -> None:
        """Tell the trackers the new points of some seeds."""
        for state in seeds:
            self.followers[state.seed].curve(state.curve)

    def _subject(self, state: RunState) -> Subject:
        cell = self.cell
        beside = self.store.root.parent
        return Subject(
            cell.table,
            cell.row,
            cell.column,
            state.seed,
            cell.key,
            state.folder,
            beside,
            self.config,
            state.update,
        )

    def _choose_engines(self, seeds: list[RunState]) -> None:
        """Choose the engine of every seed."""
        _, objective, optimiser = self.trio
        asked = self.cell.run.engine
        choice = Choice(objective, optimiser, self.splits.kind, asked, self.updates, self.device)
        self.records.engine = choice.engine
        if choice.lack:
            log.warning("no kernel: %s; the engine is %s", choice.lack, choice.engine)

        # With ``run.engine=auto`` a run that goes on keeps its engine if it can. With another one
        # its numbers are the same in law only.
        for state in seeds:
            began_with = choice.began(state.engine, state.update)
            state.engine = choice.goes_on(began_with)
            if state.engine != began_with:
                log.warning(
                    "%s: began with the engine %s, goes on with %s: the same in "
                    "law, not bit for bit",
                    *(state.folder, began_with, state.engine),
                )

    def _units(self, updates: int) -> int:
        """Return how many whole units of the budget (see ``train.unit``) so many updates are."""
        return updates // self.per_unit

    def check_trained(self) -> None:
        """Raise UserError if a seed has no checkpoint, or a damaged one."""
        if self.failures:
            raise UserError(next(iter(self.failures.values())))
        for state in self.seeds:
            if not state.update:
                raise UserError(f"{state.folder}: nothing is trained there yet")
            evaluated_checkpoint(state, self.cell.train.select)

    def examine(self, settings: Mapping[str, Any]) -> None:
        """Evaluate on other data from now on, given by their ``data`` settings.

        Raises UserError if the model cannot read them, DataError if they cannot be had.
        """
        self.examined = other_data(self.config, self.splits, settings, loaded.load(settings))

    def evaluate_only(self, say: Say, should_stop: ShouldStop = never) -> list[dict[str, Any]]:
        """Evaluate the checkpoints as they are.

        A run that is not trained to its end can still be continued afterwards. Raises UserError as
        ``check_trained`` does. Raises Interrupted when ``should_stop`` returns True; what was
        computed by then is kept.
        """
        self.check_trained()
        with self._at_work():
            return [self._finish(state, say, should_stop) for state in self.seeds]

    def each_case(
        self, should_stop: ShouldStop = never
    ) -> tuple[np.ndarray, dict[str, np.ndarray]]:
        """Return what is known of each example of the only seed's evaluation.

        The examples' positions in their split, (n,), come first, then name -> (n,). Raises
        UserError as ``check_trained`` does, and Interrupted when ``should_stop`` returns True.
        """
        self.check_trained()
        (state,) = self.seeds
        settings = self.cell.eval
        model = self.trio.model.to(self.device)
        put(model, evaluated_checkpoint(state, self.cell.train.select))

        x = cases(self.examined.splits, settings).to(self.device)
        with self._at_work(), Work(should_stop):
            return places(self.examined.splits, settings), each_case(model, x, settings, state.seed)

    def _leave(self, state: RunState, say: Say, should_stop: ShouldStop) -> dict[str, Any]:
        """Return the result of a seed that is trained now and evaluated some other time."""
        if state.status is TrainingStatus.DIVERGED:
            return self._finish(state, say, should_stop)

        write_curve(state)
        return self.records.write(state, Status.TRAINED, self.records.of_training(state))

    def _finish(self, state: RunState, say: Say, should_stop: ShouldStop) -> dict[str, Any]:
        """Return the result of a seed whose training has ended or is left as it is.

        It is evaluated, unless it has diverged.
        """
        follower = self.followers[state.seed]
        if state.status is TrainingStatus.DIVERGED:
            follower.ended(Status.DIVERGED, state.update, [], Pictures)
            return self.records.write(state, Status.DIVERGED, [])

        # The process may have been killed between the last checkpoint and its curve.
        write_curve(state)
        status = self.records.status(state)
        evaluated = evaluated_checkpoint(state, self.cell.train.select)
        model = self.trio.model.to(self.device)
        put(model, evaluated)

        examination = Examination(self.cell, self.examined, self.splits, state, model, evaluated)
        measures, seconds, failure = examination.measured(self.who, say, should_stop)

        # Measures of other data are only added to the result. The status and the trackers of the
        # run follow its own evaluation.
        if not self.examined.own:
            examination.forget()
            return self.records.add(state, measures)

        # The result is written before the trackers are told and before a failure is raised.
        measures += self.records.of_training(state)
        result = self.records.write(state, status, measures, seconds)
        examination.forget()
        follower.curve(state.curve)
        follower.ended(
            status,
            evaluated.meta["update"],
            measures,
            partial(pictures, model, self.splits, state.seed),
        )
        if failure is not None:
            raise failure
        return result

    def _fail(self, state: RunState, error: Exception) -> None:
        """Record in a seed's result that it failed; the others go on."""
        self.failures[state.seed] = reason_of(error, state.folder)
        self.records.fail(state, self.failures[state.seed])


def _unfinished(status: Status, reason: str) -> dict[str, Any]:
    return {"status": status, "reason": reason, "seconds": 0.0, "measures": []}


def reason_of(e: Exception, where: Path | str = "") -> str:
    """Return an error as one line; ``where`` completes a system error that names no file.

    With VAEBENCH_DEBUG=1 the error is raised instead.
    """
    if os.environ.get("VAEBENCH_DEBUG", "0") not in ("", "0"):
        raise e
    if isinstance(e, OSError) and e.strerror:
        return f"{e.strerror}: {e.filename or where}".rstrip(": ")

    text = " ".join(str(e).split()) or type(e).__name__
    return text if isinstance(e, UserError) else f"{type(e).__name__}: {text}"
