"""The account of a run's decisions, from its record: see `decisions` for what it says."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from refine_eval.data import DRAFT, Critique, Trace
from refine_eval.errors import RunError
from refine_eval.files import read_file
from refine_eval.results.decisions import (
    PLACES,
    Choice,
    Gate,
    How,
    Ledger,
    Place,
    Refined,
    RocPoint,
    Seed,
    Where,
    count_ends,
)
from refine_eval.results.label_files import read_rows
from refine_eval.results.ledger import problem_shares
from refine_eval.results.published import Outcomes, read_outcomes
from refine_eval.results.records import RunRecord, find_run, read_run
from refine_eval.results.tuning import without_tuned
from refine_eval.results.typed import COUNT, NAME, OBJECT, field
from refine_eval.statistics.comparison import compare
from refine_eval.statistics.critic_quality import (
    auc_cases,
    broken,
    draft_scores,
    ranking_cases,
    refiners_of,
    reliability,
    repaired,
)
from refine_eval.statistics.intervals import Cases, Estimate, paired_difference, rate

_MOST_ROC_POINTS = 101
_MOST_BYTES = 50_000_000


def read_seed(run: str, results: Path, labels: Path | None = None) -> Seed:
    """A record by folder or name, with the first wrong steps of its drafts from a file where one is given.

    RunError where the record is missing or corrupt, or the file is not over its problems.
    """
    folder = find_run(run, results)
    seed = Seed(read_run(folder), read_outcomes(folder))
    if labels is None:
        return seed
    try:
        rows = read_rows(read_file(labels, _MOST_BYTES))
        objects = [OBJECT.check(row, "the line") for row in rows]
        found = {field(row, "problem", NAME): field(row, "first_bad", COUNT.or_none()) for row in objects}
    except (OSError, ValueError) as error:
        raise RunError(f"{labels} cannot be read as labels ({error}).") from error
    wanted = {trace.problem.id for trace in seed.traces}
    if len(found) < len(rows) or found.keys() != wanted:
        odd = sorted(found.keys() ^ wanted)[:1] or ["one problem is labelled twice"]
        raise RunError(f"{labels} does not label each draft of {seed.record.name} once: see {odd[0]}.")
    return Seed(seed.record, Outcomes(seed.traces, found))


def ledger(seeds: Sequence[Seed], oracle: Sequence[Seed] = ()) -> Ledger:
    """The account of the seeds' records together; `oracle` are the runs, as many, whose places are exact.

    RunError where they are not seeds of one strategy over the same problems.
    """
    first = seeds[0].record
    same_task = [seed for seed in oracle if seed.record.settings["task"]["name"] == first.settings["task"]["name"]]
    check_seeds([seed.record for seed in (*seeds, *(seed for seed in oracle if seed not in same_task))])
    if oracle and len(oracle) != len(seeds):
        raise RunError(f"There are {len(seeds)} runs and {len(oracle)} with exact places: name one for each seed.")
    pairs = [(_shares(seed, "choice"), _shares(seed, DRAFT)) for seed in seeds]
    return Ledger(
        runs=tuple(seed.record.name for seed in seeds),
        task=str(first.settings["task"]["name"]),
        filter=first.filter,
        problems=len({trace.problem.first_id for trace in seeds[0].traces}),
        flow=count_ends((seed.traces, seed.record.filter) for seed in seeds),
        gain=compare(pairs, "The records of two seeds"),
        when=_gate(seeds),
        where=_where(seeds, oracle),
        how=_how(seeds),
        choice=_choice(seeds),
        sees_gold=next((row.needs_gold for row in first.rows if row.kind == "selector"), False),
        tuned=any(row.tuned for seed in seeds for row in seed.record.rows if row.kind == "selector"),
        tunings=tuple(tuning for seed in seeds if (tuning := seed.record.tuning) is not None),
    )


def check_seeds(records: Sequence[RunRecord]) -> None:
    """RunError where records are not seeds of one strategy."""
    for record in records[1:]:
        if _strategy(record) != _strategy(records[0]):
            raise RunError(
                f"{records[0].name} and {record.name} are not seeds of one strategy (they differ in task, filter, "
                f"components or gate): make a ledger of each."
            )


def _rate(seeds: Sequence[Seed], of_seeds: Sequence[Cases]) -> Estimate | None:
    """`rate` of cases that each seed has for each of its drafts: several drafts of a problem are one case."""
    return rate([_of_problems(seed, cases) for seed, cases in zip(seeds, of_seeds, strict=True)])


def _of_problems(seed: Seed, cases: Cases) -> Cases:
    """The cases of drafts as cases of problems: those of several drafts of one are added."""
    found: dict[str, tuple[float, float]] = {}
    for trace in seed.traces:
        if trace.problem.id in cases:
            (counts, out_of), (more, of_more) = found.get(trace.problem.first_id, (0.0, 0.0)), cases[trace.problem.id]
            found[trace.problem.first_id] = (counts + more, out_of + of_more)
    return found


def _shares(seed: Seed, answer: str) -> Cases:
    """The share of each problem's drafts after which this answer is right."""
    right = seed.right(answer)
    return problem_shares(seed.traces, [right[trace.problem.id][0] > 0 for trace in seed.traces])


