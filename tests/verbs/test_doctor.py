"""``vaebench doctor``: a line for everything an installation needs."""

from __future__ import annotations

import sys

from kit.commands import call


def test_doctor(conf, tmp_path, capsys):
    code, out, _ = call(capsys, "doctor", f"run.results={tmp_path}/runs")
    lines = out.splitlines()

    assert code == 0
    assert all(line.startswith(("ok    ", "warn  ")) for line in lines)

    for word in (
        "Python",
        "vaebench",
        "torch",
        "compiler",
        "kernels",
        "cores",
        "memory",
        "HDF5",
        "results: ",
        "data digits: ready",
    ):
        assert sum(word in line for line in lines) >= 1, word
    assert not (tmp_path / "runs").exists()


def test_doctor_fails_where_nothing_can_be_written(conf, tmp_path, capsys, monkeypatch):
    from vaebench.running import installation

    def refuse(dir):
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(installation.tempfile, "TemporaryFile", refuse)

    code, out, _ = call(capsys, "doctor", f"run.results={tmp_path}/runs")

    assert code == 1
    assert f"FAIL  results: cannot write to {tmp_path}: Permission denied" in out


def test_doctor_survives_a_broken_library(conf, capsys, monkeypatch):
    # None in sys.modules makes an import of this name fail.
    monkeypatch.setitem(sys.modules, "h5py", None)

    code, out, _ = call(capsys, "doctor")

    assert code == 1
    assert "FAIL  libraries: ModuleNotFoundError" in out
    assert "cores" in out  # the later checks still run
