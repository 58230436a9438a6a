"""The leaderboard as Markdown, HTML, CSV, LaTeX and parquet. The same records give the same bytes."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import groupby
from textwrap import fill
from typing import Any

from refine_eval.results.markdown import code, code_block, inline
from refine_eval.results.pages import csp_hash, package_text, template
from refine_eval.results.ranking import LEFT_OUT, REPORTED, SECOND_HAND, Line, Ranking, rankings
from refine_eval.results.records import RunRecord
from refine_eval.results.sheets import Columns, csv_bytes, parquet_bytes
from refine_eval.results.table import FOOTNOTES, TUNED, UPPER_BOUND, counted, html, markdown, notes
from refine_eval.terminal import one_line, strip_control

RUNS_PAGE = "leaderboard-runs.md"

_NOTHING = "–"

_LEGEND = (
    "Strategies are ranked by accuracy, the lm-eval task's own metric; records that differ only in their seed are one "
    "line. Intervals (95 %) and p are over problems and, with several seeds, over both; p is of the gain over the "
    "draft of the same run, paired by problem, and adjusted for all methods of its table (Holm). wrong→right and "
    "right→wrong are answers against the draft, tokens are written tokens a problem, seconds the models' time for all "
    "problems on the machine of the run: means over seeds. Critics are named as when/where/choose.",
    f"{'. '.join(FOOTNOTES.values())}. {LEFT_OUT} some texts could not be written or scored: see the run.",
    "reported: a figure of the source named, not a run; second-hand: as told by somebody else.",
)


@dataclass(frozen=True, slots=True)
class _Column:
    """A column: its key in files for machines, its head for people, and the cell of a line for both."""

    key: str
    head: str
    value: Callable[[Line], float | int | str | None]
    shown: Callable[[Any], str] = str
    is_text: bool = False
    is_optional: bool = False
    """Whether tables for people leave it out where no line of theirs says anything: older records do not."""


def _percent(value: float) -> str:
    return f"{100 * value:.1f}"


def _count(value: float) -> str:
    return f"{value:,.1f}".removesuffix(".0")


_COLUMNS = (
    _Column("strategy", "strategy", lambda line: line.strategy, is_text=True),
    _Column("critics", "critics", lambda line: line.critics or None, is_text=True),
    _Column("accuracy", "accuracy %", lambda line: line.accuracy, _percent),
    _Column("low", "from", lambda line: line.low, _percent),
    _Column("high", "to", lambda line: line.high, _percent),
    _Column("gain", "gain", lambda line: line.gain, lambda value: f"{100 * value:+.1f}".replace("-", "−")),
    _Column("p", "p", lambda line: line.p_value, lambda value: "<.001" if value < 0.001 else f"{value:.3f}"),
    _Column("gained", "wrong→right", lambda line: line.gained, lambda value: f"+{_count(value)}"),
    _Column("lost", "right→wrong", lambda line: line.lost, lambda value: f"−{_count(value)}"),
    _Column("tokens", "tokens", lambda line: line.tokens, lambda value: f"{value:.1f}"),
    _Column("read_tokens", "read", lambda line: line.read_tokens, lambda value: f"{value:.1f}", is_optional=True),
    _Column("flops", "FLOPs", lambda line: line.flops, lambda value: f"{value:.2e}", is_optional=True),
    _Column("seconds", "seconds", lambda line: line.seconds, lambda value: f"{value:.1f}"),
    _Column("cut_off", "cut off %", lambda line: line.cut_off, _percent),
    _Column("n", "n", lambda line: line.problems, lambda value: f"{value:,}"),
    _Column("seeds", "seeds", lambda line: line.seeds or None),
)


def files(records: Sequence[RunRecord], reported: Sequence[tuple[str, str, Line]], form: str) -> dict[str, bytes]:
    """File name -> content of the leaderboard in a form of `FORMS`; RunError where something it needs is missing."""
    tables = rankings(records, reported)
    return FORMS[form](tables, sorted(records, key=lambda record: record.name))


def _columns(table: Ranking) -> list[_Column]:
    """The columns of a table for people."""
    known = {column.key for column in _COLUMNS for line in table.lines if column.value(line) is not None}
    return [column for column in _COLUMNS if column.key in known or not column.is_optional]


def _ranks(table: Ranking) -> Iterator[tuple[str, Line]]:
    rank = 0
    for line in table.lines:
        rank += line.is_method
        yield (str(rank) if line.is_method else "", line)


def _cell(column: _Column, line: Line) -> str:
    value = column.value(line)
    text = _NOTHING if value is None else one_line(column.shown(value))
    marks = " ".join(f"({mark})" if mark in (REPORTED, SECOND_HAND) else mark for mark in line.marks)
    return f"{text} {marks}".rstrip() if column.key == "strategy" else text


def _plain(column: _Column, line: Line) -> float | int | str | None:
    """The value of a cell for machines."""
    value = column.value(line)
    return one_line(value) if isinstance(value, str) else value


def _groups(names: Sequence[str]) -> dict[str, str]:
    """Names of runs as shown, those alike but for a number as one (`tiny-*-glore`), and the first name of each."""
    found: dict[str, list[str]] = {}
    for name in names:
        found.setdefault(re.sub(r"\d+", "*", name, count=1), []).append(name)
    return {(shown if len(some) > 1 else some[0]): some[0] for shown, some in found.items()}


def _anchors(records: Sequence[RunRecord]) -> dict[str, str]:
    return {record.name: f"run-{number}" for number, record in enumerate(records, 1)}


def _markdown(tables: Sequence[Ranking], records: Sequence[RunRecord]) -> dict[str, bytes]:
    anchors = _anchors(records)
    note = "Generated by `refine-eval leaderboard` from run records; do not edit."
    parts = [f"# Leaderboard\n\n{note} Each run\nwith its command: [{RUNS_PAGE}]({RUNS_PAGE}).\n"]
    parts += [f"\n{fill(text, 120).replace('*', chr(92) + '*')}\n" for text in _LEGEND]
    for task, found in groupby(tables, key=lambda table: table.task):
        parts.append(f"\n## {inline(task)}\n")
        parts += [_markdown_table(table, anchors) for table in found]
    runs = [f"# Runs of the leaderboard\n\n{note} Back to [leaderboard.md](leaderboard.md).\n"]
    runs += [_section(record, anchors[record.name]) for record in records]
    return {"leaderboard.md": "".join(parts).encode(), RUNS_PAGE: "".join(runs).encode()}


def _markdown_table(table: Ranking, anchors: Mapping[str, str]) -> str:
    def runs(line: Line) -> str:
        links = [f"[{inline(shown)}]({RUNS_PAGE}#{anchors[first]})" for shown, first in _groups(line.runs).items()]
        return ", ".join(links[:3]) + (f" and {len(links) - 3} more" if len(links) > 3 else "") or inline(line.source)

    columns = _columns(table)
    head = ["", *(column.head for column in columns), "runs"]
    rule = ["---:", *("---" if column.is_text else "---:" for column in columns), "---"]
    lines = [[rank, *(inline(_cell(column, line)) for column in columns), runs(line)] for rank, line in _ranks(table)]
    text = "\n".join("| " + " | ".join(cells) + " |" for cells in [head, rule, *lines])
    identities = ", ".join(code(identity) for identity in table.identities if identity)
    return f"\n### {inline(table.student)}\n\n{f'Student: {identities}' + chr(10) * 2 if identities else ''}{text}\n"


def _section(record: RunRecord, anchor: str) -> str:
    settings = record.settings
    names = (settings["task"]["name"], settings["model"]["name"])
    where = ", ".join([*map(inline, names), counted(record.rows[0]), inline(settings["machine"])])
    below = "".join(f"- {inline(note)}\n" for note in notes(record.left_out, record.cut_off, record.tuning))
    return (
        f'\n<a id="{anchor}"></a>\n\n## {inline(record.name)}\n\n{where}\n\n{code_block(settings["command"])}\n'
        f"{_stage(settings)}{markdown(record.rows, record.filter)}\n" + (f"\n{below}" if below else "")
    )


def _stage(settings: Mapping[str, Any]) -> str:
    return f"Stage {code(settings['stage'])} of that recipe.\n\n" if "stage" in settings else ""


def _html(tables: Sequence[Ranking], records: Sequence[RunRecord]) -> dict[str, bytes]:
    from markupsafe import Markup

    anchors = _anchors(records)
    script = package_text("leaderboard.js")
    page = template("leaderboard.html.j2").render(
        script=Markup(script),
        script_hash=csp_hash(script),
        legend=_LEGEND,
        tables=[
            {
                "columns": _columns(table),
                "title": one_line(f"{table.task}: {table.student}"),
                "identities": [one_line(identity) for identity in table.identities if identity],
                "lines": [
                    {
                        "rank": rank,
                        "is_method": line.is_method,
                        "cells": [(_cell(column, line), _plain(column, line)) for column in _columns(table)],
                        "runs": [(one_line(shown), anchors[first]) for shown, first in _groups(line.runs).items()],
                        "source": one_line(line.source),
                    }
                    for rank, line in _ranks(table)
                ],
            }
            for table in tables
        ],
        runs=[
            {
                "anchor": anchors[record.name],
                "name": one_line(record.name),
                "command": strip_control(record.settings["command"]),
                "stage": one_line(record.settings.get("stage", "")),
                "machine": one_line(record.settings["machine"]),
                "table": Markup(
                    html(record.rows, record.filter, record.name, notes(record.left_out, record.cut_off, record.tuning))
                ),
            }
            for record in records
        ],
    )
    return {"leaderboard.html": page.encode()}


def _rows(tables: Sequence[Ranking]) -> list[dict[str, Any]]:
    """The lines as flat rows of plain values, for files that other programs read."""
    return [
        {
            "task": one_line(table.task),
            "student": one_line(table.student),
            "rank": int(rank) if rank else None,
            **{column.key: _plain(column, line) for column in _COLUMNS},
            "marks": ", ".join(_MARKS[mark] for mark in line.marks),
            "runs": " ".join(one_line(name) for name in line.runs),
            "source": one_line(line.source),
        }
        for table in tables
        for rank, line in _ranks(table)
    ]


_SHEET: Columns = {
    **dict.fromkeys(("task", "student"), "text"),
    "rank": "whole",
    **{c.key: "text" if c.is_text else "whole" if c.key in ("n", "seeds") else "number" for c in _COLUMNS},
    **dict.fromkeys(("marks", "runs", "source"), "text"),
}

_MARKS = {
    UPPER_BOUND: "upper bound",
    TUNED: "tuned on its own problems",
    LEFT_OUT: "texts left out",
    REPORTED: REPORTED,
    SECOND_HAND: SECOND_HAND,
}


def _csv(tables: Sequence[Ranking], records: Sequence[RunRecord]) -> dict[str, bytes]:
    del records
    return {"leaderboard.csv": csv_bytes(_SHEET, _rows(tables))}


def _latex(tables: Sequence[Ranking], records: Sequence[RunRecord]) -> dict[str, bytes]:
    del records
    parts = ["% Generated by refine-eval leaderboard; needs the package booktabs.\n"]
    for table in tables:
        columns = [column for column in _columns(table) if column.key not in ("low", "high", "seconds")]
        lines = [[_tex(column.head) for column in columns]]
        for _, line in _ranks(table):
            lines.append([_tex(_cell(column, line)) for column in columns])
            if line.low is not None and line.high is not None:
                lines[-1][2] += f" [{_percent(line.low)}, {_percent(line.high)}]"
        head, *rest = (" & ".join(cells) + r" \\" for cells in lines)
        shape = "".join("l" if column.is_text else "r" for column in columns)
        parts.append(
            "\n\\begin{table}\n\\centering\n"
            f"\\caption{{{_tex(f'{table.task}, {table.student}')}}}\n\\begin{{tabular}}{{{shape}}}\n\\toprule\n{head}\n"
            "\\midrule\n" + "\n".join(rest) + "\n\\bottomrule\n\\end{tabular}\n\\end{table}\n"
        )
    return {"leaderboard.tex": "".join(parts).encode()}


_TEX = {character: f"\\{character}" for character in "&%$#_{}"} | {
    "\\": r"\textbackslash{}",
    "~": r"\textasciitilde{}",
    "^": r"\textasciicircum{}",
    "<": r"\textless{}",
    ">": r"\textgreater{}",
    "*": r"\textsuperscript{*}",
    "†": r"\textsuperscript{\dag}",
    "‡": r"\textsuperscript{\ddag}",
    "→": r"$\to$",
    "×": r"$\times$",
    "−": "$-$",
    "–": "--",
}


def _tex(text: str) -> str:
    return "".join(_TEX.get(character, character) for character in one_line(text))


def _parquet(tables: Sequence[Ranking], records: Sequence[RunRecord]) -> dict[str, bytes]:
    del records
    return {"leaderboard.parquet": parquet_bytes(_SHEET, _rows(tables))}


FORMS: Mapping[str, Callable[[Sequence[Ranking], Sequence[RunRecord]], dict[str, bytes]]] = {
    "markdown": _markdown,
    "html": _html,
    "csv": _csv,
    "latex": _latex,
    "parquet": _parquet,
}
"""What a leaderboard can be written as."""
