"""The section of one size: answers, comparisons, critics, repairs, steps, thresholds, ablations, failures, plots."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import partial

from findings.claims import breaks, choice_against, has, repairs
from findings.records import CRITICS, GLORE, Run, Seed, Tested
from refine_eval.data import DRAFT
from refine_eval.results.ledger import Row
from refine_eval.results.plots import calibration_plot
from refine_eval.statistics.critic_quality import auc, both, brier_cases, only, ranking, reliability
from refine_eval.statistics.intervals import MIN_CASES, Cases, Estimate, paired_difference, rate
from refine_eval.svg import BLUE, GREY, Dot, tokens_plot

THRESHOLDS = tuple(tenth / 10 for tenth in range(1, 10))

ANSWERS: Sequence[tuple[str, str, str, str, str]] = (
    # name on the page, record, answer there, kind and name of its row
    ("draft", GLORE, "draft", "draft", ""),
    ("global alone", GLORE, "global", "refiner", "global"),
    ("local alone", GLORE, "local", "refiner", "local"),
    ("choice", GLORE, "choice", "selector", ""),
    ("best of three", "best-of-3", "choice", "selector", ""),
    ("control", "control", "draft", "draft", ""),
    ("local alone, the ORM says where", "where-orm", "local", "refiner", "local"),
    ("local alone, an oracle says where \\*", "oracle-steps", "local", "refiner", "local"),
    ("choice by the calculator", "calculator", "choice", "selector", ""),
    ("oracle \\*", GLORE, "oracle", "selector", "oracle"),
)


def section(tested: Tested) -> tuple[str, dict[str, str]]:
    """The section's text, and its plots by file name."""
    plots = _plots(tested)
    parts = [
        f"\n## {tested.size.title}\n\n",
        _records(tested),
        _answers(tested),
        *(f"\n![{alt}]({name})\n" for name, (alt, _) in plots.items()),
        _comparisons(tested),
        _critics(tested),
        _repairs(tested),
        _by_steps(tested),
        _sweep(tested),
        _ablations(tested),
        _breaks(tested),
    ]
    return "".join(parts), {name: svg for name, (_, svg) in plots.items()}


def table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """A Markdown table, the first column to the left."""
    lines = [head, ["---", *["---:"] * (len(head) - 1)], *rows]
    return "".join("| " + " | ".join(cell.replace("|", "\\|") for cell in line) + " |\n" for line in lines)


def percent(found: Estimate | None, count: bool = False) -> str:
    """ "65.6 ± 2.9": a share and half of its interval's width; with `count`, of how many problems."""
    if found is None:
        return "–"
    of = f" of {found.problems:,}" if count else ""
    return f"{100 * found.value:.1f} ± {50 * (found.high - found.low):.1f}{of}"


def _records(tested: Tested) -> str:
    first = tested.seeds[0]
    names = ", ".join(f"`{run.record.name}`" for run in (*first.runs.values(), *first.ablations.values()))
    return (
        f"{len(first.glore.traces):,} problems of the task {first.glore.task}, filter {first.glore.record.filter}; "
        f"seeds: {', '.join(seed.prefix for seed in tested.seeds)}. Models and records are made by\n\n"
        f"    {tested.size.make}\n\n"
        f"The records, each with its own command in its run.yaml: {names}{_and_others(tested)}.\n"
    )


def _and_others(tested: Tested) -> str:
    return ", and those of the other seeds" if len(tested.seeds) > 1 else ""


def _over_seeds(tested: Tested, cases: Callable[[Seed], Cases | None]) -> Estimate | None:
    """The mean over the seeds that have them."""
    return rate([found for seed in tested.seeds if (found := cases(seed)) is not None])


def _seed_heads(tested: Tested) -> list[str]:
    """A column for each seed, and one for their mean where there are several."""
    return [seed.prefix for seed in tested.seeds] + ["mean of seeds"] * (len(tested.seeds) > 1)


def _answer(record: str, answer: str) -> Callable[[Seed], Cases | None]:
    def cases(seed: Seed) -> Cases | None:
        run = seed.runs.get(record)
        there = run is not None and (answer in ("draft", "choice", "oracle") or answer in run.refiners)
        return run.right(answer) if run is not None and there else None

    return cases


def _row(seed: Seed, record: str, kind: str, name: str) -> Row | None:
    return seed.runs[record].row(kind, name) if record in seed.runs else None


