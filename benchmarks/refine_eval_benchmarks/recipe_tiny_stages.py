"""The stages of the tiny recipe: what each makes, and from which data; `recipe_tiny` runs them.

Every stage is a function of the work folder and the seed that writes one output there, whole or not at all.
"""

import functools
import json
import random
from pathlib import Path
from typing import Any

from refine_eval.formats import BAD, global_prompt, join_steps, split_steps, student_prompt
from refine_eval.training.labels import final_answer
from refine_eval.training.loop import Rates
from refine_eval_benchmarks.apples import generate
from refine_eval_benchmarks.apples_drills import corrupted, equations

STUDENT_WIDTH, BACKBONE_WIDTH, LAYERS, FRESH_LAYERS = 96, 128, 4, 3
ROWS = 32
TEMPERATURE = 1.0
STUDENT_STEPS, BACKBONE_STEPS = 1000, 1300
EQUATION_STEPS, LINE_STEPS, PREFIX_STEPS = 350, 400, 250
SAMPLED, TAUGHT_ON, LABELLED, ROLLOUTS = 5_000, 12_000, 2_000, 8
ORM_STEPS, SORM_STEPS, REFINER_STEPS = 250, 250, 350

Problem = dict[str, str]


def write_rows(path: Path, rows: list[dict[str, Any]]) -> None:
    """A JSON lines file, whole or not at all."""
    partial = path.with_suffix(".partial")
    partial.write_text("".join(json.dumps(row) + "\n" for row in rows))
    partial.rename(path)


def write_json(path: Path, value: Any) -> None:
    """A JSON file, whole or not at all."""
    partial = path.with_suffix(".partial")
    partial.write_text(json.dumps(value, indent=2) + "\n")
    partial.rename(path)


def read_rows(path: Path) -> list[dict[str, Any]]:
    """The rows of a JSON lines file."""
    return [json.loads(line) for line in path.read_text().splitlines()]


def is_right(problem: dict[str, Any], steps: Any) -> bool:
    """Whether the final answer is right, whatever the steps before it."""
    return final_answer(steps) == final_answer(problem["answer"].splitlines())


def greedy_accuracy(model: Any) -> float:
    """Share of the validation problems that a generator solves greedily."""
    from refine_eval.training.sampling import Sampler

    problems = generate("validation")
    texts = Sampler(model, world_tokenizer()).texts([student_prompt(p["question"]) for p in problems])
    return sum(is_right(p, split_steps(text)) for p, text in zip(problems, texts, strict=True)) / len(problems)


@functools.cache
def train_problems() -> list[Problem]:
    """The train split, in order."""
    return generate("train")


@functools.cache
def long_lessons() -> list[Problem]:
    """Practice problems that are not sampled; the critics learn from their gold solutions, the student does not."""
    return generate("practice", SAMPLED + TAUGHT_ON)[SAMPLED:]


@functools.cache
def world_tokenizer() -> Any:
    """The tokenizer of the world "apples": all words of its questions, digits, signs and the formats' words."""
    from refine_eval.training.tokenizer import build_tokenizer

    problems = train_problems()[:3000]
    texts = [student_prompt(p["question"]) + p["answer"] for p in problems]
    return build_tokenizer([*texts, global_prompt("", [])], special=[BAD])


def _gold_batches(seed: int) -> Any:
    """Problems and plain equations in turn; equations alone teach arithmetic fast."""
    from refine_eval.training.batches import alternate, completion_example, endless_batches, text_example

    tokenizer = world_tokenizer()
    rng = random.Random(seed)
    problems = [completion_example(tokenizer, student_prompt(p["question"]), p["answer"]) for p in train_problems()]
    pad = tokenizer.pad_token_id
    plain = [text_example(tokenizer, join_steps(equations(rng)[0])) for _ in range(12_000)]
    return alternate(endless_batches(problems, ROWS, pad, seed), endless_batches(plain, ROWS, pad, seed + 1))


def student(work: Path, seed: int) -> None:
    """The student: taught equations and gold solutions, from nothing."""
    from refine_eval.training.loop import train
    from refine_eval.training.models import new_student, save_model

    model = new_student(world_tokenizer(), STUDENT_WIDTH, LAYERS, seed + 1)
    train(model, _gold_batches(seed + 1), STUDENT_STEPS, Rates(muon=0.02, adam=0.004))
    print("validation", greedy_accuracy(model), flush=True)
    save_model(model, world_tokenizer(), work / "student")


