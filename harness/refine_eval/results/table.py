"""Tables, such as that at the end of a run: rich on a terminal, plain text elsewhere, the same cells in both."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass

from refine_eval.costs import CutOff, LeftOut
from refine_eval.errors import UsageError, suggestion
from refine_eval.results.ledger import ROUND, Row
from refine_eval.results.markdown import inline
from refine_eval.results.tuning import Tuning
from refine_eval.terminal import aligned, count_of, one_line, strip_control

UPPER_BOUND, TUNED = "*", "‡"
UNKNOWN = "-"
UNKNOWN_NOTE = f"{UNKNOWN} not known: the engine does not say, or an older version wrote it"
FOOTNOTES = {
    UPPER_BOUND: f"{UPPER_BOUND} sees the gold answers: an upper bound, not a method",
    TUNED: f"{TUNED} a threshold was tuned on these very problems: too good, and no result to report",
}
"""What the marks of rows mean."""


@dataclass(frozen=True, slots=True)
class Column:
    """A column of the table, or one for each of the task's other filters: `heads` given the filters and the main one,
    `cells` given a row and the main filter."""

    heads: Callable[[Sequence[str], str], list[str]]
    cells: Callable[[Row, str], list[str]]


def _column(head: str, cell: Callable[[Row, str], str]) -> Column:
    return Column(lambda filters, main: [head], lambda row, main: [cell(row, main)])


def _change(head: str, cell: Callable[[Row], str]) -> Column:
    """A column that compares with the draft, and is empty in its own row."""
    return _column(head, lambda row, main: "" if row.kind == "draft" else cell(row))


COLUMNS: Mapping[str, Column] = {
    "answer": _column("answer", lambda row, main: label(row)),
    "right": _column("right", lambda row, main: str(row.correct[main])),
    "accuracy": Column(lambda filters, main: [f"{main} %"], lambda row, main: [f"{100 * row.accuracy(main):.1f}"]),
    "interval": _column("95 % interval", lambda row, main: f"{100 * row.low:.1f}–{100 * row.high:.1f}"),
    "others": Column(
        lambda filters, main: [f"{name} %" for name in filters if name != main],
        lambda row, main: [f"{100 * row.accuracy(name):.1f}" for name in row.correct if name != main],
    ),
    "gained": _change("wrong→right", lambda row: f"+{row.gained}"),
    "lost": _change("right→wrong", lambda row: f"−{row.lost}"),
    "p": _change("p", lambda row: "<.001" if row.p_value < 0.001 else f"{row.p_value:.3f}"),
    "tokens": _column("tokens", lambda row, main: f"{row.tokens:.1f}"),
    "seconds": _column("seconds", lambda row, main: f"{row.seconds:.1f}"),
    "read": _column("read", lambda row, main: UNKNOWN if row.read_tokens is None else f"{row.read_tokens:.1f}"),
    "flops": _column("FLOPs", lambda row, main: UNKNOWN if row.flops is None else f"{row.flops:.2e}"),
    "cut-off": _column(
        "cut off %",
        lambda row, main: UNKNOWN if row.cut_off is None else f"{100 * row.cut_off / row.answers:.1f}",
    ),
}
"""All columns that a table can have, by the names that `--columns` takes."""

USUAL = ("answer", "right", "accuracy", "interval", "others", "gained", "lost", "p", "tokens", "seconds")
"""The columns that a table has where nobody asks for others."""


def header(filters: Sequence[str], main: str, columns: Sequence[str] = USUAL) -> list[str]:
    """Column heads. `main` is the filter under which intervals and changes are counted."""
    return [head for name in columns for head in COLUMNS[name].heads(filters, main)]


def cells(row: Row, main: str, columns: Sequence[str] = USUAL) -> list[str]:
    """One row's cells, in the order of `header`."""
    return [cell for name in columns for cell in COLUMNS[name].cells(row, main)]


def known_columns(rows: Sequence[Row]) -> tuple[str, ...]:
    """The usual columns, and those of which at least one row says something: older records do not."""
    return (*USUAL, *(name for name, knows in _KNOWS.items() if any(map(knows, rows))))


_KNOWS: Mapping[str, Callable[[Row], bool]] = {
    "read": lambda row: row.read_tokens is not None,
    "flops": lambda row: row.flops is not None,
    "cut-off": lambda row: row.cut_off is not None,
}


def read_columns(given: str) -> tuple[str, ...]:
    """The columns of a list such as "answer,accuracy,tokens"; UsageError, which names them all, for another name."""
    names = tuple(dict.fromkeys(name.strip() for name in given.split(",") if name.strip()))
    if unknown := [name for name in names if name not in COLUMNS]:
        raise UsageError(
            f"--columns has no column {unknown[0]!r}.{suggestion(unknown[0], COLUMNS)} It has: {', '.join(COLUMNS)}."
        )
    if not names:
        raise UsageError(f"--columns names no column. It has: {', '.join(COLUMNS)}.")
    return names


