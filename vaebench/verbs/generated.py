"""What ``sample`` and ``reconstruct`` share: the run, how documents are read off, cases in and out as lines."""

from __future__ import annotations

import contextlib
from argparse import ArgumentParser, Namespace
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from vaebench.config import catalogue
from vaebench.data import DATA
from vaebench.data.kinds import Kind
from vaebench.errors import UserError
from vaebench.protocol.families import FAMILIES
from vaebench.results import shipped_models
from vaebench.results.store import read_note
from vaebench.settings import options
from vaebench.settings.defaults import results_root
from vaebench.settings.kinds import whole
from vaebench.verbs import add_option, put
from vaebench.verbs.pictured import is_picture

if TYPE_CHECKING:
    from torch import Tensor

    from vaebench.evaluation.generation import Decoding
    from vaebench.evaluation.trained_run import Trained
    from vaebench.models.text_generation import Document

OF_IMAGES = ("traverse", "manifold", "steps", "around", "impute")
OF_DOCUMENTS = ("path", "how", "width", "longest")
"""Options for cases of one kind alone."""


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
    add_option(parser, "--seed", options.SEED, default=0, metavar="S", help="of all that is drawn; default 0")
    parser.add_argument("--how", metavar="HOW", help=f"words by sample, greedy or beam; default {how}")
    add_option(parser, "--width", options.WIDTH, metavar="N", help="of the beam; default 5")
    add_option(parser, "--longest", options.LONGEST, metavar="N", help="words at most; default: the longest document's")
    parser.add_argument("--output", type=Path, metavar="FILE", help="write there; images may be drawn (png, svg, pdf)")


def decoding(args: Namespace, how: str) -> Callable[[Trained], Decoding]:
    """How documents are read off, checked before anything is loaded; ``longest`` is that of the data if not given."""
    from vaebench.evaluation.generation import Decoding

    words = args.how or how
    width = 5 if args.width is None else args.width
    Decoding(words, width, 1 if args.longest is None else args.longest)
    return lambda trained: Decoding(words, width, args.longest or trained.splits.shape[0])


def no_documents(trained: Trained, args: Namespace, options: Iterable[str]) -> None:
    """Raises UserError for an option of documents where the model makes images."""
    _none_given(trained.splits.name, args, options, "documents")


def no_images(trained: Trained, args: Namespace, options: Iterable[str]) -> None:
    """Raises UserError for an option of images where the model makes documents."""
    _none_given(trained.splits.name, args, options, "images")


def _none_given(data: str, args: Namespace, options: Iterable[str], of: str) -> None:
    for option in options:
        given = getattr(args, option, None)
        if given is not None and given is not False:
            raise UserError(f"--{option}: for {of}, and {data} has none")


def of_test_set(trained: Trained, number: int | None = None) -> Tensor:
    """The test cases, or ``number`` of them, spread as evenly as those of ``eval.points``, (n, d), for a model to read.

    Raises UserError where there are fewer.
    """
    import torch

    from vaebench.data.examples import every_nth, fixed

    cases = fixed(trained.splits, "test")
    if number is not None:
        whole(1, len(cases)).check("--test", number, f"--test {number}")
    chosen = torch.from_numpy(every_nth(cases, number))
    return chosen.long() if trained.splits.tokens else chosen.to(trained.model.mean.dtype)


def trained(args: Namespace) -> Trained:
    """The run that the arguments name. Raises UserError unless it is one, trained, and one for these options."""
    folder = folder_of(args)
    _refuse_by_settings(args, read_note(folder)[0]["config"])

    from vaebench.evaluation import trained_run as runs

    return runs.load(folder)


def _refuse_by_settings(args: Namespace, config: Mapping[str, Any]) -> None:
    """Refuse options that do not fit a run, as far as its settings tell: before torch, its model and its data are read.

    Raises:
        UserError: Naming the option.
    """
    model = FAMILIES.get(config["model"]["name"])
    if model is None:
        return
    data = DATA.get(config["data"]["name"])
    if data is not None and data.kind is Kind.COUNTS:
        raise UserError(f"{data.name} has documents as counts; allowed: runs on images of zeros and ones, or on texts")
    unfit = OF_IMAGES if model.reads_documents else OF_DOCUMENTS
    kind = "images" if model.reads_documents else "documents"
    _none_given(str(config["data"]["name"]), args, (o for o in unfit if hasattr(args, o)), kind)
    if model.reads_documents:
        _refuse_picture(args.output)

    if getattr(args, "traverse", None) is not None or getattr(args, "manifold", False):
        if model.latent != "gaussian":
            raise UserError(f"{model.place.rpartition('.')[2]} has no Gaussian latents of images")
        wanted = 2 if args.manifold else args.traverse
        latents = config["model"].get("latents") or next(iter(config["model"].get("dims") or ()), None)
        if latents is not None and wanted > latents:
            raise UserError(f"{wanted} latents to move: the model has {latents}")

    cases = _test_cases(config)
    if cases is not None and (getattr(args, "around", None) or 0) >= cases:
        raise UserError(f"image {args.around}: allowed: a whole number from 0 to {cases - 1}")
    if cases is not None and getattr(args, "test", None) is not None:
        whole(1, cases).check("--test", args.test, f"--test {args.test}")


def _refuse_picture(output: Path | None) -> None:
    """Refuse a picture's name for documents. Raises UserError."""
    if is_picture(output):
        raise UserError(f"--output {output}: documents are text; write a name such as {output.with_suffix('.txt')}")


def _test_cases(config: Mapping[str, Any]) -> int | None:
    """How many test cases the data of a run have; None if that is not known without reading them."""
    cls = DATA.get(config["data"]["name"])
    if cls is None:
        return None
    with contextlib.suppress(UserError):
        return cls.of(config["data"]).sizes.get("test")
    return None


def folder_of(args: Namespace) -> Path:
    """The folder of the run that the arguments name. Raises UserError unless there is one."""
    names, settings = shipped_models.names_and_settings(args.run)
    given = dict(setting.split("=", 1) for setting in settings)
    if set(given) - {"run.results"}:
        raise UserError(
            f"{next(iter(set(given) - {'run.results'}))}: a trained run has its settings; allowed: run.results"
        )

    tables = catalogue.options("table")
    root = results_root(given.get("run.results"))
    shipped_models.check_table(root, names, tables)
    if len(names) != 1 and not (names and names[0] in tables):
        raise UserError(f"{len(names)} runs given; allowed: one")
    folders = shipped_models.chosen(root, names, tables)
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
