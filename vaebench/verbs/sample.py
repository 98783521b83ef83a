"""``vaebench sample RUN``: examples that a trained model makes."""

from __future__ import annotations

from argparse import ArgumentParser, Namespace
from pathlib import Path
from typing import TYPE_CHECKING

from vaebench.errors import UserError
from vaebench.settings import options
from vaebench.verbs import add_option, generated, one_run, pictured, put, tell

if TYPE_CHECKING:
    from torch import Tensor

    from vaebench.evaluation.trained_run import Trained

HELP = (
    "Draw cases from a trained model: documents one a line, images as zeros and ones, or drawn to "
    "a file.\n"
    "A Boltzmann prior is sampled by 10,000 Gibbs sweeps.\n"
    "--traverse and --manifold show what single Gaussian latents stand for: images that differ in "
    "these alone,\n"
    "drawn with the same noise, in one grid."
)


def configure(parser: ArgumentParser) -> None:
    one_run.add_run(parser)
    add_option(parser, "--number", options.NUMBER, metavar="N", help="how many; default 10")
    traverse_help = "of images: a row for each of the N most active latents, from -3 to 3"
    add_option(parser, "--traverse", options.TRAVERSE, metavar="N", help=traverse_help)
    parser.add_argument(
        "--manifold",
        action="store_true",
        help="of images: the two most active latents, at quantiles of the prior",
    )
    add_option(
        parser, "--steps", options.STEPS, metavar="N", help="values of a moved latent; default 11"
    )
    around_help = "other latents as in the posterior mean of test image I; default: 0"
    add_option(parser, "--around", options.AROUND, metavar="I", help=around_help)
    generated.add_decoding(parser, "sample")


def run(args: Namespace) -> int:
    moved = args.traverse is not None or args.manifold
    steps = 11 if args.steps is None else args.steps
    number = 10 if args.number is None else args.number
    _check(args, moved, number)

    decoding = generated.decoding(args, "sample")
    trained = generated.trained(args)

    from vaebench.evaluation import generation
    from vaebench.evaluation.lines import written_documents

    if trained.splits.tokens:
        generated.no_images(trained, args, generated.OF_IMAGES)
        documents = generation.drawn(trained.model, number, args.seed, decoding(trained))
        put(written_documents(documents, trained.splits), args.output)
        return 0

    # Of OF_DOCUMENTS, "path" is an option of ``reconstruct`` alone.
    generated.no_documents(trained, args, ("how", "width", "longest"))
    if moved:
        output = args.output or Path("manifold.png" if args.manifold else "traversal.png")
        grid = _moved(args, trained, steps, means=pictured.is_picture(output))
        pictured.show_grid(grid, trained, output)
    else:
        pictured.show(
            generation.drawn_images(trained.model, number, args.seed), trained, args.output
        )
    return 0


def _check(args: Namespace, moved: bool, number: int) -> None:
    """Raise UserError if options do not fit together.

    It is also raised if there are more images than a picture holds.
    """
    if not moved:
        for option in ("steps", "around"):
            if getattr(args, option) is not None:
                raise UserError(f"--{option}: goes with --traverse or --manifold")
        pictured.check_room(f"--number {number}", number, args.output)
        return

    if args.traverse is not None and args.manifold:
        raise UserError("--traverse and --manifold: one of them at a time")
    if args.number is not None:
        raise UserError("--number: --traverse and --manifold draw as many images as --steps says")


def _moved(args: Namespace, trained: Trained, steps: int, means: bool) -> Tensor:
    """Return images (down, across, d) that differ in single latents, which stderr names."""
    from vaebench.evaluation import traversal

    latents = 2 if args.manifold else args.traverse
    moved = traversal.moved(
        trained.model,
        trained.test_cases(),
        latents,
        steps,
        args.seed,
        args.around,
        args.manifold,
        means,
    )

    named = ", ".join(f"{i} ({float(moved.variances[i]):.3g})" for i in moved.latents)
    order = "upwards, rightwards" if args.manifold else "row by row"
    tell([f"latents {order}, with the variance of their posterior mean: {named}"])
    return moved.images
