"""A process that has imported everything, and forks one real process for each command. It saves
seconds of imports each time.

Requests and answers are lines of JSON on stdin and stdout. This process only composes tables, so
that a fork is as good as a new process. The children of a command (run.jobs) start from nothing, as
they always do. This file is their main module, so they run it too, and the code in ZYGOTE_CHILD
first.
"""

from __future__ import annotations

import atexit
import gc
import importlib
import json
import os
import pkgutil
import re
import sys
import time
from pathlib import Path


def main() -> None:
    codes: dict[int, int] = {}
    print("ready", flush=True)

    for line in sys.stdin:
        request = json.loads(line)
        if request["do"] == "fork":
            pid = os.fork()
            if pid == 0:
                _leave(_command(request))
            answer = {"pid": pid}
        else:
            answer = {"code": _wait(request["pid"], request["timeout"], codes)}

        print(json.dumps(answer), flush=True)


def _leave(code: int) -> None:
    """End this process as Python does, but without freeing every object, which would copy the
    memory of all imports."""
    atexit._run_exitfuncs()
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(code)


def _wait(pid: int, timeout: float, codes: dict[int, int]) -> int | None:
    """The exit code, or minus the number of the signal that ended it; None if it still runs."""
    end = time.monotonic() + timeout
    while pid not in codes:
        ended_pid, status = os.waitpid(pid, os.WNOHANG)
        if ended_pid:
            codes[pid] = os.waitstatus_to_exitcode(status)
        elif time.monotonic() > end:
            return None
        else:
            time.sleep(0.005)

    return codes[pid]


def _command(request: dict) -> int:
    """Run the command in the child: in a session of its own, with its streams in files or on a
    terminal."""
    os.setsid()
    os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
    write = os.O_WRONLY | os.O_CREAT | os.O_TRUNC
    os.dup2(os.open(request["out"], write), 1)
    os.dup2(os.open(request["err"], os.O_RDWR if request["tty"] else write), 2)
    # The code runs first. What it replaces stays replaced for the whole command.
    os.environ["ZYGOTE_CHILD"] = request["child"]
    exec(request["code"], {"__name__": "zygote_code"})
    from vaebench.cli import main as vaebench

    return vaebench(request["args"])


BLOCK = 40
"""Updates per block of noise, so that short runs pass through several."""

if __name__ == "__main__":
    import h5py  # noqa: F401
    import hydra  # noqa: F401
    import pandas  # noqa: F401
    import sklearn.datasets  # noqa: F401
    import torch
    import tqdm  # noqa: F401

    import vaebench.rng.noise

    # All modules that a command may want, but for those that need Numba, jax or packages of extras,
    # which take longer to import than they save.
    for module in pkgutil.walk_packages(vaebench.__path__, "vaebench.", onerror=print):
        if not re.search(
            r"kernel|\.bench|__main__|tracking\.(mlflow|tensorboard|wandb)", module.name
        ):
            importlib.import_module(module.name)

    torch.set_num_threads(1)
    os.fsync = lambda handle: None  # as in tests/conftest.py
    vaebench.rng.noise.BLOCK = BLOCK
    Path(os.environ["VAEBENCH_DATA"]).mkdir(parents=True, exist_ok=True)
    vaebench.data.load({"name": "digits", "held_out": 100, "held_out_seed": 0})

    for name in ("nvil_mnist", "nvil_autoreg"):
        vaebench.config.compose.cells(
            vaebench.config.catalogue.load_table(name),
            vaebench.config.catalogue.load_preset("quick"),
        )

    gc.freeze()  # so that no collection in a child touches, and copies, what was made here
    main()
elif __name__ == "__mp_main__":
    import vaebench.rng.noise

    vaebench.rng.noise.BLOCK = BLOCK
    exec(os.environ.get("ZYGOTE_CHILD", ""))
