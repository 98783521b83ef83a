"""Completion in a shell: candidates for a command line, and the code that a shell is given."""

from __future__ import annotations

import pytest
from kit.commands import call, python


def complete(line, conf, tmp_path):
    """Candidates for a command line, as a shell asks for them."""
    answer = tmp_path / "answer"
    answer.unlink(missing_ok=True)
    env = {
        "_ARGCOMPLETE": "1",
        "_ARGCOMPLETE_IFS": "\n",
        "_ARGCOMPLETE_COMP_WORDBREAKS": " \t\n",
        "_ARGCOMPLETE_STDOUT_FILENAME": str(answer),
        "COMP_LINE": line,
        "COMP_POINT": str(len(line)),
    }

    done = python("main()", conf=conf, env=env)
    assert done.returncode == 0, done.stderr
    return [word.rstrip() for word in answer.read_text().split("\n") if word]


@pytest.mark.parametrize(
    ("line", "words"),
    [
        ("vaebench re", ["report", "reconstruct", "rekey"]),
        ("vaebench report table=sm", ["table=small"]),
        (
            "vaebench report table=small preset=",
            [
                f"preset={p}"
                for p in (
                    "equal",
                    "long",
                    "paper",
                    "quick",
                    "short",
                    "small",
                    "tenth",
                    "tuned",
                    "twice",
                    "variance",
                )
            ],
        ),
        ("vaebench report table=small objective=w", ["objective=wake_sleep"]),
        ("vaebench report table=small data=mnist_s", ["data=mnist_static"]),
        ("vaebench report table=small train.upd", ["train.updates="]),
        ("vaebench report table=small --only row=SBN", ["row=SBN\\ 200", "row=SBN\\ 200-200"]),
        ("vaebench report table=small --only column=", ["column=NVIL", "column=WS"]),
        ("vaebench report table=small --seeds 0 preset=tu", ["preset=tuned"]),
        ("vaebench report table=small --debug preset=tu", ["preset=tuned"]),
        ("vaebench report table=small --fo", ["--format"]),
        ("vaebench ls mo", ["models"]),
        ("vaebench data ve", ["verify"]),
        ("vaebench data get mnist", ["mnist_static", "mnist_dynamic", "mnist_grey"]),
        ("vaebench completion f", ["fish"]),
    ],
)
def test_completion(conf, tmp_path, line, words):
    assert complete(line, conf, tmp_path) == words


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_completion_code(capsys, shell):
    code, out, _ = call(capsys, "completion", shell)
    assert code == 0
    assert "vaebench" in out
    assert "_ARGCOMPLETE" in out