def _mean_tokens(tested: Tested, record: str, kind: str, name: str) -> float | None:
    found = [row.tokens for seed in tested.seeds if (row := _row(seed, record, kind, name)) is not None]
    return sum(found) / len(found) if found else None


def _answers(tested: Tested) -> str:
    rows = []
    for label, record, answer, kind, name in ANSWERS:
        cases = _answer(record, answer)
        cells = []
        for seed in tested.seeds:
            own = cases(seed)
            cell = percent(rate([own])) if own else "–"
            if own and label != "draft":
                before = seed.glore.right("draft")
                gained = sum(own[p][0] > right for p, (right, _) in before.items())
                lost = sum(own[p][0] < right for p, (right, _) in before.items())
                cell += f" (+{gained} −{lost})"
            cells.append(cell)
        if len(tested.seeds) > 1:
            cells.append(percent(_over_seeds(tested, cases)))
        tokens = _mean_tokens(tested, record, kind, name)
        rows.append([label, *cells, "–" if tokens is None else f"{tokens:.1f}"])
    text = (
        "\n### Answers\n\nPercent right ± half of the 95 % interval's width; in brackets how many of the drafts that "
        "were wrong are right, and the other way round. Tokens are generated ones a problem, with all that the answer "
        "needs.\n\n"
    )
    return text + table(["answer", *_seed_heads(tested), "tokens"], rows)


def _comparisons(tested: Tested) -> str:
    compared: Sequence[tuple[str, Callable[[Seed], tuple[Cases, Cases] | None]]] = (
        ("choice − draft", lambda seed: choice_against(seed, GLORE, "draft")),
        ("choice by the calculator − draft", lambda seed: _against_draft(seed, "calculator", "choice")),
        ("choice − best of three", lambda seed: choice_against(seed, "best-of-3", "choice")),
        ("choice − control", lambda seed: choice_against(seed, "control", "draft")),
        ("best of three − draft", lambda seed: _against_draft(seed, "best-of-3", "choice")),
        ("control − draft", lambda seed: _against_draft(seed, "control", "draft")),
        ("global alone − draft", lambda seed: _against_draft(seed, GLORE, "global")),
        ("local alone − draft", lambda seed: _against_draft(seed, GLORE, "local")),
        ("local alone: the SORM says where − the ORM does", _where),
    )
    rows = []
    for label, pair_of in compared:
        pairs = [(seed, pair_of(seed)) for seed in tested.seeds]
        cells = [_difference(paired_difference([pair]) if pair else None) for _, pair in pairs]
        if len(tested.seeds) > 1:
            cells.append(_difference(paired_difference([pair for _, pair in pairs if pair])))
        rows.append([label, *cells])
    text = "\n### Paired comparisons\n\nPoints, 95 % interval and p; of one seed the exact McNemar test's.\n\n"
    return text + table(["comparison", *_seed_heads(tested)], rows)


def _against_draft(seed: Seed, record: str, answer: str) -> tuple[Cases, Cases] | None:
    cases = _answer(record, answer)(seed)
    return None if cases is None else (cases, seed.glore.right("draft"))


def _where(seed: Seed) -> tuple[Cases, Cases] | None:
    by_orm = _answer("where-orm", "local")(seed)
    by_sorm = _answer(GLORE, "local")(seed)
    return None if by_orm is None or by_sorm is None else (by_sorm, by_orm)


def _difference(found: Estimate | None) -> str:
    if found is None:
        return "–"
    low, high, value = (f"{100 * x:+.1f}".replace("-", "−") for x in (found.low, found.high, found.value))
    return f"{value} ({low} to {high}), {'p < .001' if found.p_value < 0.001 else f'p = {found.p_value:.3f}'}"


def _critics(tested: Tested) -> str:
    rows = []
    for seed in tested.seeds:
        run = seed.glore
        for critic in CRITICS:
            scores = run.scores(critic)
            if scores is None:
                continue
            steps, errors, final = seed.steps(critic), seed.first_errors(critic), seed.finals(critic)
            ranked = ranking(run.traces, "choose", run.record.filter) if run.critic("choose") == critic else None
            brier = rate([brier_cases(run.traces, scores, run.record.filter)])
            rows.append(
                [
                    f"{seed.prefix}: {critic}",
                    percent(rate([steps]) if steps else None),
                    percent(rate([errors]) if errors else None, count=True),
                    percent(rate([final]) if final else None),
                    percent(auc(run.traces, scores, run.record.filter)),
                    percent(ranked, count=True),
                    "–" if brier is None else f"{brier.value:.3f} ± {(brier.high - brier.low) / 2:.3f}",
                ]
            )
    text = (
        "\n### Critics\n\nOn the drafts, percent. Final: the score of the whole solution at the threshold against the "
        "answer's rightness. AUC: how often a right draft outscores a wrong one (DeLong's interval). Ranking: how "
        "often a right candidate outscores a wrong one of the same problem (bootstrap over problems). Brier: mean "
        "squared distance of the score from the truth.\n\n"
    )
    return text + table(["critic", "steps", "first error", "final", "AUC", "ranking", "Brier"], rows)


