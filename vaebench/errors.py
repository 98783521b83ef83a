"""The errors that a user may meet.

Each is one line that says what was wrong and what is allowed.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterable

TYPO = 0.7
"""How similar a short word must be to a known one to count as a typing error, as in ``difflib``."""


class UserError(Exception):
    """Bad input: a wrong key, file, table or value.

    The command prints the line and exits with 2.
    """


class DataError(UserError):
    """A data file is missing, truncated or altered, and no other source has a good copy."""


class Interrupted(Exception):
    """The user asked to stop; the state was saved first. The command exits with 130."""


def nearest(word: str, allowed: Iterable[str]) -> str:
    """Return the tail of an error line: the nearest right word, if any, then all that is allowed.

    >>> nearest("nvil_mnits", ["nvil_mnist", "other"])
    "did you mean 'nvil_mnist'? allowed: nvil_mnist, other"
    """
    options = sorted(set(allowed))
    return f"{likely(word, options)}allowed: {', '.join(options) if options else '(none)'}"


def likely(word: str, allowed: Iterable[str], cutoff: float = 0.5) -> str:
    """Return ``did you mean ...? `` if a right word is near or begins with ``word``, else ''.

    >>> likely("eval.iw", ["eval.split", "eval.iw_samples"])
    "did you mean 'eval.iw_samples'? "
    """
    # A beginning goes before likeness: an abbreviation is unlike the whole word. Of one or two
    # letters too many words begin so.
    options = sorted(set(allowed))
    completions = [option for option in options if len(word) > 2 and option.startswith(word)]
    close = completions[:1] or difflib.get_close_matches(word, options, n=1, cutoff=cutoff)
    return f"did you mean {close[0]!r}? " if close else ""
