"""Writes the names in docs/reference/public-api.md, from the public faces' own lists. Run by `make docs`."""

import argparse
import ast
import importlib.util
import sys
from collections.abc import Iterator
from pathlib import Path

import refine_eval
import refine_eval.testing
import refine_eval.training

ROOT = Path(__file__).resolve().parent.parent
PAGE = ROOT / "docs" / "reference" / "public-api.md"
BEGIN, END = "<!-- names: make docs -->\n", "<!-- end of names -->\n"
_HEAD = "| name | what it is |\n| --- | --- |\n"


def page() -> str:
    """The page with each name and the first line of its documentation between the markers."""
    head, found, rest = PAGE.read_text("utf-8").partition(BEGIN)
    _, ended, tail = rest.partition(END)
    assert found, f"the page has no line {BEGIN!r}"
    assert ended, f"the page has no line {END!r}"
    return f"{head}{BEGIN}{''.join(_sections())}{END}{tail}"


def _sections() -> Iterator[str]:
    for face in (refine_eval, refine_eval.training):
        yield f"\n## `{face.__name__}`\n"
        for home, names in face._HOMES.items():
            about = "" if home == face.__name__ else f"\n{first_line(home, home)}\n"
            yield f"{about}\n{_HEAD}" + "".join(_row(name, first_line(home, name)) for name in names)
    testing = refine_eval.testing
    yield f"\n## `{testing.__name__}`\n\n{_HEAD}"
    yield from (_row(name, str(getattr(testing, name).__doc__).splitlines()[0]) for name in testing.__all__)


def _row(name: str, line: str) -> str:
    return f"| `{name}` | {line.replace('|', chr(92) + '|')} |\n"


def first_line(module: str, name: str) -> str:
    """The first line of the documentation of what a module defines, or of the module; AssertionError without one."""
    documented = documentation(module)
    inside = f"{module}.{name}"
    found = documented.get(name) or (documentation(inside)[inside] if importlib.util.find_spec(inside) else "")
    assert found, f"{name} of {module} has no documentation"
    return found.splitlines()[0]


def documentation(module: str) -> dict[str, str]:
    """The documentation of a module, under its own name, and of what it defines, constants among it."""
    spec = importlib.util.find_spec(module)
    assert spec is not None, module
    tree = ast.parse(Path(str(spec.origin)).read_text("utf-8"))
    found = {module: ast.get_docstring(tree) or ""}
    for node, after in zip(tree.body, [*tree.body[1:], None], strict=True):
        if isinstance(node, ast.ClassDef | ast.FunctionDef):
            found[node.name] = ast.get_docstring(node) or ""
        elif isinstance(node, ast.Assign) and isinstance(after, ast.Expr) and isinstance(after.value, ast.Constant):
            found |= {target.id: str(after.value.value) for target in node.targets if isinstance(target, ast.Name)}
    return found


def main() -> None:
    """Writes the page."""
    argparse.ArgumentParser(description=__doc__).parse_args()
    PAGE.write_text(page(), "utf-8")
    sys.stdout.write(f"wrote {PAGE.relative_to(ROOT)}\n")


if __name__ == "__main__":
    main()
