"""What the tiny recipe's models can do, measured on test problems with the weights that ship."""

import math
import random
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from refine_eval.formats import global_prompt, join_steps, local_prompt, split_steps, student_prompt
from refine_eval_benchmarks.apples import first_bad_step, generate

PROBLEMS = 1000
"""Test problems measured; a proportion's 95 % interval is then at most 3.1 points wide on each side."""
THRESHOLD = 0.5
"""A step with a lower score is bad."""

Solution = tuple[str, ...]


def share(hits: Sequence[bool]) -> dict[str, float]:
    """Percentage with the half width of its 95 % interval (normal approximation) and the number of cases."""
    count = len(hits)
    mean = sum(hits) / count if count else 0.0
    half = 1.96 * math.sqrt(mean * (1 - mean) / count) if count else 0.0
    return {"percent": round(100 * mean, 1), "plus_minus": round(100 * half, 1), "cases": count}


def paired(before: Sequence[bool], after: Sequence[bool]) -> dict[str, float]:
    """Points gained from `before` to `after` on the same problems, with the exact McNemar test, two-sided."""
    gained = sum(b < a for b, a in zip(before, after, strict=True))
    lost = sum(b > a for b, a in zip(before, after, strict=True))
    count, changed = len(before), gained + lost
    half = 1.96 * math.sqrt(max(changed - (gained - lost) ** 2 / count, 0)) / count
    tail = sum(math.comb(changed, k) for k in range(min(gained, lost) + 1))
    chance = min(1.0, float(2 * tail / 2**changed)) if changed else 1.0
    return {
        "points": round(100 * (gained - lost) / count, 1),
        "plus_minus": round(100 * half, 1),
        "wrong_to_right": gained,
        "right_to_wrong": lost,
        "p": float(f"{chance:.2g}"),
    }


def first_below(scores: Sequence[float]) -> int | None:
    """Index of the first step that scores under the threshold."""
    return next((index for index, score in enumerate(scores) if score < THRESHOLD), None)


def critic_figures(
    scores: Sequence[Sequence[float]],
    drafts: Sequence[Solution],
    truth: Sequence[int | None],
    right: Sequence[bool],
) -> dict[str, Any]:
    """A critic on the greedy drafts, against exact truth.

    A step is truly good if no step up to it is wrong. `steps`: all lines but the last one; `first_error`: the
    wrong drafts whose first wrong step is found exactly; `final_answer`: the score of the whole solution
    against the rightness of its answer.
    """
    judged, answers, first = [], [], []
    for row, steps, bad, good in zip(scores, drafts, truth, right, strict=True):
        judged += [(row[i] >= THRESHOLD) == (bad is None or i < bad) for i in range(len(steps) - 1)]
        if steps:
            answers.append((row[-1] >= THRESHOLD) == good)
        if bad is not None and bad < len(steps):
            first.append(first_below(row) == bad)
    return {"steps": share(judged), "first_error": share(first), "final_answer": share(answers)}


def ranking(scores: Sequence[Sequence[float]], right: Sequence[Sequence[bool]]) -> dict[str, float]:
    """How often a right sample outscores a wrong one of the same question; each question counts once.

    `plus_minus` is from a bootstrap over questions.
    """
    each = []
    for row, good in zip(scores, right, strict=True):
        wins = [
            1.0 if a > b else 0.5 if a == b else 0.0
            for a, x in zip(row, good, strict=True)
            if x
            for b, y in zip(row, good, strict=True)
            if not y
        ]
        if wins:
            each.append(sum(wins) / len(wins))
    rng = random.Random(0)
    means = sorted(sum(rng.choices(each, k=len(each))) / len(each) for _ in range(500))
    half = (means[487] - means[12]) / 2
    mean = sum(each) / len(each)
    return {"percent": round(100 * mean, 1), "plus_minus": round(100 * half, 1), "cases": len(each)}


