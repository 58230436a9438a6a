"""Tables, such as that at the end of a run: rich on a terminal, plain text elsewhere, the same cells in both."""

from __future__ import annotations

from collections.abc import Sequence

from refine_eval.data import LeftOut
from refine_eval.results.ledger import Row
from refine_eval.results.markdown import inline
from refine_eval.terminal import one_line, strip_control

UPPER_BOUND = "*"
FOOTNOTE = "* sees the gold answers: an upper bound, not a method"


def header(filters: Sequence[str], main: str) -> list[str]:
    """Column heads. `main` is the filter under which intervals and changes are counted."""
    others = [f"{name} %" for name in filters if name != main]
    return [
        "answer",
        "right",
        f"{main} %",
        "95 % interval",
        *others,
        "wrong→right",
        "right→wrong",
        "p",
        "tokens",
        "seconds",
    ]


def cells(row: Row, main: str) -> list[str]:
    """One row's cells, in the order of `header`."""
    others = [f"{100 * row.accuracy(name):.1f}" for name in row.correct if name != main]
    changes = (
        ["", "", ""]
        if row.kind == "draft"
        else [f"+{row.gained}", f"−{row.lost}", "<.001" if row.p_value < 0.001 else f"{row.p_value:.3f}"]
    )
    return [
        label(row),
        str(row.correct[main]),
        f"{100 * row.accuracy(main):.1f}",
        f"{100 * row.low:.1f}–{100 * row.high:.1f}",
        *others,
        *changes,
        f"{row.tokens:.1f}",
        f"{row.seconds:.1f}",
    ]


def label(row: Row) -> str:
    """What the row is: "draft", "local alone", "chosen: rerank", marked where it sees gold."""
    names = {"draft": row.name, "refiner": f"{row.name} alone", "selector": f"chosen: {row.name}"}
    return names[row.kind] + (f" {UPPER_BOUND}" if row.needs_gold else "")


def notes(left_out: Sequence[LeftOut]) -> list[str]:
    """What stands under a table: "orm could not score 1 of 24 texts: longer than the critic's context"."""
    return [
        one_line(f"{each.component} could not {each.verb} {each.texts:,} of {each.of:,} texts: {each.reason}")
        for each in left_out
    ]


def plain(rows: Sequence[Row], main: str) -> str:
    """The table as aligned text."""
    texts = [header(list(rows[0].correct), main), *(cells(row, main) for row in rows)]
    lines = [[one_line(cell) for cell in line] for line in texts]
    widths = [max(len(line[i]) for line in lines) for i in range(len(lines[0]))]
    text = [
        "  ".join(
            cell.ljust(w) if i == 0 else cell.rjust(w) for i, (cell, w) in enumerate(zip(line, widths, strict=True))
        )
        for line in lines
    ]
    if any(row.needs_gold for row in rows):
        text.append(FOOTNOTE)
    return "\n".join(line.rstrip() for line in text)


def markdown(rows: Sequence[Row], main: str) -> str:
    """The table as GitHub Markdown."""
    head = header(list(rows[0].correct), main)
    lines = [head, *(cells(row, main) for row in rows)]
    rule = "| " + " | ".join(["---", *["---:"] * (len(head) - 1)]) + " |"
    first, *rest = ("| " + " | ".join(map(inline, line)) + " |" for line in lines)
    return "\n".join([first, rule, *rest])


def html(rows: Sequence[Row], main: str, title: str, left_out: Sequence[LeftOut] = ()) -> str:
    """The table as HTML for notebooks; names are others' texts and are escaped."""
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
        *(line("td", cells(row, main), marked if row.needs_gold else "") for row in rows),
    ]
    below = ([FOOTNOTE] if any(row.needs_gold for row in rows) else []) + notes(left_out)
    footnote = "".join(f"<p>{escape(line)}</p>" for line in below)
    return f"<table><caption>{escape(strip_control(title))}</caption>{''.join(lines)}</table>{footnote}"


def print_rich(rows: Sequence[Row], main: str, title: str) -> None:
    """Prints the table on a terminal: the draft dim, the run's choice bold, upper bounds in italics."""
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    table = Table(title=Text(one_line(title)), caption=FOOTNOTE if any(row.needs_gold for row in rows) else None)
    head = header(list(rows[0].correct), main)
    for i, name in enumerate(head):
        table.add_column(Text(one_line(name)), justify="left" if i == 0 else "right", no_wrap=i == 0)
    choice = next((row for row in rows if row.kind == "selector"), None)
    for row in rows:
        style = "italic dim" if row.needs_gold else "bold green" if row is choice else ""
        table.add_row(*(Text(one_line(cell)) for cell in cells(row, main)), style=style)
    Console().print(table)
