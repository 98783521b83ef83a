"""Yahoo answers: the whole data set, and a small one.

The small one is for users who only have the validation and test files.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import ClassVar

from vaebench.data.files.sources import YAHOO, Source
from vaebench.data.text.corpus import TextLoader, read_documents

TENTH = 10
"""In ``yahoo_small`` every tenth document of the validation file is used for validation, beginning
with the tenth."""


class Yahoo(TextLoader):
    """The documents of Yang et al. (2017), as used by He et al. (2019).

    100,000/10,000/10,000 documents, 20,001 entries. They are questions and answers in lower case,
    20 to 200 words each. Rare words are ``_UNK``, an ordinary word here.
    """

    name = "yahoo"
    sources = YAHOO
    documents: ClassVar[dict[str, int]] = {"train": 100_000, "valid": 10_000, "test": 10_000}
    entries = 20_001


class YahooSmall(TextLoader):
    """Yahoo's validation file in two parts: every tenth document validates, the others train.

    9,000/1,000/10,000 documents. The file is in the order of its ten topics, a thousand documents
    each. Its last thousand alone would be one topic that the training documents hardly have; every
    tenth document is a hundred of each topic. The vocabulary, of 16,699 entries, is that of its own
    training documents, so its numbers are never put beside Yahoo's. The test documents are Yahoo's.
    """

    name = "yahoo_small"
    sources: ClassVar[dict[str, Source]] = {"valid": YAHOO["valid"], "test": YAHOO["test"]}
    documents: ClassVar[dict[str, int]] = {"train": 9_000, "valid": 1_000, "test": 10_000}
    entries = 16_699

    def read(self, files: dict[str, Path]) -> dict[str, Iterable[list[str]]]:
        def part(validates: bool) -> Iterator[list[str]]:
            documents = enumerate(read_documents(files["valid"]), 1)
            return (words for i, words in documents if (i % TENTH == 0) == validates)

        return {"train": part(False), "valid": part(True), "test": read_documents(files["test"])}
