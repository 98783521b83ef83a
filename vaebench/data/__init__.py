"""Data sets: sources with checksums -> prepared HDF5 -> Splits.

    load({"name": "mnist_static", "held_out": None, "held_out_seed": 0}) -> Splits

``DATA`` is the registry: config name -> loader class. Two arguments recur. ``root`` is the folder
of downloaded and prepared files (default: $VAEBENCH_DATA, else the user's cache folder). ``mirror``
is a folder of source files that is looked in first (default: $VAEBENCH_MIRROR). NumPy, h5py and the
rest are loaded when they are first needed.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from vaebench.data.counts.news20 import News20
from vaebench.data.counts.own import OwnCounts
from vaebench.data.counts.rcv1 import Rcv1
from vaebench.data.counts.toy import ToyCounts
from vaebench.data.files.fetch import cache_root, mirror_root
from vaebench.data.images.blank import Blank
from vaebench.data.images.caltech101 import Caltech101Silhouettes
from vaebench.data.images.digits import Digits, DigitsGrey
from vaebench.data.images.frey_face import FreyFace
from vaebench.data.images.mnist import MnistDynamic, MnistGrey, MnistStatic
from vaebench.data.images.omniglot import Omniglot, OmniglotReconstructed
from vaebench.data.images.own import OwnImages
from vaebench.data.loader import Loader
from vaebench.data.text.own import OwnText
from vaebench.data.text.synthetic import SyntheticText
from vaebench.data.text.toy import ToyText
from vaebench.data.text.yahoo import Yahoo, YahooSmall
from vaebench.data.text.yelp import Yelp
from vaebench.errors import UserError, nearest

if TYPE_CHECKING:
    from vaebench.data.inventory import Check, Status
    from vaebench.data.splits import Splits

DATA: dict[str, type[Loader]] = {
    cls.name: cls
    for cls in (
        *(MnistStatic, MnistDynamic, Omniglot, OmniglotReconstructed),
        *(Caltech101Silhouettes, Digits, Blank),
        *(MnistGrey, FreyFace, DigitsGrey),
        OwnImages,
        *(Yahoo, YahooSmall, Yelp, SyntheticText, ToyText, OwnText),
        *(News20, Rcv1, ToyCounts, OwnCounts),
    )
}


def _class(name: Any) -> type[Loader]:
    if name not in DATA:
        raise UserError(f"unknown data set {name!r}: {nearest(str(name), DATA)}")
    return DATA[name]


def settle(config: Mapping[str, Any]) -> dict[str, Any]:
    """Return a cell's ``data`` group, completed with what its files decide.

    For the user's own files these are their absolute paths and their digest. Raises UserError if
    the name is unknown, or if own files are not named or do not exist.
    """
    return _class(config.get("name")).settle(config)


def load(
    config: Mapping[str, Any], mirror: str | Path | None = None, root: str | Path | None = None
) -> Splits:
    """Return the splits that a cell's ``data`` group asks for.

    A data set that is not prepared yet is prepared first, from the mirror, the cache or the
    network.

    Args:
        config: {name, held_out, held_out_seed}, perhaps {mirror}, and further settings of the data
            set. If ``held_out`` is null, the data set's own validation split is kept. Otherwise
            training and validation examples are pooled and ``held_out`` of them are held out at
            random, the same ones for every seed of a run. ``entries`` of documents: see
            ``tokens.with_entries``.
        mirror: The folder of source files; it goes before the one in ``config``.
        root: The folder of downloaded and prepared files.

    Raises:
        UserError: If a setting is wrong.
        DataError: If a file is missing, truncated or altered.
    """
    from vaebench.data.prepare import prepare

    config = settle(config)
    loader = _class(config.get("name")).of(config)
    arrays = prepare(loader, mirror_root(mirror or config.get("mirror")), cache_root(root))
    splits = loader.splits(arrays, config.get("held_out"), config.get("held_out_seed", 0))
    if config.get("entries") is None:
        return splits

    from vaebench.data.text.tokens import with_entries

    return with_entries(splits, config["entries"])


def check(
    config: Mapping[str, Any], cases: int | None = None, root: str | Path | None = None
) -> None:
    """Refuse what ``load`` would refuse, as far as this is known without reading or fetching data.

    Args:
        config: A cell's ``data`` group.
        cases: ``train.cases`` of the cell.
        root: As in ``load``.

    Raises:
        UserError: If more examples are held out, more are trained on, or more entries are kept
            than there are.
        DataError: If the data are not prepared yet and the mirror is no folder.
    """
    config = settle(config)
    loader = _class(config.get("name")).of(config)
    held_out = config.get("held_out")
    entries = config.get("entries")

    loader.check_held_out(held_out)
    if loader.sizes:
        from vaebench.data.splits import check_cases

        # Examples held out are drawn from training and validation together, and the rest of both
        # is trained on.
        check_cases(
            cases,
            loader.sizes["train"] + (0 if held_out is None else loader.sizes["valid"] - held_out),
        )

    if entries is not None and loader.entries is not None:
        from vaebench.data.text.tokens import check_entries

        check_entries(entries, loader.entries)

    # Prepared data need no mirror, so a wrong one is only refused if the files are needed.
    mirror = mirror_root(config.get("mirror"))
    if loader.sources and mirror is not None and not mirror.is_dir():
        from vaebench.data.files.fetch import fetch
        from vaebench.data.prepare import prepared_path

        if not prepared_path(loader, cache_root(root)).is_file():
            # The mirror is not a folder: this raises the DataError that says so.
            fetch(next(iter(loader.sources.values())), mirror, cache_root(root))


def get(name: str, mirror: str | Path | None = None, root: str | Path | None = None) -> Status:
    """Fetch and prepare a data set so that it loads without a network.

    Raises UserError if the name is unknown, DataError if a file is missing or altered.
    """
    from vaebench.data.inventory import status_of
    from vaebench.data.prepare import prepare

    loader = _class(name).of({"name": name})
    places = mirror_root(mirror), cache_root(root)
    prepare(loader, *places)
    return status_of(loader, *places)


def verify(
    name: str, mirror: str | Path | None = None, root: str | Path | None = None
) -> list[Check]:
    """Check every local file of a data set, and its prepared file, against its SHA-256.

    Nothing is written or fetched. There is one Check per file; ``str(check)`` is a line for people.
    Raises UserError if the name is unknown.
    """
    from vaebench.data.inventory import verify_one

    return verify_one(_class(name)(), mirror_root(mirror), cache_root(root))


def status(mirror: str | Path | None = None, root: str | Path | None = None) -> list[Status]:
    """Return what is on disk of each data set, in the order of ``DATA``; no content is read."""
    from vaebench.data.inventory import status_of

    return [status_of(cls(), mirror_root(mirror), cache_root(root)) for cls in DATA.values()]
