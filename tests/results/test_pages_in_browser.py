"""The pages in headless Chromium: filters, search, keys, addresses, hostile text. Nothing is logged, nothing asked."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any, NamedTuple

import pytest
from browser import Page, chromium
from records import SETTINGS, ledger_trace, write

from refine_eval.data import Critique, Trace
from refine_eval.results.leaderboard import files
from refine_eval.results.records import read_run, read_runs, read_traces
from refine_eval.results.viewer import Viewed, page

EVIL = '</script><img src=x onerror="alert(1)"><script>alert(2)</script>'


class Known(NamedTuple):
    question: str
    gold: str


def solved(number: int, steps: dict[str, tuple[list[str], bool]], chosen: str, *, cut: bool = False) -> Trace:
    """A problem whose candidates have these steps; the *where* critic calls the second step of wrong drafts wrong."""
    trace = ledger_trace(number, {name: right for name, (_, right) in steps.items()}, {"rerank": chosen})
    candidates = tuple(
        replace(
            candidate,
            parent=None if candidate.id == "draft" else "draft",
            solution=replace(
                candidate.solution,
                text="\n".join(steps[candidate.id][0]),
                steps=tuple(steps[candidate.id][0]),
                finish_reason="length" if cut else "stop",
            ),
        )
        for candidate in trace.candidates
    )
    draft, right = steps["draft"]
    scores = tuple(0.9 if right or n == 0 else 0.1 for n in range(len(draft)))
    feedback = None if right else f"Step 2 is wrong. {EVIL}"
    where = Critique(score=scores[-1], step_scores=scores, first_bad_step=None if right else 1, feedback=feedback)
    return replace(trace, candidates=candidates, critiques={"draft": {"where": where}})


TRACES = [
    solved(0, {"draft": (["2+2=4", "4+3=8"], False), "1.local.0": (["2+2=4", "4+3=7"], True)}, "1.local.0"),
    solved(1, {"draft": (["1+1=2"], True), "1.local.0": (["1+1=3"], False)}, "1.local.0"),
    solved(2, {"draft": (["zebra", EVIL], False), "1.local.0": (["zebra", "x"], False)}, "draft", cut=True),
    *[solved(number, {"draft": (["5=5"], True)}, "draft") for number in range(3, 450)],
]


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    with chromium() as started:
        yield started


@pytest.fixture(scope="module")
def path(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The page on two runs, of which the second chose otherwise in the first problem."""
    folder = tmp_path_factory.mktemp("page")
    settings = {**SETTINGS, "where": {"name": "sorm"}, "command": f"refine-eval run {EVIL}"}
    runs = []
    for name, traces in (("one", TRACES), ("two", [replace(TRACES[0], selected={"rerank": "draft"}), *TRACES[1:]])):
        run = write(folder, name, traces, settings)
        known = {"t/0": Known("How many <b>apples</b>?", "2+2=4\n4+3=7\n#### 7")}
        runs.append(Viewed(record=read_run(run), traces=read_traces(run), known=known))
    target = folder / "view.html"
    target.write_text(page(runs), "utf-8")
    return target


Open = Callable[..., Page]


@pytest.fixture
def opened(browser: Any, path: Path) -> Iterator[Open]:
    pages: list[Page] = []

    def visit(address: str = "", at: Path = path, **settings: Any) -> Page:
        pages.append(Page(browser, at, address, **settings))
        return pages[-1]

    yield visit
    for each in pages:
        each.close()


def listed(found: Page) -> list[str]:
    return [text.split()[-1] for text in found.texts("#list button")]


def test_filters_show_what_was_won_and_lost_where(opened: Open) -> None:
    found = opened()
    assert found.texts("#count") == ["450 of 450 problems"]
    for name, value, expected in (
        ("fate", "won", ["t/0"]),
        ("fate", "lost", ["t/1"]),
        ("fate", "unrepaired", ["t/2"]),
        ("verdict", "where bad", ["t/0", "t/2"]),
        ("cut", "any", ["t/2"]),
        ("cut", "draft", ["t/2"]),
    ):
        found.page.select_option(f"#{name}", value)
        assert listed(found) == expected, (name, value)
        found.page.select_option(f"#{name}", "")
    found.page.locator("[data-run='0'] [data-fate=lost]").first.click(force=True)
    assert listed(found) == ["t/1"], "a stream of the picture is a filter, too"


def test_search_finds_ids_questions_and_solutions(opened: Open) -> None:
    found = opened()
    for words, expected in (("zebra", ["t/2"]), ("APPLES many", ["t/0"]), ("t/449", ["t/449"]), ("no such", [])):
        found.page.fill("#words", words)
        assert listed(found) == expected, words


def test_feedback_of_critics_is_text_below_their_score(opened: Open) -> None:
    found = opened("#problem=t%2F0")
    (said, *_) = found.texts(".feedback")
    assert " ".join(said.split()) == " ".join(f"Feedback Step 2 is wrong. {EVIL}".split())
    assert found.page.locator(".feedback img, .feedback script").count() == 0


def test_rows_are_made_as_the_list_is_scrolled(opened: Open) -> None:
    found = opened()
    assert found.page.locator("#list li").count() == 200
    found.page.locator("#list li").last.scroll_into_view_if_needed()
    found.page.locator("#list li >> nth=399").wait_for()


def test_a_problem_shows_scores_the_first_wrong_step_and_what_a_refinement_changed(opened: Open) -> None:
    found = opened()
    found.page.click("#list button >> nth=0")
    assert found.texts(".question") == ["How many <b>apples</b>?"]
    assert found.texts(".candidate .score.first") == ["✗ 0.10"]
    assert found.texts(".candidate.wrong li.bad .text") == ["4+3=8"]
    assert found.texts("li.changed del") == ["8"]
    assert found.texts("li.changed ins") == ["7"]
    assert "won: repaired · 20 tokens" in found.texts(".runs .note")[0]


