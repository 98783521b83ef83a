"""``vaebench data``: what is fetched, and what is found bad."""

from __future__ import annotations

import types
from pathlib import Path

from kit.commands import call

from vaebench.errors import DataError


def test_data_verify(conf, tmp_path, capsys):
    assert call(capsys, "data", "verify", "digits")[0] == 0
    assert call(capsys, "data", "verify")[0] == 0  # data that were never fetched are no fault
    assert call(capsys, "data", "verify", "mnist_static")[0] == 1  # unless they are named

    bad = tmp_path / "mirror" / "binarized_mnist" / "binarized_mnist_test.amat"
    bad.parent.mkdir(parents=True)
    bad.write_text("0 1 0\n")

    code, out, _ = call(capsys, "data", "verify", f"data.mirror={tmp_path}/mirror")

    assert code == 1
    assert f"mnist_static: {bad}: bad" in out


def test_data_get(conf, tmp_path, capsys, monkeypatch):
    assert call(capsys, "data", "get", "digits")[:2] == (0, "digits: ready\n")

    from vaebench import data

    requests = []

    def get(name, mirror=None):
        requests.append((name, mirror))
        if name == "mnist_static":
            raise DataError("mnist_static: no source has a good copy")
        return types.SimpleNamespace(path=Path("x.h5"))

    monkeypatch.setattr(data, "get", get)

    code, out, err = call(
        capsys, "data", "get", "mnist_static", "mnist_dynamic", f"data.mirror={tmp_path}"
    )

    assert (code, err) == (1, "vaebench: mnist_static: no source has a good copy\n")
    assert out == "mnist_dynamic: ready in x.h5\n"
    assert requests == [("mnist_static", str(tmp_path)), ("mnist_dynamic", str(tmp_path))]
