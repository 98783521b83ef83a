"""The command ``vaebench``: verbs, errors, exit codes.

It finds the verb, builds the parser of that verb alone, and turns errors into lines and exit codes:
0 done, 1 something failed or differs, 2 usage or configuration, 130 interrupted. Results go to
stdout, everything else to stderr. A verb is a module ``vaebench/verbs/<verb>.py`` with ``HELP``,
``configure(parser)`` and ``run(args) -> int``; nothing heavy is imported until a verb runs.
"""

from __future__ import annotations

import argparse
import contextlib
import errno
import importlib
import os
import sys
from collections.abc import Callable, Iterator, Sequence
from typing import Any, NoReturn

from vaebench import __version__
from vaebench.errors import Interrupted, UserError, likely, nearest
from vaebench.verbs import streams

VERBS: dict[str, tuple[str, tuple[str, ...]]] = {
    "run": (
        "train and evaluate the cells of a table; what is done already is skipped",
        (
            "run table=nvil_mnist preset=quick",
            'run table=nvil_mnist --only "row=SBN 200" --seeds 0-4 run.jobs=2',
        ),
    ),
    "ls": (
        "list tables, data, models, objectives, runs or presets",
        ("ls", "ls models", "ls runs"),
    ),
    "show": (
        "show a table: rows, recipe, published numbers and ledger",
        ("show table=nvil_mnist",),
    ),
    "eval": (
        "evaluate stored runs again",
        (
            "eval NAME eval.iw_samples=4000",
            "eval NAME/seed-0 eval=iw",
            "eval NAME/seed-0 --cases a.csv",
        ),
    ),
    "report": (
        "print a table: measured beside published, with verdicts",
        (
            "report table=nvil_mnist --format md --output nvil.md",
            "report table=nvil_mnist --from reference",
        ),
    ),
    "site": (
        "write all tables, runs and models as pages for a browser",
        ("site --from reference", "site --output pages table=nvil_mnist"),
    ),
    "compare": (
        "compare two results files measure by measure",
        (
            "compare mine.csv reference",
            "compare a.csv b.csv",
            "compare mine.csv results/reference/nvil_mnist-short.csv --common",
        ),
    ),
    "sample": (
        "draw documents or images from a trained model",
        (
            "sample results/runs/NAME/seed-0 --number 5",
            "sample RUN --output images.png",
            'sample nvil_recipe "SBN 200-200-200" --output images.png',
            "sample RUN --traverse 5 --around 0 --output latents.png",
        ),
    ),
    "reconstruct": (
        "pass documents or images through a trained model's posterior and back",
        (
            "reconstruct RUN < documents.txt",
            "reconstruct RUN --path 7 < two_documents.txt",
            "reconstruct RUN --test 16 --output pairs.png",
        ),
    ),
    "export": (
        "write a trained model for use without vaebench",
        (
            "export results/runs/NAME/seed-0 --output model",
            "export RUN --output model --only parameters",
        ),
    ),
    "data": (
        "list, download and verify the data sets",
        ("data ls", "data get mnist_static", "data verify data.mirror=/mnt/mirror"),
    ),
    "doctor": ("check the installation, the hardware and the data", ("doctor",)),
    "check": ("check estimators against exact answers", ("check", "check run.device=cuda")),
    "bench": (
        "measure the speed of training on this machine",
        (
            "bench",
            "bench run.device=cuda --pack 20",
        ),
    ),
    "rekey": (
        "rename run folders of earlier versions",
        ("rekey --dry-run", "rekey run.results=DIR"),
    ),
    "completion": (
        "print the shell code that completes commands",
        ('eval "$(vaebench completion bash)"',),
    ),
}
"""Verb -> (one line of help, examples), in the order in which a new user needs them."""


