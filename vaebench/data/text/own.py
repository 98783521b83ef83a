"""The user's own documents: data=text data.train=FILE data.valid=FILE data.test=FILE."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from vaebench.data.files import own
from vaebench.data.text.corpus import TextLoader, read_documents
from vaebench.data.text.specials import SPLITS
from vaebench.errors import UserError


class OwnText(TextLoader):
    """Three files of the user, one document a line; the training file defines the vocabulary.

    With ``data.labels=true`` lines are ``label<TAB>document``. A run is identified by the content
    of the files, not by their place: ``settle`` writes their common digest into ``data.content``,
    and the prepared file is named by it.
    """

    name = "text"
    keep = True
    asks = tuple(f"data.{split}=FILE" for split in SPLITS)

    def __init__(
        self, paths: Mapping[str, Path] | None = None, labels: bool = False, content: str = ""
    ) -> None:
        self.paths = dict(paths or {})
        self.has_labels = labels
        self.content = content

    @classmethod
    def settle(cls, config: Mapping[str, Any]) -> dict[str, Any]:
        """Return the group with absolute paths and ``content`` filled in.

        If ``content`` is known and no file exists any more, the prepared file is relied upon.
        Raises UserError if a file is not named, DataError if it does not exist.
        """
        paths = _paths(config)
        content = config.get("content")
        if not own.gone(content, paths):
            # The same files with and without labels are other data, so the digest covers this too.
            labels = f"labels:{bool(config.get('labels'))}"
            digest = own.content_of(
                paths, [labels], "a folder, expected a file with one document a line"
            )
            own.refuse_changed(content, digest, paths)
            content = digest
        return {**config, **{split: str(path) for split, path in paths.items()}, "content": content}

    @classmethod
    def of(cls, config: Mapping[str, Any]) -> OwnText:
        config = cls.settle(config)
        return cls(
            {split: Path(config[split]) for split in SPLITS},
            bool(config.get("labels")),
            config["content"],
        )

    def read(self, files: dict[str, Path]) -> dict[str, Iterable[list[str]]]:
        return {split: read_documents(path, self.has_labels) for split, path in self.paths.items()}

    def arrays(self, files: dict[str, Path]) -> dict[str, Any]:
        return super().arrays(self.paths)


def _paths(config: Mapping[str, Any]) -> dict[str, Path]:
    missing = [split for split in SPLITS if not config.get(split)]
    if missing:
        settings = " ".join(f"data.{split}=FILE" for split in missing)
        raise UserError(f"data=text: your own documents: name them, {settings}")
    return {split: Path(str(config[split])).expanduser().absolute() for split in SPLITS}
