"""A Ray cluster: started here or joined, whether its head answers, and how many replicas find a place in it."""

from __future__ import annotations

import logging
import os
import socket
import sys
from collections.abc import Mapping, Sequence
from typing import Any

from refine_eval.errors import ModelError, UsageError, first_line

_SHARED_MEMORY = 256 << 20


def start_here() -> None:
    """Starts a Ray of this process's own, whose workers find what this process finds; ModelError where it fails."""
    # Also for a driver that runs from a checkout, which Ray's workers would not find. They inherit the environment;
    # Ray's runtime_env would do the same at half the speed of starting.
    before = os.environ.get("PYTHONPATH")
    os.environ["PYTHONPATH"] = os.pathsep.join(folder or os.getcwd() for folder in sys.path)
    try:
        _init(address="local", include_dashboard=False, object_store_memory=_SHARED_MEMORY)
    except Exception as error:
        raise ModelError(f"Ray could not be started here: {first_line(error)}; try without --workers.") from error
    finally:
        del os.environ["PYTHONPATH"]
        if before is not None:
            os.environ["PYTHONPATH"] = before


def join(address: str) -> None:
    """Connects to a cluster; ModelError within seconds where there is none."""
    if address.startswith("ray://"):
        raise UsageError(
            "Ray's client (ray://) cannot stream texts; run refine-eval on a machine of the cluster, with "
            "--ray-address auto or HOST:6379."
        )
    if address != "auto":
        host, colon, port = address.rpartition(":")
        if not (host and colon and port.isdigit()):
            raise UsageError(f"--ray-address is HOST:PORT or auto, not {address!r}.")
        if not answers(host, int(port)):
            raise ModelError(f"No Ray cluster answers at {address}; start one with: ray start --head --port={port}")
    try:
        _init(address=address)
    except Exception as error:
        raise ModelError(
            f"The Ray cluster at {address} cannot be joined from here: {first_line(error)}; see that this machine is "
            f"part of it, with the same versions of Ray and Python and, where it asks for a token, RAY_AUTH_MODE=token."
        ) from error


def _init(**arguments: Any) -> None:
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")  # tells nobody about the user's runs
    import ray

    ray.init(log_to_driver=False, logging_level=logging.ERROR, **arguments)
    # Ray prints a paragraph on stdout about each process that dies; its own debugger stops that like this.
    ray._private.worker._worker_logs_enabled = False


def answers(host: str, port: int) -> bool:
    """Whether anybody listens there, within three seconds."""
    try:
        with socket.create_connection((host, port), timeout=3):
            return True
    except OSError:
        return False


def places(nodes: Sequence[Mapping[str, float]], cpus: float = 0, gpus: int = 0) -> int:
    """How many replicas of that size find a place, each on one machine."""
    sizes = {"CPU": cpus, "GPU": gpus}
    rooms = [[int(node.get(name, 0) / size) for name, size in sizes.items() if size] for node in nodes]
    return sum(min(room, default=0) for room in rooms)


def fair_cpus(nodes: Sequence[Mapping[str, float]], workers: int, gpus: int) -> float:
    """A replica's fair share of the CPUs, small enough for all to find a place; Ray sets threads by it."""
    share = sum(node.get("CPU", 0) for node in nodes if not gpus or node.get("GPU")) / workers
    while share > 1e-3 and places(nodes, share, gpus) < workers:
        share *= 0.95
    return float(int(share)) if share >= 1 else int(share * 1000) / 1000