def _count(cases: Cases) -> int:
    return round(sum(a for a, _ in cases.values()))


def _repairs(tested: Tested) -> str:
    rows = []
    for seed in tested.seeds:
        if has(seed, "global", "local"):
            by_global, by_local = repairs(seed, "global"), repairs(seed, "local")
            found = (only(by_global, by_local), only(by_local, by_global), both(by_global, by_local))
            either = _count(by_global) + _count(only(by_local, by_global))
            wrong = round(sum(b for _, b in by_global.values()))
            cells = [*map(_count, found), either, _count(repairs(seed, "choice"))]
            rows.append([seed.prefix, str(wrong), *(f"{n} ({100 * n / max(1, wrong):.1f} %)" for n in cells)])
    if not rows:
        return ""
    text = "\n### Where repairs come from\n\nWrong drafts that are right afterwards.\n\n"
    head = ["seed", "wrong drafts", "by global only", "by local only", "by both", "by either", "by the choice"]
    return text + table(head, rows)


def _by_steps(tested: Tested) -> str:
    steps = tested.seeds[0].truth.steps
    numbers = sorted({steps[t.problem.id] for t in tested.seeds[0].glore.traces if t.problem.id in steps})
    if len(numbers) < 2:
        return ""
    answers = [entry for entry in ANSWERS if any(_answer(entry[1], entry[2])(seed) for seed in tested.seeds)]
    rows = []
    for number in numbers:
        cells = []
        for _, record, answer, *_ in answers:
            cells.append(percent(_over_seeds(tested, _of_length(_answer(record, answer), number))))
        problems = sum(steps.get(t.problem.id) == number for t in tested.seeds[0].glore.traces)
        rows.append([str(number), f"{problems:,}", *cells])
    text = "\n### Accuracy by number of steps of the gold solution\n\nPercent, mean of seeds."
    if tested.seeds[0].glore.first_bad is None:
        text += f" Counted with `python benchmarks/findings/gold_steps.py {tested.seeds[0].glore.task}`."
    return text + "\n\n" + table(["steps", "problems", *(label for label, *_ in answers)], rows)


def _of_length(cases: Callable[[Seed], Cases | None], number: int) -> Callable[[Seed], Cases | None]:
    def of_length(seed: Seed) -> Cases | None:
        found = cases(seed)
        return found and {p: case for p, case in found.items() if seed.truth.steps.get(p) == number}

    return of_length


def _sweep(tested: Tested) -> str:
    if not any(seed.steps(critic) for seed in tested.seeds for critic in CRITICS):
        return ""
    rows = []
    for threshold in THRESHOLDS:
        cells = []
        for measure in (Seed.steps, Seed.first_errors):
            for critic in CRITICS:
                found = [cases for seed in tested.seeds if (cases := measure(seed, critic, threshold=threshold))]
                cells.append(percent(rate(found)))
        rows.append([f"{threshold:.1f}", *cells])
    text = (
        "\n### Another threshold for *where*\n\nSteps and first errors on the drafts, percent, mean of seeds. The "
        "record's threshold was not chosen by these figures.\n\n"
    )
    head = ["threshold", *(f"{what}: {critic}" for what in ("steps", "first error") for critic in CRITICS)]
    return text + table(head, rows)


_ABLATED: Mapping[str, Callable[[Seed, Run], Cases | None]] = {
    "SORM: first error": lambda seed, run: seed.first_errors("sorm", run),
    "at its best": lambda seed, run: seed.at_best(partial(Seed.first_errors, run=run), "sorm"),
    "local alone": lambda seed, run: run.right("local") if "local" in run.refiners else None,
    "choice": lambda seed, run: run.right("choice"),
}


