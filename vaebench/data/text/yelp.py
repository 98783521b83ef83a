"""Yelp reviews."""

from __future__ import annotations

from typing import ClassVar

from vaebench.data.files.sources import YELP
from vaebench.data.text.corpus import TextLoader


class Yelp(TextLoader):
    """The documents of Yang et al. (2017), as used by He et al. (2019).

    100,000/10,000/10,000 documents, 19,997 entries. Every line has a label, which is not used. Rare
    words are ``_UNK``, an ordinary word here.
    """

    name = "yelp"
    sources = YELP
    labels = True
    documents: ClassVar[dict[str, int]] = {"train": 100_000, "valid": 10_000, "test": 10_000}
    entries = 19_997
