"""Writes what is generated in the docs; run by `make docs`, and tests check that all of it is fresh.

docs/reference/command-line.md is what `--help` prints, the README's table comes from a run record, the table of modules
in docs/design.md from the first lines of the modules' docstrings, what docs/guides/analysis.md shows from its commands,
on the published records, and from those, too, the market of critics in docs/guides/judging-critics.md and the controls
in docs/guides/prompted-refiner.md.
"""

import argparse
import ast
import os
import re
import shlex
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import click

from refine_eval.cli import cli
from refine_eval.results.ledger import Row
from refine_eval.results.records import RunRecord, read_run
from refine_eval.results.table import plain

ROOT = Path(__file__).resolve().parent.parent
REFERENCE = ROOT / "docs" / "reference" / "command-line.md"
README = ROOT / "README.md"
README_RUN = ROOT / "results" / "published" / "apples-glore"
DESIGN = ROOT / "docs" / "design.md"
ANALYSIS = ROOT / "docs" / "guides" / "analysis.md"
JUDGING = ROOT / "docs" / "guides" / "judging-critics.md"
PROMPTED = ROOT / "docs" / "guides" / "prompted-refiner.md"
INTRODUCTION = "# Command line\n\nWhat `--help` prints on terminals of 80 columns or more. Made by `make docs`.\n"
TABLE = ("<!-- table: make docs -->\n", "<!-- end of table -->\n")
UPPER_BOUND = " \\*"
MARKET = ("<!-- market: make docs -->\n", "<!-- end of market -->\n")
CONTROLS = ("<!-- controls: make docs -->\n", "<!-- end of controls -->\n")
PLACES = {"random": "by lot", "calculator": "calculator", "sorm": "sorm", "oracle": "the exact one"}
MODULES = ("<!-- modules: make docs -->\n", "<!-- end of modules -->\n")
PACKAGES = (
    "harness/refine_eval",
    "plugins/orm/refine_eval_orm",
    "plugins/sorm/refine_eval_sorm",
    "plugins/prm/refine_eval_prm",
    "plugins/judge/refine_eval_judge",
    "plugins/refiners/refine_eval_refiners",
    "plugins/untrained/refine_eval_untrained",
    "plugins/ensembles/refine_eval_ensembles",
    "benchmarks/refine_eval_benchmarks",
)


def reference() -> str:
    """The command reference: a section for each command and subcommand, in the order in which help lists them."""
    sections = [f"\n## refine-eval{words and ' '}{words}\n\n```\n{help_text(words)}\n```\n" for words in commands()]
    return INTRODUCTION + "".join(sections)


def commands() -> Iterator[str]:
    """The words of every command and subcommand, beginning with none at all."""
    return _commands(cli, ())


def _commands(command: click.Command, words: tuple[str, ...]) -> Iterator[str]:
    yield " ".join(words)
    if isinstance(command, click.Group):
        context = click.Context(command)
        for name in command.list_commands(context):
            subcommand = command.get_command(context, name)
            assert subcommand is not None
            yield from _commands(subcommand, (*words, name))


def help_text(words: str) -> str:
    """What `refine-eval WORDS --help` prints, in a process of its own, as for a user."""
    environment = {**os.environ, "COLUMNS": "80"}
    arguments = [sys.executable, "-m", "refine_eval", *words.split(), "--help"]
    return subprocess.run(arguments, capture_output=True, text=True, check=True, env=environment).stdout.rstrip()


def readme() -> str:
    """The README with the table of its run between the markers."""
    record = read_run(README_RUN)
    table = f"```\n$ {record.settings['command']}\n{plain(record.rows, record.filter)}\n```\n"
    return _between(README.read_text("utf-8"), TABLE, table)


def design() -> str:
    """The design page with the table of modules between the markers."""
    rooms = [room for package in PACKAGES for room in _rooms(ROOT / package)]
    return _between(DESIGN.read_text("utf-8"), MODULES, "\n".join(map(_room, rooms)))


def analysis() -> str:
    """The guide with what its commands print below them: blocks of code that begin with "$ refine-eval"."""

    def run(block: re.Match[str]) -> str:
        arguments = [sys.executable, "-m", *shlex.split(block[1].replace("refine-eval", "refine_eval", 1))]
        printed = subprocess.run(arguments, capture_output=True, text=True, check=True, cwd=ROOT).stdout
        return f"```\n$ {block[1]}\n{printed.rstrip()}\n```"

    return re.sub(r"```\n\$ (refine-eval .+)\n(?:.*\n)*?```", run, ANALYSIS.read_text("utf-8"))