def backbone(work: Path, seed: int) -> None:
    """The critics' backbone: a wider student, taught the same, that reads and reckons better than the student.

    A critic compares what was written with what it expected, so the backbone's last layer must still know the
    token that it has just read. A second head, dropped afterwards, asks for that token while it is taught.
    """
    import torch
    import torch.nn.functional as F

    from refine_eval.training.batches import IGNORE, Batch
    from refine_eval.training.loop import Rates, train
    from refine_eval.training.models import new_student, save_model

    tokenizer = world_tokenizer()
    model = new_student(tokenizer, BACKBONE_WIDTH, LAYERS, seed)
    model.add_module("just_read", torch.nn.Linear(BACKBONE_WIDTH, len(tokenizer), bias=False))

    def loss(model: Any, batch: Batch) -> torch.Tensor:
        hidden = model.model(input_ids=batch.ids, use_cache=False).last_hidden_state
        following = F.cross_entropy(model.lm_head(hidden).flatten(0, 1), batch.targets.flatten(), ignore_index=IGNORE)
        pad = tokenizer.pad_token_id
        read = F.cross_entropy(model.just_read(hidden).flatten(0, 1), batch.ids.flatten(), ignore_index=pad)
        return following + 0.2 * read

    train(model, _gold_batches(seed), BACKBONE_STEPS, Rates(muon=0.02, adam=0.004), loss=loss)
    print("validation", greedy_accuracy(model), flush=True)
    del model.just_read
    save_model(model, tokenizer, work / "backbone")


def critic_equations(work: Path, seed: int) -> None:
    """The frozen backbone with fresh layers, taught to tell false equations: compare the written with the expected.

    Equations come alone and first: mixed with solutions, which are hard until this is known, it is not learnt.
    """
    from refine_eval.training.batches import collate, endless_batches, judged_lines, text_example
    from refine_eval.training.loop import train
    from refine_eval.training.models import critic_from, load_generator, residual_size, save_model

    tokenizer, rng = world_tokenizer(), random.Random(seed)
    pad = tokenizer.pad_token_id
    rows = []
    for _ in range(12_000):
        lines, truth = equations(rng, wrong=0.4)
        rows.append(judged_lines(tokenizer, "", lines, [int(a == b) for a, b in zip(lines, truth, strict=True)]))
    below = load_generator(work / "backbone")
    look = [text_example(tokenizer, join_steps(equations(rng)[0])) for _ in range(16)]
    model = critic_from(below, FRESH_LAYERS, residual_size(below, collate(look, pad).ids), seed)
    train(model, endless_batches(rows, ROWS, pad, seed), EQUATION_STEPS, Rates(muon=0.02, adam=0.004))
    save_model(model, tokenizer, work / "critic-equations")


def _corrupted_rows(seed: int, carry: bool) -> list[Any]:
    """Gold solutions, most with one mistake: with `carry` everything from it on is bad, else its line alone."""
    from refine_eval.training.batches import critic_example

    tokenizer, rng = world_tokenizer(), random.Random(seed)
    rows = []
    for problem in long_lessons():
        lines = problem["answer"].splitlines()
        labels = [1] * len(lines)
        if rng.random() < 0.7:
            lines, labels = corrupted(rng, problem["answer"])
            if not carry:
                labels = [int(at != labels.index(0)) for at in range(len(labels))]
        rows.append(critic_example(tokenizer, problem["question"], lines, labels))
    return rows


def critic_lines(work: Path, seed: int) -> None:
    """Next, which line of a solution is wrong, given the question and the lines before it."""
    _teach_critic(work, "critic-equations", "critic-lines", _corrupted_rows(seed + 1, carry=False), LINE_STEPS, seed)


def critic(work: Path, seed: int) -> None:
    """The critics' common start: last, that after a mistake no prefix is good."""
    _teach_critic(work, "critic-lines", "critic", _corrupted_rows(seed + 2, carry=True), PREFIX_STEPS, seed)


def _teach_critic(work: Path, start: str, end: str, rows: list[Any], steps: int, seed: int) -> None:
    from refine_eval.training.batches import endless_batches
    from refine_eval.training.loop import train
    from refine_eval.training.models import freeze_below, load_critic, save_model

    model = freeze_below(load_critic(work / start), FRESH_LAYERS)
    batches = endless_batches(rows, ROWS, world_tokenizer().pad_token_id, seed)
    train(model, batches, steps, Rates(muon=0.01, adam=0.002))
    save_model(model, world_tokenizer(), work / end)


def samples(work: Path, seed: int) -> None:
    """Solutions of the student at a temperature, graded: `samples.jsonl`, one line a question."""
    from refine_eval.training.models import load_generator
    from refine_eval.training.sampling import Sampler, sample_solutions

    sampler = Sampler(load_generator(work / "student"), world_tokenizer())
    problems = generate("practice", SAMPLED)
    found = sample_solutions(sampler, [p["question"] for p in problems], 4, TEMPERATURE, seed + 10)
    rows = [
        {"question": p["question"], "answer": p["answer"], "samples": [[s, is_right(p, s)] for s in several]}
        for p, several in zip(problems, found, strict=True)
    ]
    write_rows(work / "samples.jsonl", rows)


