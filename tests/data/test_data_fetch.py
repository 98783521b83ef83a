"""Files from the mirror, the cache or the network: which is preferred, and what is refused."""

from __future__ import annotations

import gzip
import hashlib
import logging

import pytest
import requests

from vaebench.data import DATA
from vaebench.data.files import fetch
from vaebench.data.files.sources import BINARIZED_MNIST, MNIST, Source
from vaebench.errors import DataError

TEXT = b"0 1 1\n1 0 0\n"


@pytest.fixture
def source() -> Source:
    urls = ("https://one.test/cases.amat", "https://two.test/cases.amat")
    return Source("room", "cases.amat", hashlib.sha256(TEXT).hexdigest(), urls, unzipped=True)


@pytest.fixture
def mirror(tmp_path):
    (tmp_path / "mirror" / "room").mkdir(parents=True)
    return tmp_path / "mirror"


@pytest.fixture
def serve(monkeypatch):
    """Replace the network by answers, a mapping from URL to content or to the exception it raises.

    Returns a function that sets the answers and returns the list of the URLs that are asked.
    """

    def network(answers):
        urls_asked = []

        def download(url, to):
            urls_asked.append(url)
            # A URL without an answer cannot be reached.
            answer = answers.get(url, requests.ConnectionError("Max retries exceeded\nwith url"))
            if isinstance(answer, Exception):
                raise answer
            to.write_bytes(answer)

        monkeypatch.setattr(fetch, "download", download)
        return urls_asked

    return network


def files_in(folder):
    return sorted(p.relative_to(folder).as_posix() for p in folder.rglob("*") if p.is_file())


@pytest.mark.parametrize(
    ("name", "content"), [("cases.amat", TEXT), ("cases.amat.gz", gzip.compress(TEXT, 1, mtime=0))]
)
def test_mirror_is_preferred_and_serves_both_forms(source, mirror, tmp_path, name, content):
    (mirror / "room" / name).write_bytes(content)
    (tmp_path / "root" / "room").mkdir(parents=True)
    (tmp_path / "root" / "room" / "cases.amat").write_bytes(TEXT)

    # The sealed network would raise.
    assert fetch.fetch(source, mirror, tmp_path / "root") == mirror / "room" / name


def test_cache_is_preferred_to_the_network(source, mirror, tmp_path):
    (tmp_path / "root" / "room").mkdir(parents=True)
    (tmp_path / "root" / "room" / "cases.amat").write_bytes(TEXT)

    assert (
        fetch.fetch(source, mirror, tmp_path / "root") == tmp_path / "root" / "room" / "cases.amat"
    )


def test_download_goes_to_the_cache_once(source, tmp_path, serve):
    urls_asked = serve({source.urls[0]: TEXT})
    path = fetch.fetch(source, None, tmp_path)

    assert path == tmp_path / "room" / "cases.amat"
    assert path.read_bytes() == TEXT
    # The second call finds the file in the cache.
    assert fetch.fetch(source, None, tmp_path) == path
    assert urls_asked == [source.urls[0]]
    assert files_in(tmp_path) == ["room/cases.amat"]


def test_sources_are_tried_in_order_and_wrong_content_is_not_kept(source, tmp_path, serve):
    urls_asked = serve({source.urls[0]: b"<html>moved</html>", source.urls[1]: TEXT})
    assert fetch.fetch(source, None, tmp_path).read_bytes() == TEXT
    assert urls_asked == list(source.urls)
    assert files_in(tmp_path) == ["room/cases.amat"]


def test_wrong_downloads_say_what_was_found(source, tmp_path, serve):
    missing = requests.Response()
    missing.status_code = 404
    serve({source.urls[0]: b"other", source.urls[1]: requests.HTTPError(response=missing)})

    with pytest.raises(DataError) as e:
        fetch.fetch(source, None, tmp_path)

    line = str(e.value)
    for part in (
        source.name,
        source.sha256,
        hashlib.sha256(b"other").hexdigest(),
        *source.urls,
        "HTTP 404",
    ):
        assert part in line

    assert "network seems to be down" not in line
    assert "\n" not in line
    assert files_in(tmp_path) == []


def test_offline_line_names_sources_and_the_mirror_setting(source, tmp_path, serve):
    urls_asked = serve({source.urls[1]: requests.Timeout("slow")})
    with pytest.raises(DataError, match="the network seems to be down") as e:
        fetch.fetch(source, None, tmp_path)

    line = str(e.value)
    for part in (
        source.name,
        source.sha256,
        *source.urls,
        "VAEBENCH_MIRROR",
        "data.mirror",
        "room/cases.amat",
    ):
        assert part in line

    assert "\n" not in line
    # Each source once.
    assert urls_asked == list(source.urls)


