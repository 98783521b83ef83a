"""A trained run from Python: its settings, its numbers, its model, and what the model makes."""

from __future__ import annotations

import copy
from collections.abc import Sequence
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from vaebench.api import words
from vaebench.config import catalogue
from vaebench.errors import UserError
from vaebench.results import result_file, run_files, shipped_models
from vaebench.results.current import is_current
from vaebench.results.status import Status
from vaebench.results.store import read_note
from vaebench.settings import options
from vaebench.settings.defaults import results_root

if TYPE_CHECKING:
    import numpy as np
    import pandas as pd
    from torch import Tensor, nn

    from vaebench.data.splits import Splits
    from vaebench.evaluation.trained_run import Trained
    from vaebench.models.base import Model
    from vaebench.results.stats import Measure


def load_run(folder: Path | str, *entry: str) -> Run:
    """Return the run in a folder ``results/runs/NAME/seed-0``, finished or not.

    ``Reproduction.runs()`` lists the folders. ``load_run("nvil_mnist", "fDARN 200")`` is a trained
    model that vaebench ships, by its table and row.

    Args:
        folder: The folder, or the name of a table.
        entry: The row, and the column, of a shipped model of that table; none if the table has only
            one.

    Raises:
        UserError: If the folder is not a run's or is damaged, or if there is no such shipped model.
    """
    names = [words.name("folder", folder, Path), *(words.name("entry", part) for part in entry)]

    # Without an entry, a folder that has the name of a table wins over the shipped model.
    path = Path(folder).expanduser()
    tables = catalogue.options("table")
    if entry or (names[0] in tables and not path.exists()):
        path = shipped_models.of_entry(names)
    else:
        shipped_models.check_table(Path(), names, tables)

    note, seed = read_note(path)
    return Run(path, note, seed)


