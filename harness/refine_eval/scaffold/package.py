"""A new plugin as a package that can be installed and keeps its contract: copier fills in the template beside this."""

from __future__ import annotations

import re
from importlib.util import find_spec
from pathlib import Path

import refine_eval
from refine_eval.errors import UsageError, first_line, missing_extra
from refine_eval.plugin.hooks import COMPONENT_NAME
from refine_eval.plugin.registry import Registry
from refine_eval.terminal import shown

KINDS = ("critic", "refiner", "selector", "engine", "splitter")
"""The kinds of components that there is a template for."""

_TEMPLATE = Path(__file__).parent / "template"
_LONGEST_NAME = 50


def new_package(name: str, kind: str, parent: Path, registry: Registry) -> Path:
    """Makes the package `refine-eval-NAME` in a folder, with one component of a kind; returns where it is.

    UsageError for a name that no component can have or somebody has, and where the package cannot be written.
    """
    package, module = f"refine-eval-{name}", f"refine_eval_{name.replace('-', '_')}"
    folder = parent / package
    _check_name(name, registry)
    if find_spec(module) is not None:
        raise UsageError(f"A package {module} is installed already; choose another name than {name!r}.")
    if folder.exists() or folder.is_symlink():
        raise UsageError(f"{folder} is there already; choose another name, or work in another folder.")
    try:
        import copier
    except ImportError as error:
        raise UsageError(f"{missing_extra('copier', 'scaffold')}.") from error
    stem = "".join(part.capitalize() for part in name.split("-"))
    data = {
        "name": name,
        "kind": kind,
        "package": package,
        "module": module,
        "stem": stem,
        "component": stem if stem.endswith(kind.capitalize()) else stem + kind.capitalize(),
        "versions": _versions(refine_eval.__version__),
    }
    try:
        copier.run_copy(str(_TEMPLATE), folder, data=data, defaults=True, quiet=True)
    except OSError as error:
        raise UsageError(f"{folder} cannot be written ({error.strerror}); work in another folder.") from error
    except copier.errors.CopierError as error:
        raise UsageError(f"copier cannot make {folder}: {first_line(error)}.") from error
    return folder


def _check_name(name: str, registry: Registry) -> None:
    if len(name) > _LONGEST_NAME or not COMPONENT_NAME.fullmatch(name):
        raise UsageError(
            f"A plugin cannot be called {shown(name)}: write lower-case letters, digits and single hyphens, at most "
            f"{_LONGEST_NAME}, like 'my-critic'."
        )
    taken = next((found for found in registry.all() if found.name == name), None)
    if taken is not None:
        raise UsageError(
            f"There is a {taken.kind} {name!r} already, of {taken.distribution} {taken.version}; choose another name."
        )


def _versions(version: str) -> str:
    """The versions of refine-eval that a package made today is for; "" where this one's is not known."""
    found = re.match(r"(\d+)\.(\d+)", version)
    if found is None or version.startswith("0+"):
        return ""
    major, minor = int(found[1]), int(found[2])
    return f">={major}.{minor},<{f'0.{minor + 1}' if major == 0 else major + 1}"
