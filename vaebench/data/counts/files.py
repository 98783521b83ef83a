"""Files of documents as counts, and of their vocabularies, read strictly.

A file that breaks its format is an error of one line, with the number of the file's line.

There are two formats. 20 Newsgroups, as released with NVDM, has a document a line,
``label id:count id:count ...``, with ids from 1. RCV1-v2 comes as the token files of LYRL2004:
``.I`` and the number of a story, ``.W``, lines of tokens, a blank line.
"""

from __future__ import annotations

from array import array
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from vaebench.data.files.lines import lines_of
from vaebench.errors import DataError

if TYPE_CHECKING:
    from vaebench.data.counts.sparse import Documents

MOST = 32_767
"""Most occurrences of one word in one document; they are kept in 16 bits."""

STORY = ".I"
"""What each story of a token file begins with."""

WORDS = ".W"
"""What the tokens of each story begin with."""


def read_counts(path: Path, vocabulary: int) -> Documents:
    """Read documents from a text, plain or gzipped, of lines ``label id:count id:count ...``.

    Labels are not used.

    Args:
        path: The file.
        vocabulary: How many words there are: ids go from 1 to this number.

    Returns:
        The documents in file order, words numbered from 0.

    Raises:
        DataError: If a document has no word, a word twice or a word outside the vocabulary, if a
            count is not a whole number from 1, or if the file cannot be read. One line with the
            file and the number of the line.
    """
    from vaebench.data.counts.sparse import Documents

    # Arrays of C integers, because lists of Python's would take several times the memory.
    words = array("i")
    counts = array("i")
    offsets = array("q", [0])
    for number, line in lines_of(path):
        at = f"{path}: line {number}"
        label, *pairs = line.split() or [""]
        if ":" in label:
            raise DataError(
                f"{at} begins with {_short(label)}, expected a label, then id:count of every word"
            )
        if not pairs:
            raise DataError(
                f"{at} is a document without words, expected label id:count id:count ..."
            )

        words_here = []
        for pair in pairs:
            word, count = _pair(pair, at, vocabulary)
            words_here.append(word - 1)
            counts.append(count)

        # One comparison for the usual document; the repeated word is only looked for if there is
        # one.
        if len(set(words_here)) < len(words_here):
            repeated = next(word for word in words_here if words_here.count(word) > 1)
            raise DataError(
                f"{at} has the word {repeated + 1} twice, expected one count for each word"
            )

        words.extend(words_here)
        offsets.append(len(words))

    if len(offsets) == 1:
        raise DataError(f"{path}: no document in it")
    return Documents.of(words, counts, offsets)


def _pair(pair: str, at: str, vocabulary: int) -> tuple[int, int]:
    """Return the id and the count of ``id:count``. Raises DataError, which begins with ``at``."""
    word, colon, count = pair.partition(":")
    if not colon or not _whole(word):
        raise DataError(
            f"{at} has {_short(pair)}, expected id:count with an id from 1 to {vocabulary:,}"
        )
    if not 1 <= int(word) <= vocabulary:
        raise DataError(
            f"{at} has the word {_short(word)}, but the vocabulary has the words "
            f"1 to {vocabulary:,}"
        )
    if not _whole(count) or not 1 <= int(count) <= MOST:
        raise DataError(
            f"{at} has the count {_short(count)}, expected a whole number from 1 to {MOST:,}"
        )
    return int(word), int(count)


def _whole(text: str) -> bool:
    """Whether ``text`` is a whole number with no more digits than an id or a count may have."""
    return text.isascii() and text.isdigit() and len(text) <= 12


def _short(text: str) -> str:
    return repr(text if len(text) <= 20 else f"{text[:20]}...")


def read_vocabulary(path: Path) -> tuple[str, ...]:
    """Read a vocabulary from a text of lines ``word`` or ``word frequency``; the first is word 1.

    Frequencies are not used.

    Raises:
        DataError: If a line has no word or a word is there twice, if there are fewer than two
            words, or if the file cannot be read.
    """
    line_of: dict[str, int] = {}
    for number, line in lines_of(path):
        word, *frequency = line.split() or [""]
        if not word or len(frequency) > 1:
            raise DataError(
                f"{path}: line {number} is {_short(line)}, expected a word, "
                "perhaps with its frequency"
            )
        if word in line_of:
            raise DataError(
                f"{path}: line {number} has the word {_short(word)} of line {line_of[word]} again"
            )
        line_of[word] = number

    if len(line_of) < 2:
        raise DataError(f"{path}: {len(line_of)} words, expected a vocabulary of two or more")
    return tuple(line_of)


def read_stories(path: Path) -> Iterator[list[str]]:
    """Yield the tokens of every story of a token file of LYRL2004, plain or gzipped, in file order.

    A story without tokens is an empty list.

    Raises:
        DataError: If the file is not of this format or cannot be read. One line with the file and
            the number of the line.
    """
    # Where the reader is: before the first story (no ``name``), behind the line .I of story
    # ``name``, or ``inside`` its tokens, behind .W. A story is yielded when the next one begins.
    tokens: list[str] = []
    name = ""
    inside = False
    for number, line in lines_of(path):
        at = f"{path}: line {number}"
        if line.startswith(f"{STORY} "):
            if name and not inside:
                raise DataError(f"{at}: story {name} has no {WORDS} before the next one")
            if name:
                yield tokens

            name = line[len(STORY) :].strip()
            tokens = []
            inside = False
            if not _whole(name):
                raise DataError(
                    f"{at} is {_short(line)}, expected {STORY} and the number of a story"
                )
        elif line.strip() == WORDS:
            if not name or inside:
                raise DataError(f"{at} is {WORDS}, expected one after each line with {STORY}")
            inside = True
        elif line.strip():
            if not inside:
                raise DataError(f"{at} has tokens before {STORY} and {WORDS}: {_short(line)}")
            tokens += line.split()

    if not name or not inside:
        raise DataError(f"{path}: {'ends within a story' if name else 'no story in it'}")
    yield tokens
