"""``vaebench reconstruct RUN < file``: examples through a trained posterior and back."""

from __future__ import annotations

import sys
from argparse import ArgumentParser, Namespace
from pathlib import Path
from typing import TYPE_CHECKING

from vaebench.errors import UserError
from vaebench.settings import options
from vaebench.verbs import add_option, generated, one_run, pictured, put

if TYPE_CHECKING:
    from torch import Tensor

    from vaebench.evaluation.generation import Decoding
    from vaebench.evaluation.trained_run import Trained

HELP = (
    "Read cases from standard input, one a line, and write what the model makes of their codes, "
    "one a line:\n"
    "documents as words, images as zeros and ones. Words that the model does not know are read as "
    "<unk>.\n"
    "With --test the cases are of the test set: images beside their originals in one grid, drawn "
    "to\n"
    "reconstructions.png unless --output says where; documents a line each, behind their "
    "originals and a tab.\n"
    "With --impute as well: a row for each image, itself, what is left of it, and a chain that "
    "fills in the missing\n"
    "pixels after 1, 2, 3, 5, 10 and 15 steps, drawn to imputations.png."
)

PICTURE = Path("reconstructions.png")
"""File that images of the test set are drawn to, unless ``--output`` names another."""

IMPUTED = Path("imputations.png")
"""The same for images whose missing pixels were filled in."""


def configure(parser: ArgumentParser) -> None:
    one_run.add_run(parser)
    test_help = "N cases of the test set, spread evenly over it"
    add_option(parser, "--test", options.TEST, metavar="N", help=test_help)
    code_help = "mean (default of documents) or sample (default of images) of q(z|x)"
    add_option(parser, "--code", options.CODE, metavar="CODE", help=code_help)
    path_help = "of documents: N codes from each to the next, both ends included"
    add_option(parser, "--path", options.PATH, metavar="N", help=path_help)
    impute_help = "of images, with --test: fill in a missing SHARE of the pixels, or a square"
    add_option(parser, "--impute", options.IMPUTE, metavar="SHARE", help=impute_help)
    generated.add_decoding(parser, "greedy")


def run(args: Namespace) -> int:
    share = _share(args)
    if args.test is not None:
        # With --impute a row of the picture has eight images: itself, what is left of it, and six
        # steps of the chain.
        pictured.check_room(
            f"--test {args.test}", (2 if share is None else 8) * args.test, args.output or PICTURE
        )
        if args.path is not None:
            raise UserError("--path: of documents from standard input, without --test")

    decoding = generated.decoding(args, "greedy")
    trained = generated.trained(args)
    if share is not None:
        generated.no_documents(trained, args, generated.OF_DOCUMENTS)
        _imputed(args, trained, share)
    elif trained.splits.tokens:
        _documents(args, trained, decoding(trained))
    else:
        generated.no_documents(trained, args, generated.OF_DOCUMENTS)
        _images(args, trained)
    return 0


def _share(args: Namespace) -> float | None:
    """Return what ``--impute`` asks for: a share of the pixels, 0 for a square, None for nothing.

    Raises UserError if the other options do not fit it.
    """
    if args.impute is None:
        return None
    if args.test is None or args.code is not None:
        raise UserError("--impute: of images of the test set, with --test N and without --code")

    if not pictured.is_picture(args.output or IMPUTED):
        raise UserError(
            f"--impute: draws a picture; --output {args.output}: write a name such as {IMPUTED}"
        )
    return 0.0 if args.impute == "square" else float(args.impute)


def _imputed(args: Namespace, trained: Trained, share: float) -> None:
    """Draw a row for each image: itself, what is left of it, the chain that fills in the rest."""
    from vaebench.estimators.imputation import missing
    from vaebench.evaluation import generation

    x = trained.test_cases(args.test)  # (n, d)
    kind = "random" if share else "square"
    missing_pixels = missing(kind, share, trained.splits.picture, len(x), args.seed).to(x.device)
    pictured.show_grid(
        generation.imputed_images(trained.model, x, missing_pixels, args.seed),
        trained,
        args.output or IMPUTED,
    )


def _images(args: Namespace, trained: Trained) -> None:
    from vaebench.evaluation import generation

    x = _cases(args, trained)
    again = generation.images_again(trained.model, x, args.seed, args.code == "mean")
    if args.test is None:
        pictured.show(again, trained, args.output)
    else:
        pictured.show_pairs(x, again, trained, args.output or PICTURE)


def _documents(args: Namespace, trained: Trained, decoding: Decoding) -> None:
    from vaebench.evaluation import generation
    from vaebench.evaluation.lines import written_documents

    x = _cases(args, trained)

    # Documents take the mean unless a sample is asked for; images take a sample (see ``_images``).
    z = generation.codes(trained.model, x, args.seed, args.code != "sample")
    if args.path is not None:
        z = generation.paths(z, args.path)
    documents = decoding.documents(trained.model, z, len(z), args.seed)
    put(written_documents(documents, trained.splits, None if args.test is None else x), args.output)


def _cases(args: Namespace, trained: Trained) -> Tensor:
    """Return the examples of standard input, or of the test set."""
    from vaebench.evaluation.lines import read

    return read(sys.stdin.buffer, trained) if args.test is None else trained.test_cases(args.test)
