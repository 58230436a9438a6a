"""Rows beside samples of the same cost, against figures worked out by hand."""

import json
from collections.abc import Collection, Mapping
from dataclasses import replace
from pathlib import Path

import pytest
from in_process import error_line, refine_eval
from records import HOSTILE, SETTINGS, ledger_trace, write

from refine_eval.data import Critique, Solution, Trace
from refine_eval.errors import RunError
from refine_eval.results.equal_cost import Beside, EqualCost, EqualRow, equal_cost
from refine_eval.results.ledger import rows
from refine_eval.results.records import RunRecord, read_run
from refine_eval.results.sampled import Sampled
from refine_eval.statistics.intervals import paired_difference, rate

ROOT = Path(__file__).resolve().parents[2]
SAMPLES = ("1.resample.0", "1.resample.1", "1.resample.2")


def made(number: int, answers: str, right: str, scores: tuple[float, ...]) -> Trace:
    """A wrong draft of 5 tokens, three samples of 10 and a right repair of 14; critics wrote 6.

    The student reads 20 tokens for each and needs 4 FLOPs a token, the critics 90 a problem.
    """
    grades = {"draft": False, **{s: a == right for s, a in zip(SAMPLES, answers, strict=True)}, "1.fix.0": True}
    best = next(s for s in SAMPLES if grades[s])
    trace = ledger_trace(number, grades, {"rerank": best, "oracle": "1.fix.0"}, critic_tokens=6)
    tokens = {"draft": 5, "1.fix.0": 14}
    said = dict(zip(SAMPLES, answers, strict=True))

    def written(name: str, solution: Solution) -> Solution:
        count = tokens.get(name, 10)
        return replace(solution, answer=said.get(name, "0"), tokens=count, read_tokens=20, flops=4.0 * (20 + count))

    candidates = tuple(
        replace(
            c,
            solution=written(c.id, c.solution),
            round=int(c.id != "draft"),
            sample=int(c.id[-1]) if c.id in said else 0,
        )
        for c in trace.candidates
    )
    critiques = {s: {"choose": Critique(score=score, step_scores=())} for s, score in zip(SAMPLES, scores, strict=True)}
    return replace(trace, candidates=candidates, critiques=critiques, critic_flops=90.0, critic_read_tokens=9)


TRACES = [made(0, "211", "1", (0.1, 0.9, 0.8)), made(1, "334", "3", (0.5, 0.3, 0.6))]
"""Of N = 1, 2, 3 samples votes have 2/3, 2/3 and 1 right, by sums of scores as well, the best-scored 2/3, 2/3, 1/2."""


def record(traces: list[Trace] = TRACES, gold: Collection[str] = ("oracle",)) -> RunRecord:
    return RunRecord(name="one", settings=SETTINGS, filter="strict", rows=tuple(rows(traces, "strict", gold=gold)))


def beside(of: RunRecord, traces: list[Trace], has_answers: bool = True) -> EqualCost:
    return equal_cost([Sampled(record=of, traces=traces, has_answers=has_answers)], "resample")


def by_answer(found: EqualCost, unit: str = "tokens") -> dict[str, EqualRow]:
    return {row.answer: row for of, each in found.units.items() if of == unit for row in each}


def near(n: float, accuracy: float | None) -> object:
    return pytest.approx(n), None if accuracy is None else pytest.approx(accuracy)


def pair(found: Beside) -> tuple[float, float | None]:
    return found.n, found.accuracy