def measure(work: Path, seed: int) -> dict[str, Any]:
    """All figures of the exported models in `work`/export on the first `PROBLEMS` test problems."""
    from refine_eval.training.models import load_critic, load_generator, load_tokenizer
    from refine_eval.training.sampling import Sampler, sample_solutions, step_scores
    from refine_eval_benchmarks.recipe_tiny_stages import is_right

    started = time.monotonic()
    shipped = work / "export"
    tokenizer = load_tokenizer(shipped / "student")
    problems = generate("test", PROBLEMS)
    questions = [p["question"] for p in problems]
    sampler = {name: Sampler(load_generator(shipped / name), tokenizer) for name in ("student", "global", "local")}
    critic = {name: load_critic(shipped / name) for name in ("orm", "sorm")}

    def graded(solutions: Sequence[Solution]) -> list[bool]:
        return [is_right(p, steps) for p, steps in zip(problems, solutions, strict=True)]

    def judged(name: str, solutions: Sequence[Solution]) -> list[list[float]]:
        return step_scores(critic[name], tokenizer, list(zip(questions, solutions, strict=True)))

    def last(scores: Sequence[Sequence[float]]) -> list[float]:
        return [row[-1] if row else 0.0 for row in scores]

    def local(firsts: Sequence[int | None]) -> list[Solution]:
        """Local refinements from the given first bad steps; the draft itself where there is none."""
        at = [(n, first) for n, first in enumerate(firsts) if first is not None and first < len(drafts[n])]
        texts = sampler["local"].texts([local_prompt(questions[n], drafts[n], first) for n, first in at])
        refined = list(drafts)
        for (n, first), text in zip(at, texts, strict=True):
            refined[n] = split_steps(join_steps(drafts[n][:first]) + text)
        return refined

    def best(*candidates: Sequence[Solution]) -> list[Solution]:
        """The ORM's choice; the first of equals."""
        scores = [last(judged("orm", some)) for some in candidates]
        pick = [max(range(len(candidates)), key=lambda k: scores[k][n]) for n in range(len(problems))]
        return [candidates[k][n] for n, k in enumerate(pick)]

    prompts = [student_prompt(question) for question in questions]
    drafts = [split_steps(text) for text in sampler["student"].texts(prompts)]
    truth = [first_bad_step(p["answer"], steps) for p, steps in zip(problems, drafts, strict=True)]
    scores = {name: judged(name, drafts) for name in critic}
    globally = [
        split_steps(text)
        for text in sampler["global"].texts([global_prompt(q, s) for q, s in zip(questions, drafts, strict=True)])
    ]
    locally = local([first_below(row) for row in scores["sorm"]])
    oracle_local = local(truth)
    several = sample_solutions(sampler["student"], questions, 3, 1.0, seed + 1000)
    three = best(*zip(*several, strict=True))
    chosen = best(drafts, globally, locally)
    controlled = Sampler(load_generator(work / "control"), tokenizer)
    extra = [split_steps(text) for text in controlled.texts(prompts)]

    right = {
        "draft": graded(drafts),
        "global": graded(globally),
        "local (SORM's step)": graded(locally),
        "local (ORM's step)": graded(local([first_below(row) for row in scores["orm"]])),
        "local (oracle's step)": graded(oracle_local),
        "chosen by ORM {draft, global}": graded(best(drafts, globally)),
        "chosen by ORM {draft, local}": graded(best(drafts, locally)),
        "chosen by ORM {draft, global, local}": graded(chosen),
        "best of three samples by ORM": graded(three),
        "control: student trained on, greedy": graded(extra),
    }
    right["oracle of {draft, global, local}"] = [
        any(some) for some in zip(right["draft"], right["global"], right["local (SORM's step)"], strict=True)
    ]
    pairs = [(q, s) for q, some in zip(questions, several, strict=True) for s in some]
    per_sample = {name: last(step_scores(model, tokenizer, pairs)) for name, model in critic.items()}
    sampled = [[is_right(p, s) for s in some] for p, some in zip(problems, several, strict=True)]
    chosen_name = "chosen by ORM {draft, global, local}"
    wrong = [n for n, good in enumerate(right["draft"]) if not good]
    return {
        "problems": f"the first {PROBLEMS} of the test split",
        "seed": seed,
        "threshold": THRESHOLD,
        "accuracy": {name: share(hits) for name, hits in right.items()},
        "against the draft": {name: paired(right["draft"], hits) for name, hits in right.items() if name != "draft"},
        "chosen against best of three": paired(right["best of three samples by ORM"], right[chosen_name]),
        "chosen against the control": paired(right["control: student trained on, greedy"], right[chosen_name]),
        "wrong drafts repaired by the choice": share([right[chosen_name][n] for n in wrong]),
        "right drafts with a wrong step": share(
            [bad is not None for bad, good in zip(truth, right["draft"], strict=True) if good]
        ),
        "draft by number of steps": {
            str(count): share(
                [good for p, good in zip(problems, right["draft"], strict=True) if p["answer"].count("=") == count]
            )
            for count in range(2, 7)
        },
        "critics": {
            name: critic_figures(scores[name], drafts, truth, right["draft"])
            | {
                "ranking within a question": ranking(
                    [per_sample[name][at : at + 3] for at in range(0, len(pairs), 3)], sampled
                )
            }
            for name in critic
        },
        "SORM over ORM on steps, points": paired(
            *(
                [
                    (row[i] >= THRESHOLD) == (bad is None or i < bad)
                    for row, steps, bad in zip(scores[name], drafts, truth, strict=True)
                    for i in range(len(steps) - 1)
                ]
                for name in ("orm", "sorm")
            )
        ),
        "seconds": round(time.monotonic() - started),
    }
