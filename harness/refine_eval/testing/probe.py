"""What importing a component's module and making the component does, watched in a process of its own."""

from __future__ import annotations

import json
import os
import pickle
import subprocess
import sys
from dataclasses import dataclass
from typing import Any

from refine_eval.plugin.components import Component

HEAVY = ("torch", "transformers", "vllm", "lm_eval", "datasets")
"""Modules that take seconds to import; they are to be imported by `open`, or later."""

_SCRIPT = """
import importlib, json, pickle, sys, time

EVENTS = ("open", "socket.connect", "socket.getaddrinfo", "subprocess.Popen", "sqlite3.connect")
heavy, module, qualname = json.loads(sys.argv[1]), sys.argv[2], sys.argv[3]
found = {"imported": [], "constructed": [], "touched": [], "seconds": 0.0, "error": ""}
watching = False

def watch(event, arguments):
    if not watching or event not in EVENTS:
        return
    what = arguments[1] if event == "socket.connect" else arguments[0]
    if event != "open" or not str(what).endswith((".py", ".pyc", ".so", ".pyd")):
        found["touched"].append(f"{event} {what!r}")

sys.addaudithook(watch)
try:
    component = importlib.import_module(module)
    for part in qualname.split("."):
        component = getattr(component, part)
    options = pickle.load(sys.stdin.buffer)
    found["imported"] = [name for name in heavy if name in sys.modules]
    watching, start = True, time.process_time()
    component(options)
    found["seconds"], watching = time.process_time() - start, False
    found["constructed"] = [name for name in heavy if name in sys.modules]
except BaseException as error:
    watching, found["error"] = False, f"{type(error).__name__}: {error}"
print(json.dumps(found))
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class Probe:
    """`imported` and `constructed` are heavy modules loaded by then, `touched` what `__init__` opened."""

    imported: list[str]
    constructed: list[str]
    touched: list[str]
    seconds: float
    error: str


def probe(component: type[Component], options: Any) -> Probe:
    """Imports and makes the component in a new process; AssertionError where that process cannot find it."""
    name = f"{component.__module__}.{component.__qualname__}"
    nameless = "<locals>" in name or component.__module__ == "__main__"
    assert not nameless, f"{name} cannot be imported by its name: define the class at the top of a module"
    finished = subprocess.run(
        [sys.executable, "-c", _SCRIPT, json.dumps(HEAVY), component.__module__, component.__qualname__],
        input=pickle.dumps(options),
        capture_output=True,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(path or os.getcwd() for path in sys.path)},
        timeout=120,
        check=False,
    )
    last = finished.stdout.decode(errors="replace").strip().splitlines()[-1:]
    assert last, f"importing {name} ended Python: {finished.stderr.decode(errors='replace').strip()[-300:]}"
    return Probe(**json.loads(last[0]))