def test_rows_stand_beside_as_many_tokens_of_samples() -> None:
    """A sample costs 10 tokens, 12 where its score is read."""
    found = beside(record(), TRACES)
    table = by_answer(found)
    assert {answer: (row.cost, row.accuracy) for answer, row in table.items()} == {
        "draft": (5, 0.0),
        "resample alone": (21, 0.5),
        "fix alone": (25, 1.0),
        "chosen: rerank": (55, 1.0),
        "chosen: oracle *": (55, 1.0),
    }
    alone, fix = table["resample alone"].beside, table["fix alone"].beside
    assert pair(alone["maj"]) == near(2.1, 0.7)
    assert pair(alone["best-of"]) == near(1.75, 2 / 3)
    assert pair(alone["weighted-maj"]) == near(1.75, 2 / 3)
    assert pair(fix["maj"]) == near(2.5, 5 / 6)
    assert pair(fix["best-of"]) == near(25 / 12, 2 / 3 - 1 / 12 / 6)
    assert pair(fix["weighted-maj"]) == near(25 / 12, 2 / 3 + 1 / 12 / 3)
    assert (found.samples, found.gold, found.missing) == (3, (), {})


def test_less_than_one_sample_and_more_than_all_have_nothing_beside_them() -> None:
    table = by_answer(beside(record(), TRACES))
    assert pair(table["draft"].beside["maj"]) == (0.5, None)
    assert pair(table["chosen: rerank"].beside["maj"]) == (5.5, None)
    assert pair(table["chosen: rerank"].beside["best-of"]) == near(55 / 12, None)


@pytest.mark.parametrize(("tokens", "n", "accuracy"), [(4, 1, 2 / 3), (14, 2, 2 / 3), (24, 3, 1.0)])
def test_whole_numbers_of_samples_need_no_other(tokens: int, n: int, accuracy: float) -> None:
    """The draft costs 6 + `tokens`: as much as one sample and as all are reached."""
    traces = [
        replace(
            t, candidates=(replace(t.draft, solution=replace(t.draft.solution, tokens=6 + tokens)), *t.candidates[1:])
        )
        for t in TRACES
    ]
    draft = by_answer(beside(record(traces), traces))["draft"]
    assert pair(draft.beside["maj"]) == near(n, accuracy)


def test_the_frontier_has_what_nothing_without_gold_beats() -> None:
    table = by_answer(beside(record(), TRACES))
    # The vote of 2.1 samples beats one sample and its critics, the repair a choice of equal accuracy.
    assert [answer for answer, row in table.items() if row.on_frontier] == ["draft", "fix alone"]
    table = by_answer(beside(record(gold=("oracle", "fix")), TRACES))
    assert [answer for answer, row in table.items() if row.on_frontier] == ["draft", "chosen: rerank"]
    assert not table["fix alone *"].is_method


def test_samples_that_see_gold_beat_nothing() -> None:
    found = beside(record(gold=("resample",)), TRACES)
    assert found.gold == ("best-of", "maj", "weighted-maj")
    assert not by_answer(found)["resample alone *"].on_frontier


def test_flops_where_the_rows_know_them() -> None:
    """A sample takes 4 x (20 + 10), and 90 / 3 more where its score is read."""
    table = by_answer(beside(record(), TRACES), "FLOPs")
    assert table["resample alone"].cost == 100 + 120 + 90
    assert pair(table["resample alone"].beside["maj"]) == near(310 / 120, 2 / 3 + (310 / 120 - 2) / 3)
    assert pair(table["resample alone"].beside["best-of"]) == near(310 / 150, 2 / 3 - (310 / 150 - 2) / 6)
    assert pair(table["draft"].beside["maj"]) == near(100 / 120, None)


def computed(flops: Mapping[str, float], critics: float | None) -> list[Trace]:
    """The traces with other FLOPs: `flops` of candidates by id."""
    return [
        replace(
            t,
            candidates=tuple(
                replace(c, solution=replace(c.solution, flops=flops.get(c.id, c.solution.flops))) for c in t.candidates
            ),
            critic_flops=critics,
        )
        for t in TRACES
    ]


def test_further_samples_need_not_read_the_prompt_again() -> None:
    """The first sample takes 120, each further one 80: 220 without the critics' pay for 2.25."""
    traces = computed({"1.resample.1": 80.0, "1.resample.2": 80.0}, critics=0.0)
    table = by_answer(beside(record(traces), traces), "FLOPs")
    assert pair(table["resample alone"].beside["maj"]) == near(2.25, 0.75)
    assert pair(table["resample alone"].beside["best-of"]) == near(2.25, 0.625)


