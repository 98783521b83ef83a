"""Ray, whose jobs are detached actors that go on when the command ends.

An actor begins again if its node is lost.
"""

from __future__ import annotations

import contextlib
import importlib.util
import os
import socket
import sys
import threading
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from vaebench.errors import UserError
from vaebench.formatting import first_line
from vaebench.running.launchers.carried import carry_out, read_progress
from vaebench.running.launchers.engine import Job, State, asks_of
from vaebench.running.tasks import Task
from vaebench.settings.records import RunSettings

SPACE = "vaebench"
"""Namespace of the actors."""

RESTARTS = 20
"""How often a job may begin again after its process or its node was lost. Its runs continue from
their checkpoints."""

INSTALL = "pip install 'vaebench[ray]'"

GIB = 2**30


class Ray:
    """The engine Ray; see ``engine.Engine``. Raises UserError if Ray is not installed."""

    name = "ray"
    title = "Ray"
    limit = "a job of Ray goes on to its end"
    most = 10_000

    def __init__(self, settings: RunSettings) -> None:
        if importlib.util.find_spec("ray") is None:
            raise UserError(f"run.launcher=ray needs the package ray: {INSTALL}")
        self._settings = settings
        self._ray: Any = None
        self._own = False

    @property
    def outlives(self) -> bool:
        """Whether jobs go on when the command ends.

        They do in a cluster that was there before the command, but not in one that it has started.
        """
        self._connect()
        return not self._own

    def _connect(self) -> Any:
        """Connect to a cluster, unless this was done, and return the module of Ray.

        The cluster is the one that is asked for, else one that runs here, else one of its own.
        """
        if self._ray is not None:
            return self._ray
        os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")  # Ray must not report its use
        # Leave CUDA_VISIBLE_DEVICES alone for jobs that ask for no GPU, as later versions of Ray
        # do. Without the setting it warns of the change.
        os.environ.setdefault("RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO", "0")

        import logging

        import ray

        options: dict[str, Any] = {
            "namespace": SPACE,
            "log_to_driver": False,
            "logging_level": logging.ERROR,
        }

        # An address that was given must answer. Without one, a cluster of its own is the last
        # resort.
        address = self._settings.address
        self._own = address == "local"
        if not self._own:
            try:
                _knock(address or "auto")
                ray.init(address=address or "auto", **options)
            except (OSError, RuntimeError, ValueError) as e:
                if address:
                    raise UserError(
                        f"run.address={address}: no cluster of Ray answers there: {first_line(e)}"
                    ) from None
                self._own = True

        if self._own:
            ray.init(address="local", include_dashboard=False, **options)
        self._ray = ray
        return ray

    def asks(self) -> Mapping[str, Any]:
        """Return what a job asks for; see ``Engine.asks``."""
        return asks_of(self._settings)

    def submit(self, folder: Path, batch: str, tasks: Sequence[Task]) -> str:
        """Hand a batch over; see ``Engine.submit``."""
        ray = self._connect()
        if self._own and (lack := self._lack()):
            raise UserError(
                f"Ray: {lack} on this machine; run.cpus, run.gpus and run.memory "
                "say what a job asks for"
            )

        asks = self._asks()
        memory = {"memory": asks["memory"]} if "memory" in asks else {}
        actor = ray.remote(
            num_cpus=asks["CPU"], num_gpus=asks["GPU"], max_restarts=RESTARTS, **memory
        )(Actor)

        # An actor starts with the environment of its node, not with that of this command.
        environment = {
            name: value
            for name, value in os.environ.items()
            if name.startswith(("VAEBENCH_", "OMP_"))
        }
        for index, task in enumerate(tasks):
            named_actor = actor.options(
                name=_name(Job(batch, index)), namespace=SPACE, lifetime="detached"
            )
            named_actor.remote(folder, index, task, os.getcwd(), environment)
        return f"namespace {SPACE}"

    def states(self, home: Path, batches: Sequence[str]) -> Mapping[Job, State] | None:
        """Return the states of jobs; see ``Engine.states``."""
        ray = self._connect()
        try:
            actors = ray.util.list_named_actors(all_namespaces=True)
            waiting = State("PENDING", True, False, self._lack())
        except Exception:
            return None

        states: dict[Job, State] = {}
        for entry in actors:
            batch, _, number = entry["name"].partition("/")
            if entry["namespace"] != SPACE or batch not in batches:
                continue
            # This list does not say whether an actor waits for resources. One that works has
            # written its progress.
            has_begun = read_progress(home / batch, int(number)) is not None
            states[Job(batch, int(number))] = State("RUNNING", True, True) if has_begun else waiting
        return states

    def _asks(self) -> dict[str, int]:
        """Return what a job asks a node for, in Ray's names."""
        asks = self.asks()
        memory = {"memory": asks["memory"] * GIB} if asks["memory"] else {}
        return {"CPU": asks["cpus"], "GPU": asks["gpus"], **memory}

    def _lack(self) -> str:
        """Say which demand of a job no node can meet; '' if one node meets them all."""
        nodes = [node["Resources"] for node in self._ray.nodes() if node["Alive"]]
        demands = self._asks()
        if any(
            all(node.get(name, 0) >= amount for name, amount in demands.items()) for node in nodes
        ):
            return ""

        parts = [
            f"{demands[name]} {name}{'s' * (demands[name] > 1)}"
            for name in ("CPU", "GPU")
            if demands[name]
        ]
        parts += [f"{demands['memory'] // GIB} GiB"] if "memory" in demands else []
        return f"no node has {' and '.join(parts)}"

    def cancel(self, home: Path, jobs: Sequence[Job]) -> None:
        """Take jobs out of the queue; see ``Engine.cancel``."""
        for job in jobs:
            if read_progress(home / job.batch, job.number) is None:
                with contextlib.suppress(ValueError):
                    self._ray.kill(self._actor(job))

    def cancelling(self, jobs: Sequence[Job]) -> str:
        """Say how to end the jobs; see ``Engine.cancelling``."""
        return "ray stop ends them with their cluster"

    def stop(self, jobs: Sequence[Job]) -> None:
        """Let jobs save their state and end; see ``Engine.stop``."""
        for job in jobs:
            with contextlib.suppress(ValueError):
                self._actor(job).stop.remote()

    def log(self, folder: Path, index: int) -> Path:
        """Return the path of a job's log; see ``Engine.log``."""
        return folder / f"{index}.log"

    def close(self) -> None:
        """Leave the cluster; if it is one of its own, it ends."""
        if self._ray is not None:
            self._ray.shutdown()
            self._ray = None

    def _actor(self, job: Job) -> Any:
        """Return the handle of a job. Raises ValueError if it has ended."""
        return self._ray.get_actor(_name(job), namespace=SPACE)


