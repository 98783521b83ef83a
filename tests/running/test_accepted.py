"""The record of accepted settings: it fits the shipped tables, and only other settings are built.

So plans of shipped tables need no torch.
"""

from __future__ import annotations

import copy
import subprocess
import sys
from dataclasses import replace

import pytest
import torch
from kit.repository import load_script

from vaebench.config import catalogue, compose
from vaebench.errors import UserError
from vaebench.running import accepted, device, tasks


@pytest.fixture(scope="module")
def cells():
    """The cells of all tables and presets."""
    return load_script("record_defaults").every_cell()


def test_what_is_recorded_can_be_built(cells):
    """The cells of shipped tables are recorded, all and no others, and can be built."""
    by_digest = {accepted.digest(cell): cell for cell in cells}
    assert accepted.recorded() == set(by_digest), "run scripts/record_defaults.py"

    tasks.check_built(by_digest.values())


def test_each_setting_that_is_built_decides_whether_it_is_recorded():
    cell = compose.cells(catalogue.load_table("nvil_mnist"), catalogue.load_preset("paper"))[0]
    assert accepted.digest(cell) in accepted.recorded()

    # Everything that a digest is made of, one value changed at a time.
    changes = [(group, name) for group in accepted.PARTS for name in cell.config[group]]
    changes += [("train", "precision"), ("train", "order"), ("data", "name")]
    digests = {accepted.digest(cell)}

    for group, name in changes:
        config = copy.deepcopy(cell.config)
        # The data set is looked up, so it must exist. The rest may be nonsense: nothing is built.
        config[group][name] = "mnist_grey" if name == "name" and group == "data" else ["another"]
        digests.add(accepted.digest(replace(cell, config=config)))

    assert len(digests) == 1 + len(changes)


def test_what_does_not_decide_it_needs_no_entry():
    table = catalogue.load_table("nvil_mnist")
    preset = catalogue.load_preset("paper")
    unbuilt_settings = [
        "train.updates=7",
        "eval.iw_samples=3",
        "run.jobs=1",
        "data.held_out=50",
        "train.valid_every=2",
    ]

    assert {
        accepted.digest(c) for c in compose.cells(table, preset, unbuilt_settings)
    } <= accepted.recorded()


def test_settings_that_are_not_recorded_are_built_and_refused(monkeypatch):
    built = []
    real_check_built = tasks.check_built

    def check_built(cells):
        built.extend(cells)
        real_check_built(cells)

    monkeypatch.setattr(tasks, "check_built", check_built)
    shipped = compose.cells(catalogue.load_table("nvil_mnist"), catalogue.load_preset("quick"))
    tasks.check(shipped)

    assert built == []

    unrecorded = compose.cells(
        catalogue.load_table("nvil_mnist"), catalogue.load_preset("quick"), ["optim.rate=0.123"]
    )
    tasks.check([*shipped, *unrecorded])

    assert built == unrecorded

    # A value that the settings of a table cannot have, since it is refused where they are read.
    config = copy.deepcopy(unrecorded[0].config)
    config["optim"]["rate"] = -1.0
    impossible = replace(unrecorded[0], config=config)
    with pytest.raises(UserError, match=r"the rate of group 'model' is -1\.0"):
        tasks.check([*shipped, impossible])


def test_without_a_record_everything_is_built(monkeypatch, tmp_path):
    monkeypatch.setattr(accepted, "RECORD", tmp_path / "nothing.txt")
    # The record is read once a process. Forget it before, and the empty one afterwards.
    accepted.recorded.cache_clear()

    try:
        assert accepted.recorded() == frozenset()
    finally:
        accepted.recorded.cache_clear()


@pytest.mark.parametrize(
    ("more", "loads"), [((), False), (("train.updates=7",), False), (("optim.rate=0.123",), True)]
)
def test_a_plan_of_a_shipped_table_loads_no_torch(tmp_path, more, loads):
    args = [
        "run",
        "table=nvil_mnist",
        "preset=quick",
        "--dry-run",
        f"run.results={tmp_path}",
        *more,
    ]
    code = (
        f"import sys; from vaebench.cli import main; assert main({args!r}) == 0; "
        "print('torch' in sys.modules)"
    )

    # As if there were no driver of a GPU: with one, torch is asked what the device ``auto`` is.
    code = "import vaebench.running.device as d; d.DRIVERS = ()\n" + code
    process = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True
    )

    assert process.stdout.splitlines()[-1] == str(loads)


def test_where_there_may_be_a_gpu_torch_is_asked(monkeypatch, tmp_path):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(device.sys, "platform", "linux")

    # On Linux the files of a driver decide; without one torch is not asked.
    monkeypatch.setattr(device, "DRIVERS", (str(tmp_path / "none"),))

    assert device.device_name("auto") == "cpu"

    monkeypatch.setattr(device, "DRIVERS", (str(tmp_path / "none"), str(tmp_path)))
    assert device.device_name("auto") == "cuda"

    # On Windows torch is asked, without a look for files.
    monkeypatch.setattr(device, "DRIVERS", ())
    monkeypatch.setattr(device.sys, "platform", "win32")
    assert device.device_name("auto") == "cuda"


@pytest.mark.parametrize(
    ("setting", "devices", "found"),
    [
        ("cpu", 0, "cpu"),
        ("cuda", 0, None),
        ("cuda:0", 0, None),
        ("cuda:0", 1, "cuda:0"),
        ("cuda:1", 1, None),
        ("cuda", 1, "cuda"),
        ("cuda:01", 2, "cuda:1"),
        ("cuda:128", 2, None),  # an index has one byte
        ("cuda:99999999999", 2, None),
    ],
)
def test_a_device_that_is_not_here_is_refused(monkeypatch, setting, devices, found):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: devices > 0)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: devices)

    if found:
        assert device.pick_device(setting) == torch.device(found)
        return

    with pytest.raises(UserError, match=f"{setting}: this machine has {devices} CUDA devices"):
        device.pick_device(setting)
