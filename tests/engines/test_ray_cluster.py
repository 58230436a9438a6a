"""Ray clusters: those that are not there, room for replicas, and one that loses its head."""

import os
import socket
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

from refine_eval.engines.replicas.cluster import fair_cpus, join, places
from refine_eval.errors import ModelError, RefineEvalError, UsageError

pytestmark = pytest.mark.slow


@pytest.mark.parametrize(
    ("address", "error", "message"),
    [
        ("127.0.0.1:{port}", ModelError, "No Ray cluster answers at 127.0.0.1:"),
        ("ray://127.0.0.1:{port}", UsageError, "run refine-eval on a machine of the cluster"),
        ("cluster", UsageError, "--ray-address is HOST:PORT or auto, not 'cluster'"),
    ],
)
def test_a_cluster_that_is_not_there(address: str, error: type[RefineEvalError], message: str) -> None:
    """In a process of its own, as this one may have a Ray."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        address = address.format(port=free.getsockname()[1])
    began = time.monotonic()
    with pytest.raises(error, match=message):
        join(address)
    assert time.monotonic() - began < 10


def test_every_replica_finds_a_place() -> None:
    assert fair_cpus([{"CPU": 2}], 16, 0) == 0.125
    assert fair_cpus([{"CPU": 8}], 2, 0) == 4
    # Two machines of three: three replicas of two would not fit.
    share = fair_cpus([{"CPU": 3}, {"CPU": 3}], 3, 0)
    assert places([{"CPU": 3}, {"CPU": 3}], share) >= 3
    # The head has CPUs, but only the other machine GPUs.
    nodes = [{"CPU": 64}, {"CPU": 8, "GPU": 8}]
    assert places(nodes, gpus=2) == 4
    assert fair_cpus(nodes, 4, 2) == 2


LOSES_ITS_HEAD = """
import sys
from replica_engines import Slow, options
from refine_eval.engines.replicas.engine import ReplicatedEngine
from refine_eval.errors import RefineEvalError
from replica_engines import requests
from tiny_models import CPU

engine = ReplicatedEngine(Slow(options(sys.argv[2], wait=0.2)), workers=1, address=sys.argv[1])
engine.open(CPU)
try:
    for number, _ in enumerate(engine.generate(requests(500))):
        print("text", number, flush=True)
except RefineEvalError as error:
    print("said:", type(error).__name__, error, flush=True)
"""


def test_a_cluster_that_loses_its_head_ends_the_run_with_a_sentence(tmp_path: Path) -> None:
    """A cluster of its own, started by `ray start`, whose processes are killed while a run goes on."""
    import psutil

    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        address = f"127.0.0.1:{free.getsockname()[1]}"
    environment = os.environ | {"RAY_AUTH_MODE": "disabled"}
    environment["PYTHONPATH"] = os.pathsep.join([str(Path(__file__).parents[1] / "support"), *filter(None, sys.path)])
    script = Path(sys.executable).with_name("ray")
    start = [str(script), "start", "--head", "--node-ip-address", "127.0.0.1", "--port", address.rpartition(":")[2]]
    start += ["--num-cpus", "2", "--include-dashboard=false", "--disable-usage-stats"]
    subprocess.run(start, check=True, capture_output=True, timeout=90, env=environment)
    # Found by their command lines: `ray stop` would end every Ray on this machine.
    head = [process for process in psutil.process_iter() if address.rpartition(":")[2] in " ".join(_words(process))]
    driver = None
    try:
        assert any("gcs_server" in process.name() for process in head)
        driver = subprocess.Popen(
            [sys.executable, "-c", LOSES_ITS_HEAD, address, str(tmp_path)],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            env=environment,
        )
        assert driver.stdout is not None
        assert driver.stdout.readline().startswith("text 0")
        for process in head:
            if process.name() in ("gcs_server", "raylet"):
                process.kill()
        began = time.monotonic()
        out, err = driver.communicate(timeout=60)
        assert time.monotonic() - began < 45
        (said,) = [line for line in out.splitlines() if line.startswith("said:")]
        assert said.startswith("said: GenerationError"), err
        assert "cluster" in said
        assert "the same command goes on" in said
    finally:
        if driver is not None:
            driver.kill()
        for process in head:
            if process.is_running():
                process.kill()


def _words(process: Any) -> list[str]:
    import psutil

    try:
        return list(process.cmdline())
    except (psutil.NoSuchProcess, psutil.AccessDenied):
        return []