def _ablations(tested: Tested) -> str:
    names = sorted({name for seed in tested.seeds for name in seed.ablations})
    if not names:
        return ""
    runs = {"as is": [(seed, seed.glore) for seed in tested.seeds]}
    runs |= {name: [(seed, seed.ablations[name]) for seed in tested.seeds if name in seed.ablations] for name in names}
    rows = {}
    for name, of in runs.items():
        steps = [cases for seed, run in of if (cases := seed.steps("sorm", run))]
        rows[name] = [name, str(len(of)), percent(rate(steps))]
    for measure in _ABLATED.values():
        as_is = {seed.prefix: measure(seed, seed.glore) for seed in tested.seeds}
        for name, of in runs.items():
            found = as_is if name == "as is" else {seed.prefix: measure(seed, run) for seed, run in of}
            pairs = [(cases, other) for seed, cases in found.items() if cases and (other := as_is[seed])]
            difference = "–" if found is as_is else _difference(paired_difference(pairs))
            rows[name] += [percent(rate([cases for cases in found.values() if cases])), difference]
    text = (
        "\n### Ablations\n\nPercent, mean of the seeds that have the record; differences from the run as it is are "
        "paired, in points. The SORM's first errors stand there at the record's threshold and at its own best.\n\n"
    )
    head = ["ablation", "seeds", "SORM: steps", *(column for name in _ABLATED for column in (name, "− as is"))]
    return text + table(head, list(rows.values()))


def _breaks(tested: Tested) -> str:
    rows = []
    for seed in tested.seeds:
        run = seed.glore
        draft, choice, oracle = (run.right(answer) for answer in ("draft", "choice", "oracle"))
        right = _count(draft)
        missed = [p for p, (reachable, _) in oracle.items() if reachable and not choice[p][0]]
        given_up = sum(bool(draft[p][0]) for p in missed)
        untouched = sum(
            not t.correct[DRAFT][run.record.filter] and not any(c.component == "local" for c in t.candidates)
            for t in run.traces
        )
        broken = [
            f"{_count(breaks(seed, name))} of {right}" if has(seed, name) else "–" for name in ("global", "local")
        ]
        rows.append(
            [
                seed.prefix,
                *broken,
                f"{given_up} of {right}",
                str(len(missed) - given_up),
                str(len(oracle) - _count(oracle)),
                str(untouched) if has(seed, "local") else "–",
                _hardest(seed, choice),
            ]
        )
    text = (
        "\n### Where the method breaks\n\nProblems. Given up: the draft was right and the ORM chose a wrong "
        "refinement. Missed: a refinement was right and the ORM chose something wrong.\n\n"
    )
    head = [
        "seed",
        "right drafts broken by global alone",
        "by local alone",
        "given up by the choice",
        "missed by the choice",
        "no candidate is right",
        "wrong drafts that local left alone",
        "number of steps where the choice is worst",
    ]
    return text + table(head, rows)


def _hardest(seed: Seed, choice: Cases) -> str:
    found: dict[int, list[float]] = {}
    for problem, (right, _) in choice.items():
        if problem in seed.truth.steps:
            found.setdefault(seed.truth.steps[problem], []).append(right)
    found = {number: rights for number, rights in found.items() if len(rights) >= MIN_CASES}
    if len(found) < 2:
        return "–"
    worst = min(sorted(found), key=lambda number: sum(found[number]) / len(found[number]))
    wrong = len(found[worst]) - round(sum(found[worst]))
    return f"{worst}: {wrong} of {len(found[worst])} wrong"


def _plots(tested: Tested) -> dict[str, tuple[str, str]]:
    """File name -> (what it shows, the SVG)."""
    plots = {}
    points = []
    for label, record, answer, kind, name in ANSWERS:
        found, tokens = _over_seeds(tested, _answer(record, answer)), _mean_tokens(tested, record, kind, name)
        if found is not None and tokens is not None:
            points.append(
                Dot(
                    x=tokens,
                    value=found.value,
                    low=found.low,
                    high=found.high,
                    label=label.replace("\\*", "*"),
                    colour=GREY if "\\*" in label else BLUE,  # upper bounds, which see the gold answers
                )
            )
    plots[f"findings-{tested.size.key}-tokens.svg"] = ("Accuracy against generated tokens", tokens_plot(points))
    pairs = [
        (scores[t.problem.id].score, t.correct[DRAFT][seed.glore.record.filter])
        for seed in tested.seeds
        if (scores := seed.glore.scores("orm"))
        for t in seed.glore.traces
        if t.problem.id in scores
    ]
    if pairs:
        plots[f"findings-{tested.size.key}-calibration.svg"] = (
            "The ORM's scores against the share of right drafts, with the number of drafts, all seeds",
            calibration_plot(reliability(pairs), "the ORM"),
        )
    return plots
