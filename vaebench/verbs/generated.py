"""What ``sample`` and ``reconstruct`` share: the run, how documents are read off, cases in and out as lines."""

from __future__ import annotations

import sys
from argparse import ArgumentParser, Namespace
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import TYPE_CHECKING

from vaebench.config import catalogue
from vaebench.errors import UserError
from vaebench.results import shipped_models
from vaebench.rng.seeds import LARGEST_SEED
from vaebench.verbs import results_root, write

if TYPE_CHECKING:
    from torch import Tensor

    from vaebench.evaluation.generation import Decoding
    from vaebench.evaluation.trained_run import Trained
    from vaebench.models.text_generation import Document


def add_run(parser: ArgumentParser) -> None:
    """The run, and where runs are."""
    parser.add_argument(
        "run",
        nargs="+",
        metavar="RUN",
        help="a run's directory, or NAME/seed-0 as `vaebench ls runs` has it; or TABLE ROW of a shipped model; "
        "run.results=DIR",
    )


def add_decoding(parser: ArgumentParser, how: str) -> None:
    """Options of both verbs."""
    parser.add_argument("--seed", type=int, default=0, metavar="S", help="of all that is drawn; default 0")
    parser.add_argument("--how", metavar="HOW", help=f"words by sample, greedy or beam; default {how}")
    parser.add_argument("--width", type=int, metavar="N", help="of the beam; default 5")
    parser.add_argument("--longest", type=int, metavar="N", help="words at most; default: the longest document's")
    parser.add_argument("--output", type=Path, metavar="FILE", help="write there; images may be drawn (png, svg, pdf)")


def check_number(option: str, value: int, least: int = 1, most: int | None = None) -> None:
    """Raises UserError for a number below ``least`` or above ``most``."""
    if value < least or (most is not None and value > most):
        upto = "" if most is None else f" to {most:,}"
        raise UserError(f"{option} {value}: allowed: a whole number from {least}{upto}")


def decoding(args: Namespace, how: str) -> Callable[[Trained], Decoding]:
    """How documents are read off, checked before anything is loaded; ``longest`` is that of the data if not given."""
    from vaebench.evaluation.generation import Decoding

    check_number("--seed", args.seed, 0, LARGEST_SEED)
    words, width = args.how or how, 5 if args.width is None else args.width
    Decoding(words, width, 1 if args.longest is None else args.longest)
    return lambda trained: Decoding(words, width, args.longest or trained.splits.shape[0])


def no_documents(trained: Trained, args: Namespace, options: Iterable[str]) -> None:
    """Raises UserError for an option of documents where the model makes images."""
    _none_given(trained, args, options, "documents")


def no_images(trained: Trained, args: Namespace, options: Iterable[str]) -> None:
    """Raises UserError for an option of images where the model makes documents."""
    _none_given(trained, args, options, "images")


def _none_given(trained: Trained, args: Namespace, options: Iterable[str], of: str) -> None:
    for option in options:
        given = getattr(args, option)
        if given is not None and given is not False:
            raise UserError(f"--{option}: for {of}, and {trained.splits.name} has none")


def of_test_set(trained: Trained, number: int | None = None) -> Tensor:
    """The test cases, or ``number`` of them, spread as evenly as those of ``eval.points``, (n, d), for a model to read.

    Raises UserError where there are fewer.
    """
    import torch

    from vaebench.data.examples import fixed, spread

    cases = fixed(trained.splits, "test")
    if number is not None:
        check_number("--test", number, most=len(cases))
    chosen = torch.from_numpy(spread(cases, number))
    return chosen.long() if trained.splits.tokens else chosen.to(trained.model.mean.dtype)


def trained(args: Namespace) -> Trained:
    """The run that the arguments name. Raises UserError unless it is one, and trained."""
    from vaebench.evaluation import trained_run as runs

    return runs.load(folder_of(args))


def folder_of(args: Namespace) -> Path:
    """The folder of the run that the arguments name. Raises UserError unless there is one."""
    names = [a for a in args.run if "=" not in a]
    given = dict(a.split("=", 1) for a in args.run if "=" in a)
    if set(given) - {"run.results"}:
        raise UserError(
            f"{next(iter(set(given) - {'run.results'}))}: a trained run has its settings; allowed: run.results"
        )
    tables = catalogue.options("table")
    if len(names) != 1 and not (names and names[0] in tables):
        raise UserError(f"{len(names)} runs given; allowed: one")
    folders = shipped_models.chosen(results_root(given.get("run.results")), names, tables)
    if len(folders) > 1:
        seeds = ", ".join(f.name for f in folders)
        raise UserError(f"{names[0]} has several seeds ({seeds}); name one, as {names[0]}/{folders[0].name}")
    return folders[0]


def show_documents(found: list[Document], trained: Trained, output: Path | None, of: Tensor | None = None) -> None:
    """One document a line; an empty one is an empty line.

    ``of``: the documents (n, d) of which these were made, to stand before each of them and a tab.
    """
    from vaebench.data.text.tokens import words_of

    texts = [" ".join(words_of(d.words, trained.splits.vocabulary)) for d in found]
    if of is not None:
        before = [" ".join(words_of(row, trained.splits.vocabulary)) for row in of.tolist()]
        texts = [f"{original}\t{text}" for original, text in zip(before, texts, strict=True)]
    put("".join(f"{text}\n" for text in texts), output)


def put(text: str, output: Path | None) -> None:
    """Write a text to standard output, or to a file."""
    if output is None:
        sys.stdout.write(text)
    else:
        write(output, text)