def test_flops_are_not_guessed() -> None:
    first_from_cache = computed({"1.resample.0": 8.0}, critics=0.0)
    nothing = computed(dict.fromkeys(("draft", "1.fix.0", *SAMPLES), 0.0), critics=0.0)
    unknown = computed({}, critics=None)
    twice = [
        replace(
            t,
            candidates=(*t.candidates, replace(t.candidates[-1], id="1.fix.1", sample=1)),
            correct={**t.correct, "1.fix.1": t.correct["1.fix.0"]},
        )
        for t in TRACES
    ]
    for traces in (first_from_cache, nothing, unknown, twice):
        assert beside(record(traces), traces).units.keys() == {"tokens"}


def test_what_the_record_cannot_tell_is_said() -> None:
    found = beside(record(), TRACES, has_answers=False)
    assert list(found.units["tokens"][0].beside) == ["best-of"]
    assert found.missing.keys() == {"maj", "weighted-maj"}
    unscored = [replace(t, critiques={}) for t in TRACES]
    found = beside(record(unscored), unscored)
    assert list(found.units["tokens"][0].beside) == ["maj"]
    assert found.missing["best-of"] == "no critic scored the samples"


def test_no_samples_no_tokens() -> None:
    few = [TRACES[0], replace(TRACES[1], candidates=TRACES[1].candidates[:1])]
    with pytest.raises(
        RunError, match="make it again with --refiner resample --resample-samples N and without --refine"
    ):
        beside(record(), few)
    free = [
        replace(t, candidates=tuple(replace(c, solution=replace(c.solution, tokens=0)) for c in t.candidates))
        for t in TRACES
    ]
    with pytest.raises(RunError, match="have no tokens"):
        beside(record(free), free)


def test_as_typed(tmp_path: Path) -> None:
    write(tmp_path / "results", "mine", TRACES)
    printed = refine_eval("ledger", "mine", "--equal-cost", cwd=tmp_path).stdout.splitlines()
    assert printed[0].endswith("right by strict, beside N of 3 samples of resample at the same cost: accuracy in % (N)")
    columns = ("answer", "right %", "95 % interval", "tokens", "frontier")
    ways = [word for way in ("best-of-N", "maj@N", "weighted-maj@N") for word in (way, "lead over it")]
    assert printed[1].split() == " ".join([*columns, *ways]).split()
    assert " ".join(printed[2].split()) == "draft 0.0 0.0–65.8 5.0 yes – (0.42) – (0.50) – (0.42)"
    assert "66.7 (1.75)  −16.7 (" in printed[3]
    assert "70.0 (2.10)  −20.0 (" in printed[3]
    assert "– (N below 1): cheaper than one sample" in printed
    assert "– (N above 3): the stored samples do not reach so far" in printed
    found = json.loads(refine_eval("ledger", "mine", "--equal-cost", "--json", cwd=tmp_path).stdout)
    assert found["units"].keys() == {"tokens", "FLOPs"}
    assert found["units"]["tokens"][1]["beside"]["maj"]["n"] == 2.1
    assert found["units"]["tokens"][1]["beside"]["maj"]["accuracy"] == pytest.approx(0.7)
    assert found["units"]["tokens"][1]["beside"]["maj"]["lead"]["value"] == pytest.approx(-0.2)
    assert read_run(tmp_path / "results/runs/mine").filter == found["filter"]


def test_a_record_without_samples_and_wrong_words_are_one_sentence(tmp_path: Path) -> None:
    write(tmp_path / "results", "mine")
    said = error_line("ledger", "mine", "--equal-cost", cwd=tmp_path)
    assert "has no two samples of resample" in said
    assert "--refiner resample" in said
    assert "no two samples of draft" in error_line(
        "ledger", "mine", "--equal-cost", "--samples-of", "draft", cwd=tmp_path
    )
    assert "goes without --exact-places" in error_line(
        "ledger", "mine", "--equal-cost", "--exact-places", "mine", cwd=tmp_path, expect=2
    )
    assert "give --equal-cost" in error_line("ledger", "mine", "--samples-of", "draft", cwd=tmp_path, expect=2)


