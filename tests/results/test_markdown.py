"""Others' names on pages and terminals stay text."""

import io
import re
from dataclasses import replace
from pathlib import Path

import pytest
from records import TRACES, write

from refine_eval.results.leaderboard import files
from refine_eval.results.ledger import rows
from refine_eval.results.markdown import code, code_block, inline
from refine_eval.results.records import RunRecord, read_run
from refine_eval.results.table import html, markdown, plain, print_rich


@pytest.mark.parametrize(
    ("text", "line"),
    [
        ("gsm8k_zero_shot 4 x86_64 cores, a-b+c.d", "gsm8k_zero_shot 4 x86_64 cores, a-b+c.d"),
        ("<.001", "<.001"),
        ("# Heading", "\\# Heading"),
        ("> quote", "\\> quote"),
        ("- item", "\\- item"),
        ("a\n\n# Heading\n| a | b |", "a # Heading \\| a \\| b \\|"),
        ("[link](http://evil.example)", "\\[link\\](http&#58;//evil.example)"),
        ("www.evil.example", "www&#46;evil.example"),
        ("<img src=x> <!-- <?a </p>", "\\<img src=x> \\<!-- \\<?a \\</p>"),
        ("&lt;b&gt; &#60;", "&#38;lt;b&#38;gt; &#38;#60;"),
        ("`code` *a* _b_ ~~c~~ \\", "\\`code\\` \\*a\\* \\_b\\_ \\~\\~c\\~\\~ \\\\"),
        ("\x1b[2Ja\x00\r\nb", "\N{REPLACEMENT CHARACTER}\\[2Ja\N{REPLACEMENT CHARACTER}\N{REPLACEMENT CHARACTER} b"),
    ],
)
def test_a_text_on_a_line_stays_text(text: str, line: str) -> None:
    assert inline(text) == line


def test_code_stays_code() -> None:
    assert code("a") == "`a`"
    assert code("`a``b\n# c") == "``` `a``b # c ```"
    assert code_block("run --name 'a\n\n# Heading\n'") == "    run --name 'a\n    \n    # Heading\n    '\n"


HOSTILE = "x\n\n# Injected\n\n| a | b |\n| --- | --- |\n<script>alert(1)</script> [l](http://e) \x1b[2J"


def hostile_record() -> RunRecord:
    table = tuple(replace(row, name=HOSTILE, correct={HOSTILE: 2, "strict": 1}) for row in rows(TRACES, "strict"))
    settings = {"command": HOSTILE, "task": {"name": HOSTILE}, "model": {"name": HOSTILE}, "machine": HOSTILE}
    return RunRecord(name=HOSTILE, settings={**settings, "stage": HOSTILE}, filter="strict", rows=table)


def test_no_name_makes_a_heading_a_row_or_html_of_a_page(tmp_path: Path) -> None:
    def pages(record: RunRecord) -> str:
        return "".join(page.decode() for page in files([record], (), "markdown").values())

    page, other = pages(hostile_record()), pages(read_run(write(tmp_path)))

    def marks(text: str) -> list[str]:
        return [line.split(" ")[0] for line in text.splitlines() if line.startswith(("#", "<", "=", "-"))]

    assert marks(page) == marks(other) == ["#", "##", "###", "#", "<a", "##"]
    cells = [
        {line.replace("\\|", "").count("|") for line in text.splitlines() if line.startswith("| ")}
        for text in (page, other)
    ]
    assert [len(each) for each in cells] == [2, 2], "a name made a column"
    assert "\x1b" not in page
    assert "](http:" not in re.sub(r"^    .*|`[^`]*`", "", page, flags=re.MULTILINE), "a link outside of code"


def test_no_name_breaks_a_table_or_reaches_the_terminal(monkeypatch: pytest.MonkeyPatch) -> None:
    record = hostile_record()
    text = plain(record.rows, "strict")
    assert len(text.splitlines()) == 1 + len(record.rows)
    assert "\x1b" not in text
    assert "<script" not in html(record.rows, "strict", HOSTILE)
    assert len(markdown(record.rows, "strict").splitlines()) == 2 + len(record.rows)
    stream = io.StringIO()
    monkeypatch.setattr("sys.stdout", stream)
    print_rich(record.rows, "strict", HOSTILE + "[bold red]")
    assert "\x1b[2J" not in stream.getvalue()
