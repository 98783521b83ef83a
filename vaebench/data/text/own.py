"""Documents of the user: data=text data.train=FILE data.valid=FILE data.test=FILE."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from vaebench.data.files.content import UNREADABLE, digest_as_last_changed
from vaebench.data.text.corpus import SPLITS, TextLoader, read_documents
from vaebench.errors import DataError, UserError


class OwnText(TextLoader):
    """Three files, one document a line, of which the training file gives the vocabulary.

    ``data.labels=true``: lines are ``label<TAB>document``. What the files hold decides what a run is, not where they
    lie: ``settle`` writes their common digest into ``data.content``, and the prepared file is named by it.
    """

    name = "text"
    keep = True
    asks = tuple(f"data.{split}=FILE" for split in SPLITS)

    def __init__(self, paths: Mapping[str, Path] | None = None, labels: bool = False, content: str = "") -> None:
        self.paths, self.has_labels, self.content = dict(paths or {}), labels, content

    @classmethod
    def settle(cls, config: Mapping[str, Any]) -> dict[str, Any]:
        """Absolute paths and ``content``. Raises UserError where a file is not named, DataError where it is not there.

        Where ``content`` is known and no file is here any more, it is left to the prepared file.
        """
        paths = _paths(config)
        content = config.get("content")
        if not (content and not any(path.exists() for path in paths.values())):
            found = content_of(paths, bool(config.get("labels")))
            if content and found != content:
                named = " ".join(f"data.{split}={path}" for split, path in paths.items())
                raise DataError(f"{named}: not what they were: expected content {content[:16]}, found {found[:16]}")
            content = found
        return {**config, **{split: str(path) for split, path in paths.items()}, "content": content}

    @classmethod
    def of(cls, config: Mapping[str, Any]) -> OwnText:
        config = cls.settle(config)
        return cls({split: Path(config[split]) for split in SPLITS}, bool(config.get("labels")), config["content"])

    @property
    def stem(self) -> str:
        return f"{self.name}-{self.content[:16]}"

    def read(self, files: dict[str, Path]) -> dict[str, Iterable[list[str]]]:
        return {split: read_documents(path, self.has_labels) for split, path in self.paths.items()}

    def arrays(self, files: dict[str, Path]) -> dict[str, Any]:
        return super().arrays(self.paths)


def _paths(config: Mapping[str, Any]) -> dict[str, Path]:
    missing = [split for split in SPLITS if not config.get(split)]
    if missing:
        asked = " ".join(f"data.{split}=FILE" for split in missing)
        raise UserError(f"data=text: your own documents: name them, {asked}")
    return {split: Path(str(config[split])).expanduser().absolute() for split in SPLITS}


def content_of(paths: Mapping[str, Path], labels: bool) -> str:
    """One hex SHA-256 over what the files hold, plain or gzipped alike, and how they are read. Raises DataError."""
    lines = [f"labels:{labels}"]
    for split, path in paths.items():
        if path.is_dir():
            raise DataError(f"data.{split}={path}: a folder, expected a file with one document a line")
        if not path.is_file():
            raise DataError(f"data.{split}={path}: there is no such file")
        try:
            lines.append(f"{split}:{digest_as_last_changed(path)}")
        except UNREADABLE as e:
            raise DataError(f"data.{split}={path}: truncated or damaged gzip ({e})") from None
        except OSError as e:
            raise DataError(f"data.{split}={path}: cannot be read ({e.strerror or e})") from None
    return hashlib.sha256("\n".join(lines).encode()).hexdigest()
