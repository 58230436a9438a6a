"""The ledger: its parts against hand-counted cases, and adding up on published runs."""

from dataclasses import replace
from pathlib import Path

import pytest
from records import SETTINGS, TRACES, ledger_trace, write
from traces import judged, trace

from refine_eval.data import Trace
from refine_eval.errors import RunError
from refine_eval.results.accounts import ledger, read_seed
from refine_eval.results.decisions import Seed
from refine_eval.results.decisions_shown import as_json, lines, plain
from refine_eval.results.ledger import rows
from refine_eval.results.published import Outcomes
from refine_eval.results.records import RunRecord
from refine_eval.statistics.critic_quality import auc, auc_cases, draft_scores
from refine_eval.statistics.intervals import rate

ROOT = Path(__file__).resolve().parents[2]
PUBLISHED = sorted(path.name for path in (ROOT / "results" / "published").iterdir())


def seed(traces: list[Trace], first_bad: dict[str, int | None] | None = None, name: str = "one") -> Seed:
    table = tuple(rows(traces, "strict"))
    settings = {**SETTINGS, "task": {"name": "apples"}, "when": {"name": "orm"}, "where": {"name": "sorm"}}
    return Seed(RunRecord(name=name, settings=settings, filter="strict", rows=table), Outcomes(traces, first_bad))


BAD, GOOD = (["a", "x", "#"], False), (["a", "b", "#"], True)


def one(number: int, /, draft: bool, chosen: str = "draft", refined: bool = True, **refined_by: bool) -> Trace:
    """A draft, its refinements by refiner, and scores: of the draft 0.9 or 0.2, of others 0.6."""
    texts = {"draft": GOOD if draft else BAD} | {
        f"1.{name}.0": GOOD if right else BAD for name, right in refined_by.items()
    }
    score = judged(0.9, 0.9 if draft else 0.2)
    where = replace(judged(0.9, 0.9, 0.9), first_bad_step=None if draft else 1)
    critiques = {"draft": {"when": score, "choose": score} | ({"where": where} if refined else {})}
    critiques |= {name: {"choose": judged(0.5, 0.6)} for name in texts if name != "draft"}
    return replace(trace(number, texts, critiques, chosen), refined=refined)


EIGHT = [
    one(0, draft=False, refined=False),  # let through
    one(1, draft=False, local=False),  # unrepaired
    one(2, draft=False, local=True, other=False),  # missed
    one(3, draft=False, local=True, chosen="1.local.0", other=True),  # won
    one(4, draft=True, refined=False),  # kept
    one(5, draft=True, local=True),  # unbroken
    one(6, draft=True, local=False),  # held
    one(7, draft=True, local=False, chosen="1.local.0"),  # lost
]
FIRST_BAD = {f"apples/{n}": 1 if n < 3 else 0 if n == 3 else None for n in range(8)}


def test_each_draft_ends_in_one_of_eight_ways() -> None:
    flow = ledger([seed(EIGHT)]).flow
    assert [getattr(flow, name) for name in type(flow).__dataclass_fields__] == [1] * 8
    assert (flow.wrong, flow.right, flow.right_after) == (4, 4, 4)


def test_decisions_are_counted_as_by_hand() -> None:
    found = ledger([seed(EIGHT, FIRST_BAD)])
    assert (found.when.wrong_sent, found.when.right_sent) == (3, 3)
    assert found.when.auc is not None
    assert found.when.auc.value == 1
    assert [(p.threshold, p.wrong_sent, p.right_sent) for p in found.when.roc] == [(0, 0, 0), (0.9, 1, 0), (1, 1, 1)]
    assert found.where is not None
    assert {name: (place.drafts, place.repaired) for name, place in found.where.places.items()} == {
        "exact": (2, 1),
        "too early": (0, 0),
        "too late": (1, 1),
        "none named": (0, 0),
    }
    assert (found.where.sound, found.where.false_alarms) == (3, 0)
    local = found.how.refiners["local"]
    assert local.repair is not None
    assert local.breaks is not None
    assert [local.repair.value, local.breaks.value] == pytest.approx([2 / 3, 2 / 3])
    assert (local.repair.cases, local.breaks.cases) == (3, 3)
    assert local.repair_by_verdict[False] is None
    assert local.repair_by_verdict[True] == local.repair
    assert found.how.overlap == {("local", "other"): 1, ("local",): 1, (): 1}
    assert found.how.held_wrong is not None
    assert found.how.held_wrong.value == 1
    assert found.choice.regret is not None
    assert found.choice.regret.value == 2 / 8
    assert found.choice.ranking is not None


def test_seeds_are_pooled_over_problems_and_seeds() -> None:
    found = ledger([seed(EIGHT, FIRST_BAD), seed(EIGHT, FIRST_BAD, "two")])
    assert (found.flow.won, found.flow.wrong, found.problems) == (2, 8, 8)
    assert found.gain.estimate.seeds == 2
    assert found.choice.regret is not None
    assert (found.choice.regret.problems, found.choice.regret.cases) == (8, 16)


