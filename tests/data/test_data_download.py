"""The real downloader, against a server on this machine."""

from __future__ import annotations

import functools
import hashlib
import http.server
import socket
import threading

import pytest

from vaebench.data.files import fetch
from vaebench.data.files.sources import Source
from vaebench.errors import DataError

CONTENT = b"grey" * 50_000
REAL_DOWNLOAD = fetch.download


class Quiet(http.server.SimpleHTTPRequestHandler):
    def log_message(self, *args):
        pass


@pytest.fixture
def server(tmp_path, monkeypatch):
    # No test reaches the network, but this server is on the same machine.
    monkeypatch.setattr(fetch, "download", REAL_DOWNLOAD)
    for name in ("http_proxy", "HTTP_PROXY", "all_proxy", "ALL_PROXY"):
        monkeypatch.delenv(name, raising=False)

    folder = tmp_path / "served"
    folder.mkdir()
    (folder / "grey.bin").write_bytes(CONTENT)

    handler = functools.partial(Quiet, directory=str(folder))
    # Port 0: any free one.
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as httpd:
        threading.Thread(target=httpd.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{httpd.server_address[1]}"
        httpd.shutdown()


def test_a_file_is_downloaded_and_checked_without_a_word(server, tmp_path, capfd):
    urls = (f"{server}/moved.bin", f"{server}/grey.bin")
    source = Source("room", "grey.bin", hashlib.sha256(CONTENT).hexdigest(), urls)
    path = fetch.fetch(source, None, tmp_path / "root")

    assert path.read_bytes() == CONTENT
    assert [p for p in (tmp_path / "root" / "room").iterdir()] == [path]
    assert capfd.readouterr() == ("", "")


def test_http_errors_and_closed_ports_are_told_apart(server, tmp_path):
    with socket.socket() as s:
        # A free port, which is closed again: nobody listens there.
        s.bind(("127.0.0.1", 0))
        closed = f"http://127.0.0.1:{s.getsockname()[1]}/grey.bin"
    sha256 = hashlib.sha256(CONTENT).hexdigest()

    with pytest.raises(DataError, match=r"moved\.bin: HTTP 404") as e:
        fetch.fetch(
            Source("room", "grey.bin", sha256, (f"{server}/moved.bin", closed)), None, tmp_path
        )
    assert f"{closed}: no connection" in str(e.value)
    assert "network seems to be down" not in str(e.value)

    with pytest.raises(DataError, match="network seems to be down"):
        fetch.fetch(Source("room", "grey.bin", sha256, (closed,)), None, tmp_path)