class Parser(argparse.ArgumentParser):
    """An argparse parser whose errors are one line, without a usage block."""

    def error(self, message: str) -> NoReturn:
        wrong = message.removeprefix("unrecognized arguments: ").split()[0]
        hint = self._hint(wrong) if wrong.startswith("--") else ""
        raise UserError(f"{message}; {hint}see {self.prog} --help")

    def _hint(self, wrong: str) -> str:
        """Return what the user may have meant by an option that there is not."""
        from vaebench.config.cells import GROUPS

        # A setting with dashes, such as --optim.rate 1e-3 or --table=nvil_mnist.
        word = wrong.removeprefix("--").partition("=")[0]
        group, dot, _ = word.partition(".")
        setting_groups = (*GROUPS, *(("train", "run") if dot else ("table", "preset")))
        if group in setting_groups and self.prog.split()[-1] in ("run", "report"):
            return f"write {word}=VALUE, without dashes; "
        return likely(wrong, self._option_string_actions)


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command and return its exit code."""
    # The shell asks for completions: argcomplete prints them and ends the process.
    if "_ARGCOMPLETE" in os.environ:
        from vaebench.verbs.completion import autocomplete

        autocomplete(_completion_parser())

    arguments = list(sys.argv[1:] if argv is None else argv)
    debug = "--debug" in arguments or os.environ.get("VAEBENCH_DEBUG", "0") not in ("", "0")

    with streams.safe():
        return _guarded(lambda: _with_messages(arguments), debug)


def _with_messages(arguments: list[str]) -> int:
    with _messages():
        return _dispatch(arguments)


def _guarded(command: Callable[[], int], debug: bool) -> int:
    """Run a command and return its exit code; an error is printed to stderr as one line."""
    # stdout is flushed within the try block, so that a closed pipe or a full disk is noticed here
    # and not when Python exits.
    try:
        try:
            code = command()
        except SystemExit as e:  # argparse ends so after --help and --version
            code = e.code if isinstance(e.code, int) else 0
        sys.stdout.flush()
        return code
    except UserError as e:
        code = 2
        line = str(e)
    except (KeyboardInterrupt, Interrupted) as e:
        code = 130
        line = str(e) or "interrupted"
    except BrokenPipeError:  # the reader has gone, as in ``| head``: nobody needs a message
        code = 1
        line = ""
    except streams.OutputError as e:
        code = 1
        line = str(e)
    except Exception as e:
        if debug:
            raise
        code, line = _unexpected(e)

    _release_stdout()
    if line:
        _say(line)
    return code


REFUSED = (errno.EACCES, errno.EPERM, errno.EROFS, errno.ENAMETOOLONG, errno.ELOOP)
"""Errors of a path that the user named: no permission, or an impossible path."""


def _unexpected(error: Exception) -> tuple[int, str]:
    """Return the exit code and the line of an error that no verb has foreseen."""
    if isinstance(error, OSError) and error.errno in REFUSED and error.filename is not None:
        return 2, f"{os.fsdecode(error.filename)}: {error.strerror}"
    return 1, f"{type(error).__name__}: {error} (set VAEBENCH_DEBUG=1 for the traceback)"


def _dispatch(arguments: list[str]) -> int:
    verb = next((a for a in arguments if not a.startswith("-")), None)
    if verb is None:
        parser = _top_parser()
        parser.parse_args(arguments)
        parser.print_help(sys.stderr)
        return 2

    if verb not in VERBS:
        raise UserError(f"unknown verb {verb!r}: {nearest(verb, VERBS)}")

    # What stands before the verb are options of ``vaebench`` itself.
    at = arguments.index(verb)
    _top_parser().parse_args(arguments[:at])

    # Only the chosen verb's module is imported, so that every command starts fast.
    module = importlib.import_module(f"vaebench.verbs.{verb}")
    parser = _configured(Parser(prog=f"vaebench {verb}", **_about(verb, module)), module)
    # Intermixed, because overrides and options may come in any order.
    return int(module.run(parser.parse_intermixed_args(arguments[at + 1 :])) or 0)


def _about(verb: str, module: Any) -> dict[str, Any]:
    """Return what the help of a verb says, as arguments of its parser."""
    # One example is a line of shell code that contains ``vaebench`` already.
    examples = "\n".join(
        f"  {e}" if e.startswith("eval ") and "$(" in e else f"  vaebench {e}"
        for e in VERBS[verb][1]
    )
    return {
        "description": module.HELP,
        "epilog": f"examples:\n{examples}",
        "formatter_class": argparse.RawDescriptionHelpFormatter,
        "allow_abbrev": False,
    }


def _configured(parser: argparse.ArgumentParser, module: Any) -> argparse.ArgumentParser:
    """Add a verb's arguments to its parser, and ``--debug`` unless the verb has its own."""
    module.configure(parser)
    if "--debug" not in parser._option_string_actions:
        parser.add_argument(
            "--debug", action="store_true", help="show the traceback of an unexpected error"
        )
    return parser