def test_several_drafts_of_a_problem_are_one_case() -> None:
    """The same drafts a second time are no news: intervals stay as wide as they were."""
    again = [replace(t, problem=replace(t.problem, id=f"{t.problem.id}@1", repeat=1)) for t in EIGHT]
    once, twice = ledger([seed(EIGHT)]), ledger([seed([*EIGHT, *again])])
    naive = ledger([seed([*EIGHT, *(replace(t, problem=replace(t.problem, id=f"{t.problem.id}-b")) for t in EIGHT)])])
    assert (twice.problems, twice.flow.won) == (8, 2 * once.flow.won)
    regrets = [found.choice.regret for found in (once, twice, naive)]
    repairs = [found.how.refiners["local"].repair for found in (once, twice, naive)]
    for first, both, apart in (regrets, repairs):
        assert first is not None
        assert both is not None
        assert apart is not None
        assert both.value == pytest.approx(first.value)
        assert (both.problems, both.cases) == (first.problems, 2 * first.cases)
        assert both.high - both.low > 1.1 * (apart.high - apart.low)
    assert twice.gain.estimate.p_value == once.gain.estimate.p_value


def test_exact_places_say_what_the_critics_places_lose() -> None:
    better = [replace(t, correct={c: {"strict": True} for c in t.correct}) for t in EIGHT]
    found = ledger([seed(EIGHT, FIRST_BAD)], [seed(better, FIRST_BAD, "exact")])
    assert found.where is not None
    assert found.where.oracle_loss["local"].value == pytest.approx(4 / 8)
    with pytest.raises(RunError, match="2 runs and 1 with exact places"):
        ledger([seed(EIGHT), seed(EIGHT)], [seed(better)])


def test_runs_that_are_no_seeds_of_one_thing_are_refused() -> None:
    other = seed(EIGHT, name="other")
    other.record.settings["where"] = {"name": "calculator"}  # type: ignore[index]
    with pytest.raises(RunError, match="one and other are not seeds of one strategy"):
        ledger([seed(EIGHT), other])
    with pytest.raises(RunError, match="are not over the same problems"):
        ledger([seed(EIGHT), seed(EIGHT[:5])])


@pytest.mark.parametrize("draft", [True, False])
def test_one_class_of_drafts_has_no_auc_and_says_so(draft: bool) -> None:
    found = ledger([seed([one(n, draft=draft, local=draft) for n in range(3)])])
    assert (found.when.auc, found.when.roc) == (None, ())
    assert "undefined, as there are not both right and wrong drafts" in plain(found)


def test_a_single_problem_and_ties_and_nothing_scored_have_a_ledger() -> None:
    for traces in ([EIGHT[0]], [EIGHT[3]], TRACES, [ledger_trace(0, {"draft": False}, {"x": "draft"})]):
        found = ledger([seed(list(traces))])
        assert found.flow.right_after - found.flow.right == found.flow.won - found.flow.lost
        assert plain(found)
    ties = [replace(t, critiques={"draft": {"when": judged(0.5, 0.5)}}) for t in EIGHT]
    assert ledger([seed(ties)]).when.auc is not None


def test_pooled_auc_of_one_seed_is_delongs() -> None:
    traces = [
        trace(n, {"draft": GOOD if n % 3 else BAD}, {"draft": {"when": judged(0.1, (n * 37 % 101) / 101)}})
        for n in range(90)
    ]
    scores = draft_scores(traces, "when")
    cases = auc_cases(traces, scores, "strict")
    assert cases is not None
    pooled, alone = rate([cases]), auc(traces, scores, "strict")
    assert pooled is not None
    assert alone is not None
    assert pooled.value == pytest.approx(alone.value)
    assert (pooled.low, pooled.high) == pytest.approx((alone.low, alone.high), abs=0.01)


@pytest.mark.parametrize("name", PUBLISHED)
def test_the_parts_add_up_on_every_published_run(name: str) -> None:
    folder = ROOT / "results" / "published" / name
    if not (folder / "outcomes.jsonl.gz").exists():
        pytest.skip("it keeps a table only")
    of_run = read_seed(str(folder), ROOT / "results")
    found, table = ledger([of_run]), of_run.record.rows
    chosen = next(row for row in table if row.kind == "selector")
    flow = found.flow
    assert (flow.won, flow.lost) == (chosen.gained, chosen.lost)
    assert flow.right_after == chosen.correct[found.filter]
    assert flow.wrong == flow.let_through + flow.unrepaired + flow.missed + flow.won
    assert flow.wrong + flow.right == chosen.problems
    assert sum(found.how.overlap.values()) == found.when.wrong_sent
    best = next(row for row in table if row.name == "oracle")
    assert best.correct[found.filter] - flow.right_after == flow.missed + flow.lost
    assert as_json(found)["flow"]["won"] == flow.won
    assert all(line.text for line in lines(found))


def test_labels_come_from_a_file_and_have_to_fit(tmp_path: Path) -> None:
    folder = str(write(tmp_path, "mine"))
    labels = tmp_path / "labels.jsonl"
    labels.write_text("".join(f'{{"problem": "t/{n}", "first_bad": {"null" if n else 0}}}\n' for n in range(4)))
    first_bad = read_seed(folder, tmp_path, labels).outcomes.first_bad
    assert first_bad == {"t/0": 0, "t/1": None, "t/2": None, "t/3": None}
    for text, said in {
        '{"problem": "t/0", "first_bad": 0}\n': "does not label each draft of mine once: see t/1",
        labels.read_text() + '{"problem": "t/0", "first_bad": 0}\n': "one problem is labelled twice",
        labels.read_text().replace("null", "-1"): "cannot be read as labels",
        "[]\n": "cannot be read as labels",
        "{\n": "cannot be read as labels",
    }.items():
        labels.write_text(text)
        with pytest.raises(RunError, match=said):
            read_seed(folder, tmp_path, labels)