def judging() -> str:
    """The guide with the critics of the suite market, the best choice first, between the markers."""
    records = [read_run(folder) for folder in sorted((ROOT / "results" / "published").glob("market-*"))]
    rows = {record.name.removeprefix("market-"): {row.name: row for row in record.rows} for record in records}
    main = records[0].filter
    lines = [
        "| critic | chosen: rerank % | 95 % interval | weighted vote % | tokens written | tokens read | FLOPs |\n",
        "| --- | ---: | ---: | ---: | ---: | ---: | ---: |\n",
    ]
    for name, of in sorted(rows.items(), key=lambda each: -each[1]["rerank"].accuracy(main)):
        best, vote = of["rerank"], of["weighted-vote"]
        figures = (
            *_right(best, main),
            *(f"{100 * vote.accuracy(main):.1f}", f"{best.tokens:.0f}", f"{best.read_tokens:.0f}", f"{best.flops:.1e}"),
        )
        lines.append(f"| {name}{UPPER_BOUND if best.needs_gold else ''} | {' | '.join(figures)} |\n")
    alone, voted = (rows["orm"][name].accuracy(main) for name in ("draft", "vote"))
    lines.append(
        f"\n{records[0].rows[0].problems:,} problems; the draft alone is right on {100 * alone:.1f} %, the plain "
        f"vote on {100 * voted:.1f} %.\nTokens and FLOPs are a problem's, the nine candidates' included.\n"
    )
    return _between(JUDGING.read_text("utf-8"), MARKET, "".join(lines))


def prompted() -> str:
    """The guide with the suite controls between the markers: what refinement is worth by where it begins."""
    published = ROOT / "results" / "published"
    of_samples = read_run(published / "controls-resample")
    lines = [
        "| where | refiner | alone % | 95 % interval | gained | lost | choice by orm % | tokens written |\n",
        "| --- | --- | ---: | ---: | ---: | ---: | ---: | ---: |\n",
        _control("–", of_samples),
    ]
    for refiner in ("continue", "local"):
        lines += [_control(say, read_run(published / f"controls-{refiner}-{at}")) for at, say in PLACES.items()]
    draft = of_samples.rows[0]
    lines.append(
        f"\n{draft.problems:,} problems; the draft is right on {100 * draft.accuracy(of_samples.filter):.1f} % and has "
        f"{draft.tokens:.1f} tokens. Tokens are a problem's, the draft's included.\n"
    )
    return _between(PROMPTED.read_text("utf-8"), CONTROLS, "".join(lines))


def _control(where: str, record: RunRecord) -> str:
    """The line of a run of the suite controls."""
    alone = next(row for row in record.rows if row.kind == "refiner")
    choice = next(row for row in record.rows if row.name == "rerank")
    figures = (
        *_right(alone, record.filter),
        *(f"+{alone.gained}", f"−{alone.lost}", f"{100 * choice.accuracy(record.filter):.1f}", f"{alone.tokens:.1f}"),
    )
    return f"| {where}{UPPER_BOUND if alone.needs_gold else ''} | {alone.name} | {' | '.join(figures)} |\n"


def _right(row: Row, filter_name: str) -> tuple[str, str]:
    """The cells of a row's accuracy and its interval, in percent."""
    return f"{100 * row.accuracy(filter_name):.1f}", f"{100 * row.low:.1f}–{100 * row.high:.1f}"


def _between(page: str, markers: tuple[str, str], text: str) -> str:
    begin, end = markers
    head, found, rest = page.partition(begin)
    _, found_too, tail = rest.partition(end)
    assert found, f"the page has no line {begin!r}"
    assert found_too, f"the page has no line {end!r}"
    return f"{head}{begin}{text}{end}{tail}"


def _rooms(package: Path) -> Iterator[Path]:
    """The package and the packages in it, each before those in it."""
    yield package
    for folder in sorted(path.parent for path in package.glob("*/__init__.py")):
        yield from _rooms(folder)


def _room(room: Path) -> str:
    """A room's section: its path below the project's folders, its question, and a table of its modules."""
    package = next(ROOT / name for name in PACKAGES if room.is_relative_to(ROOT / name))
    modules = sorted(path for path in room.glob("*.py") if path.name != "__init__.py")
    rows = "".join(f"| `{path.name}` | {first_line(path)} |\n" for path in modules)
    table = f"\n| module | what is in it |\n| --- | --- |\n{rows}" if rows else ""
    return f"### `{room.relative_to(package.parent)}/`\n\n{first_line(room / '__init__.py')}\n{table}"


def first_line(module: Path) -> str:
    """The first line of a module's docstring, which says what the module is for; AssertionError if it has none."""
    documentation = ast.get_docstring(ast.parse(module.read_text("utf-8")))
    assert documentation, f"{module} has no docstring"
    return documentation.splitlines()[0].replace("|", "\\|")


def main() -> None:
    """Writes the pages."""
    argparse.ArgumentParser(description=__doc__).parse_args()
    pages = ((REFERENCE, reference()), (README, readme()), (DESIGN, design()), (ANALYSIS, analysis()))
    for path, text in (*pages, (JUDGING, judging()), (PROMPTED, prompted())):
        path.write_text(text, "utf-8")
        sys.stdout.write(f"wrote {path.relative_to(ROOT)}\n")


if __name__ == "__main__":
    main()