def test_published_records_with_and_without_texts() -> None:
    printed = refine_eval("ledger", "tiny-0-best-of-3", "--equal-cost", cwd=ROOT).stdout
    assert "no maj@N: the record keeps no answers" in printed
    assert "weighted-maj@N" in refine_eval("ledger", "svamp-smollm2", "--equal-cost", cwd=ROOT).stdout.splitlines()[1]


MANY = [made(n, *(("211", "1", (0.1, 0.9, 0.8)), ("334", "3", (0.5, 0.3, 0.6)))[n % 2]) for n in range(60)]


def test_the_lead_is_paired_and_its_interval_is_over_problems() -> None:
    """Of 60 problems every second answers the first sample rightly: one pair tells as much as the next."""
    table = by_answer(beside(record(MANY), MANY))
    row = table["resample alone"]
    lead = row.beside["maj"].lead
    assert lead is not None
    right = {t.problem.id: (float(t.correct["1.resample.0"]["strict"]), 1.0) for t in MANY}
    # Of problem 0 two of three samples are right, of problem 1, too: 2.1 samples lie between votes of two and three.
    of_votes = dict.fromkeys(right, (0.9 * 2 / 3 + 0.1, 1.0))
    expected = paired_difference([(right, of_votes)])
    assert expected is not None
    assert (lead.value, lead.low, lead.high) == pytest.approx((expected.value, expected.low, expected.high))
    share = rate([right])
    assert share is not None
    assert (row.low, row.high) == pytest.approx((share.low, share.high))
    assert lead.low < lead.value < lead.high


def test_seeds_are_pooled_each_at_its_own_cost() -> None:
    longer = [
        replace(t, candidates=tuple(replace(c, solution=replace(c.solution, tokens=12)) for c in t.candidates))
        for t in MANY
    ]
    seeds = [Sampled(record=record(traces), traces=traces, has_answers=True) for traces in (MANY, longer)]
    found = equal_cost(seeds, "resample")
    assert (found.runs, found.problems) == (("one", "one"), "60 problems, 2 seeds")
    one, other = (by_answer(equal_cost([each], "resample"))["resample alone"] for each in seeds)
    row = by_answer(found)["resample alone"]
    assert row.cost == pytest.approx((one.cost + other.cost) / 2)
    assert row.accuracy == pytest.approx((one.accuracy + other.accuracy) / 2)
    for way, pooled in row.beside.items():
        assert pooled.n == pytest.approx((one.beside[way].n + other.beside[way].n) / 2)
        assert pooled.lead is not None
        assert pooled.lead.seeds == 2
    beyond = by_answer(found)["chosen: rerank"].beside["maj"]
    assert (beyond.accuracy, beyond.lead) == (None, None)


def test_seeds_of_other_strategies_or_problems_are_refused() -> None:
    other = replace(record(), name="two", filter="flexible")
    with pytest.raises(RunError, match="one and two are not seeds of one strategy"):
        equal_cost([Sampled(record=each, traces=TRACES, has_answers=True) for each in (record(), other)], "resample")
    with pytest.raises(RunError, match="not over the same problems"):
        equal_cost(
            [Sampled(record=record(each), traces=each, has_answers=True) for each in (MANY, MANY[:10])], "resample"
        )


def without_samples(trace: Trace) -> Trace:
    kept = tuple(c for c in trace.candidates if c.id not in SAMPLES)
    ids = {c.id for c in kept}
    return replace(
        trace,
        candidates=kept,
        correct={each: found for each, found in trace.correct.items() if each in ids},
        selected={"rerank": "1.fix.0"},
        critiques={},
    )


FIXED = [without_samples(trace) for trace in TRACES]


