"""What ``sample`` and ``reconstruct`` share.

They decode documents in the same ways, and refuse options that do not fit a run.
"""

from __future__ import annotations

from argparse import ArgumentParser, Namespace
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from vaebench.errors import UserError
from vaebench.evaluation import foreseen
from vaebench.results.store import read_note
from vaebench.settings import options
from vaebench.verbs import add_option
from vaebench.verbs.one_run import folder_of
from vaebench.verbs.pictured import is_picture

if TYPE_CHECKING:
    from vaebench.evaluation.generation import Decoding
    from vaebench.evaluation.trained_run import Trained

OF_IMAGES = ("traverse", "manifold", "steps", "around", "impute")
OF_DOCUMENTS = ("path", "how", "width", "longest")
"""Options for one kind of data only: images, documents."""


def add_decoding(parser: ArgumentParser, how: str) -> None:
    """Add the options that both verbs have."""
    add_option(
        parser,
        "--seed",
        options.SEED,
        default=0,
        metavar="S",
        help="of all that is drawn; default 0",
    )
    parser.add_argument(
        "--how", metavar="HOW", help=f"words by sample, greedy or beam; default {how}"
    )
    add_option(parser, "--width", options.WIDTH, metavar="N", help="of the beam; default 5")
    add_option(
        parser,
        "--longest",
        options.LONGEST,
        metavar="N",
        help="words at most; default: the longest document's",
    )
    parser.add_argument(
        "--output",
        type=Path,
        metavar="FILE",
        help="write there; images may be drawn (png, svg, pdf)",
    )


def decoding(args: Namespace, how: str) -> Callable[[Trained], Decoding]:
    """Return a function that says how the documents of a trained run are decoded.

    The options are checked at once, before anything is loaded. If ``longest`` is not given, it is
    that of the data.
    """
    from vaebench.evaluation.generation import Decoding

    words = args.how or how
    width = 5 if args.width is None else args.width

    # Made only for its checks. The length of the data is not known before they are loaded.
    Decoding(words, width, 1 if args.longest is None else args.longest)
    return lambda trained: Decoding(words, width, args.longest or trained.splits.shape[0])


def no_documents(trained: Trained, args: Namespace, options: Iterable[str]) -> None:
    """Raise UserError if an option of documents is given and the model makes images."""
    _none_given(trained.splits.name, args, options, "documents")


def no_images(trained: Trained, args: Namespace, options: Iterable[str]) -> None:
    """Raise UserError if an option of images is given and the model makes documents."""
    _none_given(trained.splits.name, args, options, "images")


def _none_given(data: str, args: Namespace, options: Iterable[str], of: str) -> None:
    for option in options:
        value = getattr(args, option, None)  # the two verbs have different options
        if value is not None and value is not False:
            raise UserError(f"--{option}: for {of}, and {data} has none")


def trained(args: Namespace) -> Trained:
    """Load the run that the arguments name.

    Raises UserError if there is no such run, it is not trained, or the options do not fit it.
    """
    folder = folder_of(args)
    _refuse_by_settings(args, read_note(folder)[0]["config"])

    from vaebench.evaluation import trained_run as runs

    return runs.load(folder)


def _refuse_by_settings(args: Namespace, config: Mapping[str, Any]) -> None:
    """Refuse options that do not fit a run, as far as its settings tell.

    This is done before torch, the model and the data are loaded.

    Raises:
        UserError: If an option does not fit; the line names it.
    """
    # What cannot be foreseen is checked when the run is loaded.
    kind_made = foreseen.makes(config)
    if kind_made is None:
        return

    if kind_made == "documents":
        _none_given(config["data"]["name"], args, OF_IMAGES, "images")
        _refuse_picture(args.output)
    else:
        _none_given(config["data"]["name"], args, OF_DOCUMENTS, "documents")

    # A manifold moves two latents.
    manifold = getattr(args, "manifold", False)
    traverse = 2 if manifold else getattr(args, "traverse", None)
    if traverse is not None:
        foreseen.check_moved(config, traverse)
    foreseen.check_cases(config, getattr(args, "around", None), getattr(args, "test", None))


def _refuse_picture(output: Path | None) -> None:
    """Refuse a file name of a picture for documents. Raises UserError."""
    if is_picture(output):
        raise UserError(
            f"--output {output}: documents are text; write a name such as "
            f"{output.with_suffix('.txt')}"
        )