def _top_parser() -> argparse.ArgumentParser:
    """Return the parser of what stands before a verb; its help lists the verbs."""
    width = max(map(len, VERBS))
    verbs = "\n".join(f"  {verb:<{width}}  {text}" for verb, (text, _) in VERBS.items())
    parser = Parser(
        prog="vaebench",
        usage="vaebench VERB [key=value ...] [options]",
        description="Reproduce the published tables of variational models.",
        epilog="verbs:\n"
        f"{verbs}\n"
        "\n"
        "examples:\n"
        "  vaebench ls\n"
        "  vaebench run table=nvil_mnist preset=quick\n"
        "  vaebench report table=nvil_mnist preset=quick\n"
        "\n"
        "vaebench VERB --help tells more.",
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    parser.add_argument("--version", action="version", version=f"vaebench {__version__}")
    parser.add_argument(
        "--debug", action="store_true", help="show the traceback of an unexpected error"
    )
    return parser


def _completion_parser() -> argparse.ArgumentParser:
    """Return the parser that argcomplete walks through.

    It has every verb by name, and all arguments of the verb on the command line.
    """
    parser = _top_parser()
    verbs = parser.add_subparsers(dest="verb", parser_class=Parser)
    words = os.environ.get("COMP_LINE", "").split()[1:]
    typed_verb = next((word for word in words if not word.startswith("-")), None)

    # A verb's module is imported only if its arguments are to be completed: the user is waiting. A
    # verb that cannot be imported is still completed by name.
    for verb in VERBS:
        sub = verbs.add_parser(verb)
        if verb == typed_verb:
            with contextlib.suppress(ImportError):
                _configured(sub, importlib.import_module(f"vaebench.verbs.{verb}"))
    return parser


# ----------------------------------------------------------------------------------------- messages


def _say(text: str) -> None:
    print(f"vaebench: {' '.join(text.splitlines())}", file=sys.stderr)


@contextlib.contextmanager
def _messages() -> Iterator[None]:
    """Print log records and warnings as one line each on stderr, during a command."""
    import logging
    import warnings

    class Lines(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            level = "" if record.levelno <= logging.INFO else f"{record.levelname.lower()}: "
            _say(level + record.getMessage())

    def show(message: Warning | str, *_: Any, **__: Any) -> None:
        _say(f"warning: {message}")

    handler = Lines()
    root = logging.getLogger()
    ours = logging.getLogger("vaebench")

    old_handlers = root.handlers[:]
    old_level = ours.level
    old_show = warnings.showwarning

    # The handler takes the records of all libraries, but only our own from INFO on. All is put back
    # afterwards, as a command may run within another program or a test.
    root.handlers = [handler]
    ours.setLevel(logging.INFO)
    warnings.showwarning = show
    try:
        yield
    finally:
        root.handlers = old_handlers
        warnings.showwarning = old_show
        ours.setLevel(old_level)


def _release_stdout() -> None:
    """Drop what is still waiting for stdout, after an error.

    Output that cannot be written, to a closed pipe or a full disk, would be reported again when
    Python exits.
    """
    try:
        sys.stdout.flush()
    except (OSError, ValueError, streams.OutputError):
        streams.release(sys.stdout)