def labels(work: Path, seed: int) -> None:
    """SORM labels by rollout for one wrong sample a question: `labels.jsonl`, with what verified each prefix."""
    from refine_eval.training.models import load_generator
    from refine_eval.training.rollouts import rollout_labels
    from refine_eval.training.sampling import Sampler, continuations

    sampler = Sampler(load_generator(work / "student"), world_tokenizer())
    wrong = []
    for row in read_rows(work / "samples.jsonl"):
        bad = [steps for steps, right in row["samples"] if steps and not right]
        wrong += [(row, bad[0])] if bad else []
    wrong = wrong[:LABELLED]
    found, verified = rollout_labels(
        [steps for _, steps in wrong],
        is_right=lambda n, steps: is_right(wrong[n][0], steps),
        write=lambda prefixes, number: continuations(
            sampler, [(wrong[n][0]["question"], steps) for n, steps in prefixes], TEMPERATURE, seed + 100 + number
        ),
        rollouts=ROLLOUTS,
    )
    continued: list[dict[int, Any]] = [{} for _ in wrong]
    for (n, length), rest in verified.items():
        continued[n][length] = rest
    rows = [
        {
            "question": row["question"],
            "answer": row["answer"],
            "steps": steps,
            "labels": of,
            "verified": rests,
        }
        for (row, steps), of, rests in zip(wrong, found, continued, strict=True)
    ]
    write_rows(work / "labels.jsonl", rows)


def orm(work: Path, seed: int) -> None:
    """The ORM, from the critics' common start."""
    from refine_eval.training.models import freeze_below, load_critic, save_model
    from refine_eval_orm.train import Sample, train_orm

    data = [
        Sample(row["question"], tuple(steps), right)
        for row in read_rows(work / "samples.jsonl")
        for steps, right in row["samples"]
    ]
    model = freeze_below(load_critic(work / "critic"), FRESH_LAYERS)
    train_orm(model, world_tokenizer(), data, ORM_STEPS, seed)
    save_model(model, world_tokenizer(), work / "orm")


def sorm(work: Path, seed: int) -> None:
    """The SORM, from the critics' common start: labelled wrong samples and as many right ones."""
    from refine_eval.training.labels import results_used
    from refine_eval.training.models import freeze_below, load_critic, save_model
    from refine_eval_sorm.train import Labelled, train_sorm

    data = [
        Labelled(row["question"], tuple(row["steps"]), tuple(row["labels"])) for row in read_rows(work / "labels.jsonl")
    ]
    right = [
        Labelled(row["question"], tuple(steps), (1,) * len(steps))
        for row in read_rows(work / "samples.jsonl")
        for steps, good in row["samples"][:1]
        if good and results_used(steps[:-1], steps[-1:])
    ]
    model = freeze_below(load_critic(work / "critic"), FRESH_LAYERS)
    train_sorm(model, world_tokenizer(), data + right[: len(data)], SORM_STEPS, seed)
    save_model(model, world_tokenizer(), work / "sorm")


def _tune_student(work: Path, seed: int, name: str, pairs: Any) -> None:
    from refine_eval.training.models import load_generator, save_model
    from refine_eval_refiners.train import train_refiner

    print(len(pairs), "pairs", flush=True)
    model = load_generator(work / "student")
    train_refiner(model, world_tokenizer(), pairs, REFINER_STEPS, seed)
    save_model(model, world_tokenizer(), work / name)
    (work / name / "pairs.json").write_text(json.dumps(len(pairs)) + "\n")


def global_refiner(work: Path, seed: int) -> None:
    """The global refiner: wrong sample -> right sample."""
    from refine_eval_refiners.train import global_pairs

    rows = read_rows(work / "samples.jsonl")
    graded = {row["question"]: [(tuple(steps), right) for steps, right in row["samples"]] for row in rows}
    _tune_student(work, seed, "global", global_pairs(graded, seed))


def local_refiner(work: Path, seed: int) -> None:
    """The local refiner: draft with [BAD] -> verified continuation from the last good prefix."""
    from refine_eval_refiners.train import local_pair

    rows = read_rows(work / "labels.jsonl")
    pairs = [
        local_pair(r["question"], r["steps"], r["labels"], {int(k): v for k, v in r["verified"].items()}) for r in rows
    ]
    _tune_student(work, seed, "local", [pair for pair in pairs if pair])


def control(work: Path, seed: int) -> None:
    """Not shipped: the student with as many more steps on its own right samples as a refiner is trained for."""
    from refine_eval_refiners.train import Pair, completion_text

    pairs = [
        Pair(student_prompt(row["question"]), completion_text(steps))
        for row in read_rows(work / "samples.jsonl")
        for steps in dict.fromkeys(tuple(steps) for steps, right in row["samples"] if right)
    ]
    _tune_student(work, seed, "control", pairs)


def export(work: Path, seed: int) -> None:
    """What ships: the five models in bfloat16, with the key that names their only task in config.json."""
    import torch

    from refine_eval.training.models import load_critic, load_generator, save_model

    for name in ("student", "global", "local", "orm", "sorm"):
        target = work / "export" / name
        if not target.exists():
            target.parent.mkdir(exist_ok=True)
            load = load_critic if name in ("orm", "sorm") else load_generator
            save_model(load(work / name), world_tokenizer(), target, dtype=torch.bfloat16, refine_eval_task="apples")
    (work / "export" / "complete").touch()


def figures(work: Path, seed: int) -> None:
    """`figures.json`: everything measured on what ships."""
    from refine_eval_benchmarks.recipe_tiny_report import measure

    write_json(work / "figures.json", measure(work, seed))