class Run:
    """One cell at one seed. Files are read, and results computed, when they are first asked for.

    Attributes:
        folder: Folder of its files.
        config: The whole configuration: data, model, objective, optim, train, eval, run.
        row: Row of the table for which it was made.
        column: Column of the table for which it was made.
        seed: Its seed.
    """

    def __init__(self, folder: Path, note: dict[str, Any], seed: int) -> None:
        self.folder = folder
        self.config: dict[str, Any] = copy.deepcopy(note["config"])
        self.row: str = note["row"]
        self.column: str = note["column"]
        self.seed = seed
        self._note = note

    def __repr__(self) -> str:
        return f"<run {self.folder}: {self.row} / {self.column}, seed {self.seed}, {self.status}>"

    @property
    def result(self) -> dict[str, Any]:
        """The content of ``result.json``; empty if there is none yet."""
        return result_file.read(self.folder / run_files.RESULT) or {}

    @property
    def status(self) -> str:
        """The state of the run: done, trained (and not evaluated), diverged, failed or partial."""
        return str(self.result.get("status", Status.PARTIAL))

    @property
    def measures(self) -> list[Measure]:
        """What was measured: each with its name, value, unit, error and protocol."""
        return result_file.readable_measures(self.result)

    @property
    def curve(self) -> pd.DataFrame:
        """The training curve, with a line for each validation; bounds are positive nats."""
        from vaebench.report.plots.curve_files import whole

        return whole(self.folder / run_files.CURVE)

    @property
    def model(self) -> Model:
        """The model with the selected parameters, on the CPU, without gradients.

        Raises UserError if nothing is trained.
        """
        return self._trained.model

    @property
    def data(self) -> Splits:
        """The data that the model was trained on.

        Raises UserError if they have changed since, DataError if they cannot be had.
        """
        return self._trained.splits

    @cached_property
    def _trained(self) -> Trained:
        from vaebench.evaluation import trained_run

        return trained_run.load(self.folder)

    def evaluate(self, *overrides: str, **settings: Any) -> list[Measure]:
        """Evaluate the model again with other settings, as ``vaebench eval`` does.

        The measures are kept in the run. A shipped model is copied to your runs first, and this
        object refers to the copy from then on.

        Args:
            overrides: Settings as the command takes them, such as "eval=iw", "run.device=cuda" or
                "data.mirror=DIR"; "data=NAME" evaluates on other data of the same kind and shape;
                "run.results=DIR" is where a shipped model is copied to.
            settings: Settings of ``eval``, such as ``iw_samples=4000``.

        Returns:
            The measures that were taken with these settings; those of other settings stay in
            ``measures``.

        Raises:
            UserError: If a setting is refused, nothing is trained yet, or another process has the
                run.
        """
        from vaebench.running.machine import threads_kept
        from vaebench.running.reevaluate import in_own_runs, opened, stored
        from vaebench.work.events import nobody

        evaluation = stored(
            self.folder, self._note, self.seed, [*overrides, *words.overrides("eval", settings)]
        )

        # A shipped model is never changed: its copy among the user's own runs is evaluated.
        root = results_root(dict(text.split("=", 1) for text in overrides).get("run.results"))
        own_run = in_own_runs(evaluation, root)
        self.folder = own_run.folder

        with threads_kept(), opened(own_run) as session:
            session.evaluate_only(nobody)
            examined = session.examined

        # ``measures`` also has those of earlier evaluations; return those of this one.
        if examined.own:
            return [m for m in self.measures if is_current(own_run.cell, m)]

        # Numbers of other data are named by the data and the hash of what was read.
        data = f"|data:{examined.splits.name}@{examined.splits.hash[:8]}|"
        return [m for m in self.measures if m.signature.of_other_data and data in m.signature]

    def sample(self, n: int = 10, *, seed: int = 0) -> np.ndarray | list[str]:
        """Draw examples from the model.

        Args:
            n: Number of examples.
            seed: Seed of all that is drawn.

        Returns:
            Images (n, d), uint8 of 0 and 1; or n texts, if the model is one of documents.
        """
        from vaebench.evaluation import generation

        n = options.NUMBER.check("n", n)
        seed = options.SEED.check("seed", seed)

        # Documents are drawn up to the length of those that the model was trained on.
        if self.data.tokens:
            decoding = generation.Decoding(longest=self.data.shape[0])
            return self._texts(generation.drawn(self.model, n, seed, decoding))
        return _bits(generation.drawn_images(self.model, n, seed))

    def reconstruct(
        self, x: np.ndarray | Tensor | Sequence[str], *, seed: int = 0
    ) -> np.ndarray | list[str]:
        """Pass examples through the posterior and back.

        Args:
            x: Images (n, d) of 0 and 1, such as ``run.data.test[:5]``; documents as texts, or
                (n, d) token numbers.
            seed: Seed of all that is drawn.

        Returns:
            For each image one drawn from p(x | z), with z ~ q(z | x), (n, d) uint8. For each
            document the text that greedy search finds at the posterior's mean.

        Raises:
            UserError: If ``x`` has another shape or kind.
        """
        import torch

        from vaebench.estimators.weights import cases_of
        from vaebench.evaluation import generation

        seed = options.SEED.check("seed", seed)
        if self.data.tokens:
            if isinstance(x, Sequence) and all(isinstance(text, str) for text in x):
                tokens = generation.tokens_of(x, self.data.vocabulary)
            else:
                tokens = torch.as_tensor(x).long()
            z = generation.codes(self.model, cases_of(self.model, tokens), seed, mean=True)
            decoding = generation.Decoding(how="greedy", longest=self.data.shape[0])
            return self._texts(decoding.documents(self.model, z, len(z), seed))

        # The encoder of a model of bits would take grey levels too, without an error.
        images = cases_of(self.model, torch.as_tensor(x)).to(self.model.mean.dtype)
        if not ((images == 0) | (images == 1)).all():
            raise UserError("images to reconstruct: expected zeros and ones alone")
        return _bits(generation.images_again(self.model, images, seed))

    def export(self, path: Path | str | None = None) -> nn.Module:
        """Return the trained model by itself, as a ``torch.nn.Module`` of your own.

        With ``path`` its settings and state are written too.

        Args:
            path: File for the settings and the ``state_dict``, plain values and tensors that
                ``torch.load(path, weights_only=True)`` reads without vaebench; ``vb.load_model``
                makes the model of them. None: no file.

        Returns:
            A copy of the model whose parameters take gradients.

        Raises:
            UserError: If nothing is trained yet, or the file cannot be written.
        """
        if path is not None:
            from vaebench.evaluation import exported

            exported.write(Path(path), self._trained, self.folder)
        return copy.deepcopy(self.model).requires_grad_(True)

    def export_programs(self, folder: Path | str) -> dict[str, Path]:
        """Write functions of the trained model as programs that run without vaebench.

        Each is a file NAME.pt2 of ``torch.export``: ``torch.export.load(file).module()`` is a
        ``torch.nn.Module`` with the trained parameters, for batches of any size. A refined
        posterior (SA-VAE) is not among them: the encoder returns where its refinement begins.

        Args:
            folder: Folder for the files; it is created if need be.

        Returns:
            Name -> file: ``decoder``; for models with latents ``encoder``; for belief nets
            ``sample``.

        Raises:
            UserError: If nothing is trained yet, the model has no such programs, or a
                file cannot be written.
        """
        from vaebench.evaluation import programs

        return programs.write(self.model, programs.examples(self._trained), Path(folder))

    def _texts(self, documents: Sequence[Any]) -> list[str]:
        from vaebench.data.text.tokens import text_of

        return [text_of(document.words, self.data.vocabulary) for document in documents]


def _bits(x: Tensor) -> np.ndarray:
    import torch

    return x.to(torch.uint8).cpu().numpy()
