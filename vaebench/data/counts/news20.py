"""20 Newsgroups as counts of 2,000 words, as released with NVDM.

Source: Miao, Yu & Blunsom 2016; github.com/ysmiao/nvdm. These are not the documents of
Salakhutdinov & Hinton (2009), which NVIL, DocNADE and Replicated Softmax were measured on: those
are 11,314 and 7,531 documents, and their words are stemmed and without function words.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, ClassVar

from vaebench.data.counts.corpus import CountsLoader, parted
from vaebench.data.counts.files import read_counts, read_vocabulary
from vaebench.data.files.sources import NEWS20

if TYPE_CHECKING:
    from vaebench.data.counts.sparse import Documents

VALID = 100
"""Training documents used for validation, spread evenly over the file, which is in the
order of the 20 groups."""


class News20(CountsLoader):
    """20 Newsgroups: 11,168/100/7,505 documents of 1 to 4,741 tokens, 2,000 words.

    The words are not stemmed, and function words are among them.
    """

    name = "news20"
    sources = NEWS20
    words = 2_000
    documents: ClassVar[dict[str, int]] = {"train": 11_168, "valid": VALID, "test": 7_505}

    def read(self, files: dict[str, Path]) -> tuple[dict[str, Documents], tuple[str, ...]]:
        vocabulary = read_vocabulary(files["vocabulary"])
        parts = parted(read_counts(files["train"], len(vocabulary)), self.documents["valid"])
        return {**parts, "test": read_counts(files["test"], len(vocabulary))}, vocabulary
