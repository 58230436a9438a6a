"""What a terminal shows: progress of long work, listings, and foreign text without control characters.

Progress goes to stderr: a rich bar with rate and time left on a terminal, plain lines elsewhere.
"""

from __future__ import annotations

import sys
import time
import unicodedata
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from typing import TYPE_CHECKING, TextIO

if TYPE_CHECKING:
    from rich.console import Console

Tick = Callable[[int], None]
"""Call with the number of items that were finished since the last call."""

LONGEST_SHOWN = 100
"""How many characters of a value go into a sentence."""

_PLAIN_LINE_EVERY_S = 10.0

_advice: ContextVar[bool] = ContextVar("advice", default=True)


def want_advice(wanted: bool) -> None:
    """Says whether warnings about what a command does not use are to be shown from now on."""
    _advice.set(wanted)


def advice_wanted() -> bool:
    """Whether warnings about what a command does not use are shown; `--quiet` asks for none."""
    return _advice.get()


class Progress:
    """Shows one stage after the other. `quiet` shows nothing."""

    def __init__(self, quiet: bool = False) -> None:
        self.quiet = quiet
        self.stream = sys.stderr  # kept: libraries that chatter on stderr are silenced while a run goes on
        self.terminal = self.stream.isatty()
        self._console: Console | None = None
        self._noted: set[str] = set()

    @contextmanager
    def stage(self, title: str, total: int, unit: str = "it", done: int = 0) -> Iterator[Tick]:
        """Shows `title` with a count up to `total` while the block runs; `done` of them were done before."""
        if self.quiet or total == 0:
            yield lambda n: None
        elif self.terminal:
            from rich.console import Console

            self._console = Console(file=self.stream)
            try:
                yield from _bar(title, total, unit, done, self._console)
            finally:
                self._console = None
        else:
            yield from _lines(title, total, unit, done, self.stream)

    def note(self, text: str, *, once: bool = False) -> None:
        """A line of its own, above the bar where there is one; `once`: unless it was said before."""
        if self.quiet or (once and text in self._noted):
            return
        self._noted.add(text)
        self.warn(text)

    def warn(self, text: str) -> None:
        """A line that is shown where progress is not wanted, too."""
        if self._console is not None:
            self._console.print(text, markup=False, highlight=False, soft_wrap=True)
        else:
            print(text, file=self.stream, flush=True)


def _bar(title: str, total: int, unit: str, before: int, console: Console) -> Iterator[Tick]:
    from rich.progress import BarColumn, MofNCompleteColumn, TextColumn, TimeElapsedColumn, TimeRemainingColumn
    from rich.progress import Progress as Bar

    columns = [
        TextColumn("{task.description:<24}", markup=False),
        BarColumn(),
        MofNCompleteColumn(),
        TextColumn("{task.fields[rate]}"),
        TimeElapsedColumn(),
        TextColumn("left"),
        TimeRemainingColumn(),
    ]
    start = time.monotonic()
    with Bar(*columns, console=console) as bar:
        task = bar.add_task(title, total=total, completed=before, rate="")

        def tick(n: int) -> None:
            done = bar.tasks[0].completed - before + n
            bar.update(task, advance=n, rate=_rate(done / max(time.monotonic() - start, 1e-9), unit))

        yield tick


def _lines(title: str, total: int, unit: str, before: int, stream: TextIO) -> Iterator[Tick]:
    start = last = time.monotonic()
    done = before

    def tick(n: int) -> None:
        nonlocal done, last
        done += n
        now = time.monotonic()
        if now - last >= _PLAIN_LINE_EVERY_S and done < total:
            last = now
            rate = (done - before) / (now - start)
            print(
                f"{title}: {done}/{total}, {_rate(rate, unit)}, {(total - done) / rate:.0f} s left",
                file=stream,
                flush=True,
            )

    yield tick
    print(f"{title}: {done}/{total} in {time.monotonic() - start:.1f} s", file=stream, flush=True)


def _rate(rate: float, unit: str) -> str:
    return f"{rate:.{1 if rate >= 1 else 2}f} {unit}/s"


def strip_control(text: str) -> str:
    """Text without control characters, for terminals and pages: model output may hold escape sequences."""
    if all(map(str.isprintable, text.split("\n"))):  # most texts: a look at each character would take long
        return text
    return "".join(c if c in "\n\t" or unicodedata.category(c)[0] != "C" else "\N{REPLACEMENT CHARACTER}" for c in text)


def shortened(text: str, longest: int) -> str:
    """A text in one line, without control characters, and of no more than `longest` characters."""
    line = one_line(text[: 10 * longest])
    return line if len(line) <= longest and len(text) <= 10 * longest else f"{line[: longest - 3]}..."


def shown(value: object) -> str:
    """A value of anybody's as part of a sentence: its repr, harmless and short, or its kind where it has none."""
    try:
        if not isinstance(value, int) or abs(value) < 10**60:
            return shortened(repr(value), LONGEST_SHOWN)
    except BaseException as error:  # a plugin's __repr__ may even call sys.exit()
        if type(error) is KeyboardInterrupt:
            raise
        return shortened(f"a {type(value).__name__} that cannot be shown", LONGEST_SHOWN)
    return "so large a number"


def encodable(text: str) -> str:
    """Text that UTF-8 can hold: half a surrogate pair, as of an emoji that was cut in two, becomes "?"."""
    try:
        text.encode()
    except UnicodeEncodeError:
        return text.encode("utf-8", "replace").decode()
    return text  # and no copy of it: a run holds many


def one_line(text: str) -> str:
    """Text without control characters and line breaks, for a cell or a title: it cannot pose as more of the page."""
    return " ".join(strip_control(text).split())


def print_listing(head: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
    """Prints a table on a terminal, aligned columns elsewhere. Cells are others' texts, never read as markup."""
    rows = [[one_line(cell) for cell in row] for row in rows]
    if sys.stdout.isatty():
        from rich.console import Console
        from rich.table import Table
        from rich.text import Text

        table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0))
        for column in head:
            table.add_column(column, overflow="fold")
        for row in rows:
            table.add_row(*map(Text, row))
        Console().print(table)
        return
    for line in aligned([list(head), *rows], left=len(head)):
        print(line)


def count_of(number: int, what: str) -> str:
    """A number of things: "1 problem", "1,319 problems"."""
    return f"{number:,} {what}{'s' if number != 1 else ''}"


def aligned(lines: Sequence[Sequence[str]], left: int = 0) -> list[str]:
    """Lines of cells as lines of text: the first `left` columns flush left, the others flush right."""
    widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
    text = []
    for line in lines:
        cells = enumerate(zip(line, widths, strict=True))
        padded = (cell.ljust(width) if at < left else cell.rjust(width) for at, (cell, width) in cells)
        text.append("  ".join(padded).rstrip())
    return text