@pytest.mark.parametrize(
    ("content", "says"),
    [
        (TEXT[:-2], "truncated or altered"),
        (TEXT.replace(b"1", b"0"), "truncated or altered"),
        (gzip.compress(TEXT, mtime=0)[:-6], "truncated or damaged gzip"),
        (b"\x1f\x8bgarbage", "truncated or damaged gzip"),
    ],
)
def test_bad_mirror_file_is_passed_over_and_named(
    source, mirror, tmp_path, serve, caplog, content, says
):
    bad = mirror / "room" / "cases.amat"
    bad.write_bytes(content)
    serve({})

    with pytest.raises(DataError) as e:
        fetch.fetch(source, mirror, tmp_path / "root")

    line = str(e.value)
    assert f"{bad}: {says}" in line
    assert source.sha256 in line

    # A gzip that is cut short has no content to be hashed.
    if says == "truncated or altered":
        assert hashlib.sha256(content).hexdigest() in line

    assert "\n" not in line

    serve({source.urls[1]: TEXT})
    assert fetch.fetch(source, mirror, tmp_path / "root").read_bytes() == TEXT
    # The mirror is only read.
    assert bad.read_bytes() == content
    assert any(str(bad) in r.getMessage() for r in caplog.records if r.levelno == logging.WARNING)


def test_a_mirror_without_the_file_is_mentioned(source, mirror, tmp_path, serve):
    serve({})
    with pytest.raises(DataError, match="room: not there"):
        fetch.fetch(source, mirror, tmp_path)


def test_a_mirror_that_is_no_folder_is_refused(source, tmp_path):
    with pytest.raises(DataError, match="is not a folder"):
        fetch.fetch(source, tmp_path / "nowhere", tmp_path)


def test_an_altered_cache_file_is_replaced(source, tmp_path, serve):
    (tmp_path / "room").mkdir()
    (tmp_path / "room" / "cases.amat").write_bytes(b"altered")
    serve({source.urls[0]: TEXT})

    assert fetch.fetch(source, None, tmp_path).read_bytes() == TEXT
    assert files_in(tmp_path) == ["room/cases.amat"]


def test_a_full_disk_is_not_blamed_on_the_source(source, tmp_path, serve):
    urls_asked = serve({source.urls[0]: OSError(28, "No space left on device")})
    with pytest.raises(DataError, match=r"cannot write to .*No space left.*VAEBENCH_DATA"):
        fetch.fetch(source, None, tmp_path)
    assert urls_asked == [source.urls[0]]
    assert files_in(tmp_path) == []


def test_the_container_hash_counts_where_it_is_the_known_one(tmp_path, mirror):
    packed = gzip.compress(b"content", 9)

    source = Source("room", "images.gz", hashlib.sha256(packed).hexdigest())
    # The same content, packed in another way.
    (mirror / "room" / "images.gz").write_bytes(gzip.compress(b"content", 1))

    with pytest.raises(DataError, match="truncated or altered"):
        fetch.fetch(source, mirror, tmp_path)

    (mirror / "room" / "images.gz").write_bytes(packed)
    assert fetch.fetch(source, mirror, tmp_path) == mirror / "room" / "images.gz"


def test_roots_argument_then_environment_then_user_cache(monkeypatch, tmp_path):
    assert fetch.cache_root() == tmp_path / "default_root"
    assert fetch.cache_root(tmp_path) == tmp_path
    # The user's own cache folder, since no setting names another.

    monkeypatch.delenv(fetch.CACHE_ENV)
    assert "vaebench" in str(fetch.cache_root())
    assert fetch.mirror_root() is None

    monkeypatch.setenv(fetch.MIRROR_ENV, str(tmp_path / "m"))
    assert fetch.mirror_root() == tmp_path / "m"
    assert fetch.mirror_root(tmp_path) == tmp_path


SOURCES = list(
    dict.fromkeys(source for loader in DATA.values() for source in loader.sources.values())
)


@pytest.mark.parametrize("source", SOURCES, ids=lambda source: source.name)
def test_every_shipped_source_is_complete(source):
    """Without a digest, Yahoo and Yelp have a number of documents; of RCV1 neither is published."""
    assert len(bytes.fromhex(source.sha256)) in (0, 32)
    assert len(bytes.fromhex(source.md5)) in (0, 16)
    assert source.digest or source.documents or source.folder == "rcv1"

    # The reconstruction comes only from a mirror: what the network offers is the original.
    assert source.urls or source.folder == "omniglot"

    # Addresses name the file, unless they serve an archive, which the file is taken from.
    for url in source.urls:
        assert url.startswith(("https://", "http://"))
        assert source.archive or url.endswith(tuple(f"/{name}" for name in source.file_names))


@pytest.mark.parametrize(
    "source", [*BINARIZED_MNIST.values(), *MNIST.values()], ids=lambda source: source.name
)
def test_mnist_has_two_addresses(source):
    assert len(set(source.urls)) >= 2