def _strategy(record: RunRecord) -> tuple[Any, ...]:
    settings = without_tuned(record.settings, record.tuning)
    names = [_name(settings, role) for role in ("task", "when", "where", "choose")]
    parts = [[each["name"] for each in settings.get(kind, ())] for kind in ("refiners", "selectors")]
    return record.filter, names, parts, settings.get("refine_below"), settings.get("rounds")


def _name(settings: Mapping[str, Any], role: str) -> str:
    """The name of a component; of a record that does not say, its role."""
    return str(settings.get(role, {}).get("name", role))


def _gate(seeds: Sequence[Seed]) -> Gate:
    settings = seeds[0].record.settings
    drafts = [(t.refined, t.correct[DRAFT][seed.record.filter]) for seed in seeds for t in seed.traces]
    of_seeds = [auc_cases(seed.traces, draft_scores(seed.traces, "when"), seed.record.filter) for seed in seeds]
    return Gate(
        critic=_name(settings, "when"),
        refine_below=settings.get("refine_below"),
        wrong_sent=sum(sent and not right for sent, right in drafts),
        right_sent=sum(sent and right for sent, right in drafts),
        auc=_rate(seeds, [cases for cases in of_seeds if cases is not None]) if None not in of_seeds else None,
        roc=_roc(seeds),
    )


def _roc(seeds: Sequence[Seed]) -> tuple[RocPoint, ...]:
    scored = sorted(
        (critique.score, t.correct[DRAFT][seed.record.filter])
        for seed in seeds
        for scores in [draft_scores(seed.traces, "when")]
        for t in seed.traces
        if (critique := scores.get(t.problem.id)) is not None
    )
    right = sum(is_right for _, is_right in scored)
    wrong = len(scored) - right
    if not right or not wrong:
        return ()
    points, sent = [RocPoint(threshold=0.0, wrong_sent=0.0, right_sent=0.0)], [0, 0]
    for at, (score, is_right) in enumerate(scored):
        sent[is_right] += 1
        after = scored[at + 1][0] if at + 1 < len(scored) else 1.0
        if after != score or at + 1 == len(scored):
            points.append(RocPoint(threshold=after, wrong_sent=sent[0] / wrong, right_sent=sent[1] / right))
    step = max(1, math.ceil((len(points) - 1) / (_MOST_ROC_POINTS - 1)))
    return (*points[:-1:step], points[-1])


def _where(seeds: Sequence[Seed], oracle: Sequence[Seed]) -> Where | None:
    found: dict[str, list[bool]] = {place: [] for place in PLACES}
    sound = alarms = 0
    for seed in seeds:
        if seed.outcomes.first_bad is None:
            return None
        for trace in seed.traces:
            critique = trace.critiques.get(DRAFT, {}).get("where")
            if critique is None or critique.unscored is not None:
                continue
            bad = seed.outcomes.first_bad[trace.problem.id]
            if bad is None:
                sound += 1
                alarms += critique.first_bad_step is not None
            else:
                grades = [grades[seed.record.filter] for grades in trace.correct.values()]
                found[_place(critique, bad)].append(any(grades))
    return Where(
        critic=_name(seeds[0].record.settings, "where"),
        places={place: Place(drafts=len(of), repaired=sum(of)) for place, of in found.items()},
        sound=sound,
        false_alarms=alarms,
        oracle_loss=_oracle_loss(seeds, oracle) if oracle else {},
    )


def _place(critique: Critique, bad: int) -> str:
    """A draft that stops too early is wrong after its last step; there its last step is the place."""
    named = critique.first_bad_step
    bad = min(bad, max(0, len(critique.step_scores) - 1)) if critique.step_scores else bad
    if named is None:
        return "none named"
    return "exact" if named == bad else "too early" if named < bad else "too late"


def _oracle_loss(seeds: Sequence[Seed], oracle: Sequence[Seed]) -> dict[str, Estimate]:
    names = [name for name in refiners_of(seeds[0].traces) if name in refiners_of(oracle[0].traces)]
    found = {}
    for name in names:
        pairs = [(_shares(there, name), _shares(here, name)) for here, there in zip(seeds, oracle, strict=True)]
        estimate = paired_difference(pairs, f"{seeds[0].record.name} and {oracle[0].record.name}")
        if estimate is not None:
            found[name] = estimate
    return found