def test_keys_go_through_the_problems_and_to_the_search(opened: Open) -> None:
    found = opened()
    for key, shown in (("j", "t/0"), ("j", "t/1"), ("k", "t/0"), ("k", "t/0")):
        found.page.keyboard.press(key)
        assert found.texts("#problem h3") == [shown]
        assert [text.split()[-1] for text in found.texts("#list [aria-current]")] == [shown]
    found.page.keyboard.press("/")
    found.page.keyboard.type("jk/")
    assert found.page.input_value("#words") == "jk/", "keys are letters there"
    found.page.keyboard.press("Escape")
    assert found.page.evaluate("document.activeElement.tagName") == "BODY"
    found.page.keyboard.press("Tab")
    assert found.page.evaluate("document.activeElement.tagName") != "BODY"


def test_two_runs_are_read_side_by_side_and_the_address_leads_back(opened: Open) -> None:
    found = opened()
    assert found.texts("#versus") == []
    found.page.select_option("#other", "1")
    found.page.select_option("#versus", "won")
    assert listed(found) == ["t/0"]
    found.page.click("#list button")
    assert found.texts(".runs h4") == ["one", "two"]
    address = "#" + found.page.url.partition("#")[2]
    assert address == "#problem=t%2F0&run=one&beside=two"
    again = opened(address)
    assert again.texts("#problem h3") == ["t/0"]
    assert again.texts(".runs h4") == ["one", "two"]
    assert opened("#problem=nothing&run=none").texts("#count") == ["450 of 450 problems"]


def test_hostile_text_is_text(opened: Open) -> None:
    found = opened("#problem=t%2F2")
    assert EVIL in found.texts(".candidate .text")
    assert found.page.locator("img").count() == 0
    assert found.page.locator("script").count() == 2


@pytest.mark.parametrize("scheme", ["dark", "light"])
def test_it_is_readable_in_the_dark_and_at_a_phones_width(scheme: str, opened: Open) -> None:
    found = opened("#problem=t%2F0", viewport={"width": 360, "height": 700}, color_scheme=scheme)
    assert found.page.evaluate("document.documentElement.scrollWidth") <= 360, "nothing is cut off at the side"
    ground, ink = (
        found.page.evaluate(f"getComputedStyle(document.{where}).{what}")
        for where, what in (("documentElement", "colorScheme"), ("body", "color"))
    )
    assert ground == "light dark"
    assert ink == ("rgb(255, 255, 255)" if scheme == "dark" else "rgb(0, 0, 0)")


def test_very_long_solutions_are_compared_at_beginning_and_end_and_shown_in_part(tmp_path: Path, opened: Open) -> None:
    before, after = ["a", *["x"] * 30_000, "z"], ["b", *["x", "y"] * 15_000, "z"]
    trace = solved(0, {"draft": (before, False), "1.local.0": (after, True)}, "1.local.0")
    run = write(tmp_path, traces=[trace])
    target = tmp_path / "long.html"
    target.write_text(page([Viewed(record=read_run(run), traces=read_traces(run))]), "utf-8")
    start = time.monotonic()
    found = opened("#problem=t%2F0", target)
    assert found.texts(".candidate.wrong li.note") == ["and 28,002 more lines"]
    assert time.monotonic() - start < 20


def test_1319_problems_of_8_candidates_are_a_page_that_stays_quick(path: Path, tmp_path: Path, opened: Open) -> None:
    words = [f"word{n}" for n in range(9)]
    names = ["draft", *(f"1.local.{n}" for n in range(7))]
    traces = [
        solved(
            number,
            {name: ([f"{number} {name} {word}, " * 6 for word in words], n % 2 == 0) for n, name in enumerate(names)},
            "draft",
        )
        for number in range(1319)
    ]
    start = time.process_time()
    text = page([Viewed(record=read_run(path.parent / "runs" / "one"), traces=traces)])
    assert time.process_time() - start < 10
    target = tmp_path / "big.html"
    target.write_text(text, "utf-8")
    assert 8_000_000 < target.stat().st_size < 15_000_000
    found = opened("", target)
    assert found.page.evaluate("performance.getEntriesByName('first-contentful-paint')[0].startTime") < 1_000
    found.page.fill("#words", "77 1.local.3 word5")
    times = [
        found.page.evaluate("() => { const from = performance.now(); filter(); return performance.now() - from }")
        for _ in range(5)
    ]
    assert min(times) < 100, "milliseconds"


def test_the_leaderboard_sorts_filters_and_unfolds_runs(tmp_path: Path, opened: Open) -> None:
    write(tmp_path, "one", TRACES[:3], {**SETTINGS, "refiners": [{"name": EVIL}], "seed": 0})
    target = tmp_path / "leaderboard.html"
    target.write_bytes(files(read_runs(tmp_path), (), "html")["leaderboard.html"])
    found = opened("", target)
    cells = ".ranking tbody td:nth-child(4)"
    first = found.texts(cells)
    found.page.click(".ranking th:nth-child(4) button")
    assert found.texts(cells) == sorted(first, key=float, reverse=True)
    found.page.click(".ranking th:nth-child(4) button")
    assert found.texts(cells) == sorted(first, key=float)
    assert found.page.get_attribute(".ranking th:nth-child(4)", "aria-sort") == "ascending"
    found.page.fill("#filter", "draft toy")
    assert [text.split()[0] for text in found.texts(".ranking tbody td:nth-child(2)")] == ["draft"]
    found.page.fill("#filter", "")
    found.page.click(".ranking .runs a >> nth=0")
    found.page.locator("#run-1[open]").wait_for()
