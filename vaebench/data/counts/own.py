"""The user's own documents as counts.

``data=word_counts data.train=FILE data.test=FILE data.vocabulary=FILE``
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

from vaebench.data.counts.corpus import RAW, CountsLoader, parted
from vaebench.data.counts.files import read_counts, read_vocabulary
from vaebench.data.files import own
from vaebench.errors import DataError, UserError

if TYPE_CHECKING:
    from vaebench.data.counts.sparse import Documents

VALID = 100
"""Training documents used for validation if the user names none; a tenth of them, if there are
fewer than a thousand."""


class OwnCounts(CountsLoader):
    """The user's files in the format of 20 Newsgroups, with their vocabulary.

    Their lines are ``label id:count id:count ...``. If there are validation documents, they are
    used, and ``settle`` makes ``data.held_out`` null: a table may have set it for its own data.
    Without ``data.valid`` some of the training documents, spread evenly over the file, are used.

    A run is identified by the content of the files, not by their place: ``settle`` writes their
    common digest into ``data.content``, and the prepared file is named by it.
    """

    name = "word_counts"
    keep = True
    asks = ("data.train=FILE", "data.test=FILE", "data.vocabulary=FILE")
    files: ClassVar[tuple[str, ...]] = ("train", "valid", "test", "vocabulary")

    def __init__(
        self, counts: str = RAW, paths: Mapping[str, Path] | None = None, content: str = ""
    ) -> None:
        super().__init__(counts)
        self.paths = dict(paths or {})
        self.content = content

    @classmethod
    def settle(cls, config: Mapping[str, Any]) -> dict[str, Any]:
        """Return absolute paths, ``content``, and ``held_out`` null if there is ``data.valid``.

        If ``content`` is known and no file exists any more, the prepared file is relied upon.
        Raises UserError if a file is not named, DataError if it does not exist.
        """
        missing = [
            f"data.{key}=FILE" for key in cls.files if key != "valid" and not config.get(key)
        ]
        if missing:
            raise UserError(
                f"data={cls.name}: your own documents as counts: name them, {' '.join(missing)}"
            )
        paths = {
            key: Path(str(config[key])).expanduser().absolute()
            for key in cls.files
            if config.get(key)
        }

        # Known content without any file: the prepared file is all there is, and it is used.
        content = config.get("content")
        if not own.gone(content, paths):
            digest = own.content_of(paths)
            own.refuse_changed(content, digest, paths)
            content = digest

        return {
            **config,
            **{key: str(path) for key, path in paths.items()},
            "content": content,
            "held_out": None if "valid" in paths else config.get("held_out"),
        }

    @classmethod
    def of(cls, config: Mapping[str, Any]) -> OwnCounts:
        config = cls.settle(config)
        paths = {key: Path(config[key]) for key in cls.files if config.get(key)}
        return cls(config.get("counts", RAW), paths, config["content"])

    def arrays(self, files: dict[str, Path]) -> dict[str, Any]:
        return super().arrays(self.paths)

    def read(self, files: dict[str, Path]) -> tuple[dict[str, Documents], tuple[str, ...]]:
        vocabulary = read_vocabulary(files["vocabulary"])
        parts = {
            key: read_counts(path, len(vocabulary))
            for key, path in files.items()
            if key != "vocabulary"
        }

        for split, part in parts.items():  # a variance over a split needs two documents
            if len(part) < 2:
                raise DataError(f"{files[split]}: a single document, expected two or more")

        # A tenth of the training documents, at most VALID and at least two, validates.
        if "valid" not in parts:
            n = len(parts["train"])
            if n < 4:
                raise DataError(
                    f"{files['train']}: {n} documents, of which none can validate; "
                    "name data.valid=FILE"
                )
            parts |= parted(parts["train"], max(2, min(VALID, n // 10)))

        return parts, vocabulary
