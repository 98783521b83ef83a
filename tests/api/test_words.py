"""Arguments of Python in the words of the command line."""

from __future__ import annotations

import numpy as np

from vaebench.api import words


def test_arguments_become_words_of_the_command_line():
    assert words.overrides("model", {"dims": (2, 1), "a": None, "b": True}) == [
        "model.dims=[2,1]",
        "model.a=null",
        "model.b=true",
    ]

    assert words.only("a", None) == ["row=a"]
    assert words.only(None, ["x", "y"]) == ["column=x", "column=y"]

    assert words.seeds(np.int64(4)) == "4"
    assert (words.seeds(None), words.seeds(3), words.seeds(range(2))) == (None, "3", "0,1")