def label(row: Row) -> str:
    """What the row is: "draft", "local alone", "chosen: rerank", with its marks."""
    names = {
        "draft": row.name,
        "refiner": f"{row.name} alone",
        ROUND: f"after {row.name}",
        "selector": f"chosen: {row.name}",
    }
    return " ".join([names[row.kind], *marks(row)])


def marks(row: Row) -> tuple[str, ...]:
    """The marks of a row that is no method, of `FOOTNOTES`."""
    return (*[UPPER_BOUND] * row.needs_gold, *[TUNED] * row.tuned)


def footnotes(rows: Iterable[Row]) -> list[str]:
    """What the marks of these rows mean."""
    used = {mark for row in rows for mark in marks(row)}
    return [note for mark, note in FOOTNOTES.items() if mark in used]


def counted(row: Row) -> str:
    """What a table is over: "1,319 problems", "30 problems x 64 drafts"."""
    return count_of(row.problems, "problem") + (f" x {row.drafts:,} drafts" if row.drafts > 1 else "")


def notes(left_out: Sequence[LeftOut], cut_off: Sequence[CutOff] = (), tuning: Tuning | None = None) -> list[str]:
    """What stands under a table: "orm could not score 1 of 24 texts: longer than the critic's context".

    Of the texts that hit the length limit there is a line where some did: "cut off at the length limit: draft 12.5 %
    (3 of 24), sample 0.0 % (0 of 48)"; of thresholds that were tuned what `Tuning.note` says.
    """
    lines = [
        f"{each.component} could not {each.verb} {each.texts:,} of {each.of:,} texts: {each.reason}"
        for each in left_out
    ]
    if any(each.texts for each in cut_off):
        shares = (
            f"{each.stage} {100 * each.texts / each.of:.1f} % ({each.texts:,} of {each.of:,})" for each in cut_off
        )
        lines.append(f"cut off at the length limit: {', '.join(shares)}")
    if tuning is not None:
        lines.append(tuning.note)
    return list(map(one_line, lines))


def plain(rows: Sequence[Row], main: str, columns: Sequence[str] = USUAL) -> str:
    """The table as aligned text."""
    texts = [header(list(rows[0].correct), main, columns), *(cells(row, main, columns) for row in rows)]
    text = aligned([[one_line(cell) for cell in line] for line in texts], left=1)
    return "\n".join([*text, *_footnotes(rows, main, columns)])


def _footnotes(rows: Sequence[Row], main: str, columns: Sequence[str]) -> list[str]:
    return [*footnotes(rows), *([UNKNOWN_NOTE] if any(UNKNOWN in cells(row, main, columns) for row in rows) else [])]


def markdown(rows: Sequence[Row], main: str) -> str:
    """The table as GitHub Markdown."""
    head = header(list(rows[0].correct), main)
    lines = [head, *(cells(row, main) for row in rows)]
    rule = "| " + " | ".join(["---", *["---:"] * (len(head) - 1)]) + " |"
    first, *rest = ("| " + " | ".join(map(inline, line)) + " |" for line in lines)
    return "\n".join([first, rule, *rest])


def html(rows: Sequence[Row], main: str, title: str, below: Sequence[str] = ()) -> str:
    """The table as HTML for notebooks, with the lines `below` it; names are others' texts and are escaped."""
    from html import escape

    def line(tag: str, texts: Sequence[str], style: str = "") -> str:
        aligned = (f'<{tag} style="text-align: {"right" if i else "left"}">' for i in range(len(texts)))
        cells = "".join(
            f"{start}{escape(strip_control(text))}</{tag}>" for start, text in zip(aligned, texts, strict=True)
        )
        return f"<tr{style}>{cells}</tr>"

    marked = ' style="font-style: italic; opacity: 0.6"'
    lines = [
        line("th", header(list(rows[0].correct), main)),
        *(line("td", cells(row, main), "" if row.is_method else marked) for row in rows),
    ]
    footnote = "".join(f"<p>{escape(line)}</p>" for line in (*footnotes(rows), *below))
    return f"<table><caption>{escape(strip_control(title))}</caption>{''.join(lines)}</table>{footnote}"


def print_rich(rows: Sequence[Row], main: str, title: str, columns: Sequence[str] = USUAL) -> None:
    """Prints the table on a terminal: the draft dim, the run's choice bold, what is no method in italics."""
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    table = Table(title=Text(one_line(title)), caption="\n".join(_footnotes(rows, main, columns)) or None)
    head = header(list(rows[0].correct), main, columns)
    for i, name in enumerate(head):
        table.add_column(Text(one_line(name)), justify="left" if i == 0 else "right", no_wrap=i == 0)
    choice = next((row for row in rows if row.kind == "selector"), None)
    for row in rows:
        style = "italic dim" if not row.is_method else "bold green" if row is choice else ""
        table.add_row(*(Text(one_line(cell)) for cell in cells(row, main, columns)), style=style)
    Console().print(table)