class Actor:
    """A job in a process of its own.

    The work begins in the constructor, so that it begins again wherever Ray restarts the actor.
    """

    def __init__(
        self, folder: Path, index: int, task: Task, place: str, environment: Mapping[str, str]
    ) -> None:
        self._stop = threading.Event()
        os.environ.update(environment)
        os.chdir(place)
        threading.Thread(target=self._work, args=(folder, index, task), daemon=True).start()

    def stop(self) -> None:
        """Save the state and end."""
        self._stop.set()

    def _work(self, folder: Path, index: int, task: Task) -> None:
        import ray

        # Libraries and child processes write to the descriptors 1 and 2 directly, so these are
        # replaced, not only sys.stdout.
        with (folder / f"{index}.log").open("a") as log:
            os.dup2(log.fileno(), 1)
            os.dup2(log.fileno(), 2)

        try:
            carry_out(folder, index, task, self._stop.is_set)
        except BaseException:
            import traceback

            traceback.print_exc(file=sys.stderr)
        finally:  # the outcomes are in their file, so the actor is no longer needed
            ray.kill(ray.get_runtime_context().current_actor, no_restart=True)


def _knock(address: str) -> None:
    """Raise OSError if nobody listens at the address of a cluster.

    Ray itself would try for minutes.
    """
    address_to_try: str | None = address.removeprefix("ray://")
    if address == "auto":
        with contextlib.suppress(ImportError, AttributeError):  # not a public part of Ray
            from ray._private.services import canonicalize_bootstrap_address

            address_to_try = canonicalize_bootstrap_address(address)

    host, colon, port = (address_to_try or "").rpartition(":")
    if colon and port.isdigit():
        socket.create_connection((host.strip("[]"), int(port)), timeout=10).close()


def _name(job: Job) -> str:
    return f"{job.batch}/{job.number}"