def _how(seeds: Sequence[Seed]) -> How:
    names = list(dict.fromkeys(name for seed in seeds for name in refiners_of(seed.traces)))
    verdicts = [_verdicts(seed.traces) for seed in seeds]
    drafts = [_sent_on(seed) for seed in seeds]
    alone = {name: [seed.right(name) for seed in seeds] for name in names}
    overlap = Counter(
        tuple(name for name in names if alone[name][at][p][0])
        for at, of_seed in enumerate(drafts)
        for p, (right, sent) in of_seed.items()
        if sent and not right
    )
    return How(
        critic=_name(seeds[0].record.settings, "where"),
        refiners={name: _refined(seeds, drafts, alone[name], verdicts) for name in names},
        overlap=dict(sorted(overlap.items(), key=lambda each: (-len(each[0]), each[0]))),
        held_wrong=_found(seeds, verdicts, is_right=False),
        held_right=_found(seeds, verdicts, is_right=True),
    )


def _found(seeds: Sequence[Seed], verdicts: Sequence[Mapping[str, bool]], is_right: bool) -> Estimate | None:
    """Of the right, or of the wrong drafts: those that the critic takes for what they are."""
    return _rate(
        seeds,
        [
            {
                p: (float(held[p] is not is_right), 1.0) if p in held and bool(right) is is_right else (0.0, 0.0)
                for p, (right, _) in seed.right(DRAFT).items()
            }
            for seed, held in zip(seeds, verdicts, strict=True)
        ],
    )


def _sent_on(seed: Seed) -> Cases:
    """Whether each draft is right, of those that were sent on."""
    right = seed.right(DRAFT)
    return {t.problem.id: right[t.problem.id] if t.refined else (0.0, 0.0) for t in seed.traces}


def _refined(
    seeds: Sequence[Seed], drafts: Sequence[Cases], alone: Sequence[Cases], verdicts: Sequence[Mapping[str, bool]]
) -> Refined:
    """A refiner alone on the drafts sent on: `drafts`, `alone` and `verdicts` of each seed."""
    fixed: list[Cases] = []
    spoilt: list[Cases] = []
    for before, after in zip(drafts, alone, strict=True):
        sent = {p for p, (_, counts) in before.items() if counts}
        fixed.append({p: pair if p in sent else (0.0, 0.0) for p, pair in repaired(before, after).items()})
        spoilt.append(broken(before, after))

    def held_as(wrong: bool, of_seeds: Sequence[Cases]) -> Estimate | None:
        return _rate(
            seeds,
            [
                {p: pair if v.get(p) is wrong else (0.0, 0.0) for p, pair in cases.items()}
                for cases, v in zip(of_seeds, verdicts, strict=True)
            ],
        )

    return Refined(
        repair=_rate(seeds, fixed),
        breaks=_rate(seeds, spoilt),
        repair_by_verdict={wrong: held_as(wrong, fixed) for wrong in (True, False)},
        break_by_verdict={wrong: held_as(wrong, spoilt) for wrong in (True, False)},
    )


def _verdicts(traces: Sequence[Trace]) -> dict[str, bool]:
    """Problem id -> whether the *where* critic holds the draft to be wrong: it names a step, or, if it never names any,
    its score is below a half."""
    judged = draft_scores(traces, "where")
    names = any(critique.first_bad_step is not None for critique in judged.values())
    return {p: (c.first_bad_step is not None) if names else c.score < 0.5 for p, c in judged.items()}


def _choice(seeds: Sequence[Seed]) -> Choice:
    scored = [{t.problem.id: _scored(t, seed.record.filter) for t in seed.traces} for seed in seeds]
    pairs = [pair for of_seed in scored for pairs in of_seed.values() for pair in pairs]
    bins = reliability(pairs)
    of_ranking = [ranking_cases(seed.traces, "choose", seed.record.filter) for seed in seeds]
    return Choice(
        selector=next(iter(seeds[0].traces[0].selected)),
        critic=_name(seeds[0].record.settings, "choose"),
        regret=_rate(seeds, [_regret(seed) for seed in seeds]),
        brier=_rate(
            seeds,
            [
                {p: (math.fsum((s - r) ** 2 for s, r in of), float(len(of))) for p, of in each.items()}
                for each in scored
            ],
        ),
        ece=math.fsum(b.drafts * abs(b.score - b.right) for b in bins) / len(pairs) if pairs else None,
        bins=tuple(bins),
        ranking=_rate(seeds, of_ranking),
    )


def _scored(trace: Trace, main: str) -> list[tuple[float, bool]]:
    found = ((trace.critiques.get(c.id, {}).get("choose"), trace.correct[c.id][main]) for c in trace.candidates)
    return [(critique.score, right) for critique, right in found if critique is not None and critique.unscored is None]


def _regret(seed: Seed) -> Cases:
    best, chosen = seed.right("oracle"), seed.right("choice")
    return {p: (best[p][0] - chosen[p][0], 1.0) for p in best}