def test_rows_stand_beside_samples_of_another_run() -> None:
    fixed = replace(record(FIXED), name="fixed")
    sampled = Sampled(record=record(), traces=TRACES, has_answers=True)
    found = equal_cost([Sampled(record=fixed, traces=FIXED, has_answers=False)], "resample", [sampled])
    rows_there, rows_here = by_answer(beside(record(), TRACES)), by_answer(found)
    assert (found.runs, found.samples, list(rows_here)) == (("fixed",), 3, ["draft", "fix alone", "chosen: rerank"])
    assert rows_here["draft"].beside == rows_there["draft"].beside
    assert rows_here["fix alone"] == rows_there["fix alone"]
    assert rows_here["chosen: rerank"].beside["maj"] == rows_there["fix alone"].beside["maj"]


@pytest.mark.parametrize(
    ("other", "why"),
    [
        (replace(record(), filter="flexible"), "differ in their filter .strict and flexible."),
        (replace(record(), settings={**SETTINGS, "task": {"name": "svamp"}}), "differ in their task"),
        (replace(record(), settings={**SETTINGS, "model": {"name": "other"}}), "differ in their student"),
    ],
)
def test_samples_of_another_kind_of_run_are_refused(other: RunRecord, why: str) -> None:
    fixed = Sampled(record=replace(record(FIXED), name="fixed"), traces=FIXED, has_answers=False)
    with pytest.raises(RunError, match=why):
        equal_cost([fixed], "resample", [Sampled(record=other, traces=TRACES, has_answers=True)])
    with pytest.raises(RunError, match="There are 1 runs and 2 with samples"):
        equal_cost([fixed], "resample", [Sampled(record=other, traces=TRACES, has_answers=True)] * 2)


def test_samples_over_other_problems_are_refused_as_typed(tmp_path: Path) -> None:
    write(tmp_path / "results", "mine", FIXED)
    write(tmp_path / "results", "drawn", TRACES)
    write(tmp_path / "results", "fewer", TRACES[:1])
    printed = refine_eval("ledger", "mine", "--equal-cost", "--samples-of", "drawn:resample", cwd=tmp_path).stdout
    assert "83.3 (2.50)" in next(line for line in printed.splitlines() if line.startswith("fix alone"))
    said = error_line("ledger", "mine", "--equal-cost", "--samples-of", "fewer:resample", cwd=tmp_path)
    assert "A run and its samples are not over the same problems" in said


@pytest.mark.parametrize("right", ["1", "9"])
def test_a_single_problem_and_all_right_or_wrong_prove_nothing(right: str) -> None:
    """Without the draft all answers are alike; of one problem the interval says that nothing is known."""
    alike = [
        replace(t, correct={c: dict.fromkeys(g, right == "1") for c, g in t.correct.items()})
        for t in (made(n, "111", "1", (0.5, 0.5, 0.5)) for n in range(30))
    ]
    lead = by_answer(beside(record(alike), alike))["fix alone"].beside["maj"].lead
    assert lead is not None
    assert lead.low < lead.value == 0 < lead.high
    single = by_answer(beside(record(TRACES[:1]), TRACES[:1]))["resample alone"].beside["maj"].lead
    assert single is not None
    assert (single.low, single.high) == (-1.0, 1.0)


def test_what_was_tuned_on_its_own_problems_is_no_frontier() -> None:
    tuned = replace(record(), rows=tuple(replace(row, tuned=row.kind == "refiner") for row in record().rows))
    found = beside(tuned, TRACES)
    assert not any(row.on_frontier for answer, row in by_answer(found).items() if "‡" in answer)
    assert by_answer(found)["chosen: rerank"].on_frontier
    assert any(line.startswith("‡ a threshold was tuned") for line in found.marks)


def test_hostile_names_do_nothing_to_a_terminal(tmp_path: Path) -> None:
    write(tmp_path / "results", "mine", TRACES, {**SETTINGS, "task": {"name": HOSTILE}})
    printed = refine_eval("ledger", "mine", "--equal-cost", cwd=tmp_path).stdout
    assert "\x1b" not in printed
    assert "\u2028" not in printed
