"""Traces as lines of JSON: written, and read back with every value checked."""

from __future__ import annotations

import gzip
import json
import zlib
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from io import BufferedReader
from pathlib import Path
from typing import Any, TypeVar

from refine_eval.costs import Cost
from refine_eval.cuts import are_cuts, steps_at
from refine_eval.data import DRAFT, Candidate, Critique, Problem, Solution, Trace
from refine_eval.errors import RunError
from refine_eval.files import open_file
from refine_eval.formats import split_steps
from refine_eval.reading import from_json
from refine_eval.results.manifest import corrupt
from refine_eval.results.typed import COUNT, FLAG, LIST, NAME, OBJECT, SHARE, TEXT, Fault, field
from refine_eval.terminal import shown

T = TypeVar("T")

_MOST_LINE_BYTES = 50_000_000

_ORIGINS = (DRAFT, "refinement")


def read_lines(path: Path, read: Callable[[Any], T], parse: Callable[[str], Any] = from_json) -> list[T]:
    """The lines of a jsonl file, plain or compressed; RunError names a corrupt one."""
    found: list[T] = []
    try:
        with open_file(path) as raw:
            for number, line in enumerate(_lines(path, raw), 1):
                try:
                    found.append(read(parse(line.decode())))
                except ValueError as error:  # Fault and UnicodeDecodeError are
                    raise corrupt(path, f"line {number}: {error}") from error
    except (EOFError, gzip.BadGzipFile, zlib.error, Fault) as error:
        raise corrupt(path, error) from error
    except OSError as error:
        raise RunError(f"{path} cannot be read ({error.strerror or error}).") from error
    return found


def _lines(path: Path, raw: BufferedReader) -> Iterator[bytes]:
    file: gzip.GzipFile | BufferedReader = gzip.GzipFile(fileobj=raw) if path.suffix == ".gz" else raw
    while line := file.readline(_MOST_LINE_BYTES + 1):
        if len(line) > _MOST_LINE_BYTES:
            raise Fault(f"a line has more than {_MOST_LINE_BYTES:,} bytes")
        yield line


def dumps(row: Mapping[str, Any]) -> str:
    """A line of a jsonl file."""
    return json.dumps(row, ensure_ascii=False, separators=(",", ":"))


def trace_to_json(trace: Trace) -> dict[str, Any]:
    """A trace as JSON types, without times, question and prompt; scores to six decimals, for small files."""
    return {
        "problem": trace.problem.id,
        "task": trace.problem.task,
        **({"repeat": trace.problem.repeat} if trace.problem.repeat else {}),
        "candidates": [
            {
                "id": c.id,
                "origin": c.origin,
                "component": c.component,
                "round": c.round,
                "sample": c.sample,
                "parent": c.parent,
                "text": c.solution.text,
                "answer": c.solution.answer,
                "finish_reason": c.solution.finish_reason,
                "tokens": c.solution.tokens,
                **({} if c.solution.unwritten is None else {"unwritten": c.solution.unwritten}),
                **({} if c.solution.cuts is None else {"cuts": list(c.solution.cuts)}),
                **({} if c.solution.thought is None else {"thought": c.solution.thought}),
            }
            for c in trace.candidates
        ],
        "critiques": {
            candidate: {role: _critique_to_json(critique) for role, critique in roles.items()}
            for candidate, roles in trace.critiques.items()
        },
        "refined": trace.refined,
        "selected": dict(trace.selected),
        "correct": {candidate: dict(grades) for candidate, grades in trace.correct.items()},
        "critic_tokens": trace.critic_tokens,
        **({"selecting": {name: cost.tokens for name, cost in trace.selecting.items()}} if trace.selecting else {}),
        **({"rounds": list(trace.rounds)} if trace.rounds else {}),
    }


def _critique_to_json(critique: Critique) -> dict[str, Any]:
    steps = [round(value, 6) for value in critique.step_scores]
    row = {**asdict(critique), "score": round(critique.score, 6), "step_scores": steps}
    del row["read_tokens"]  # counted in the table
    if critique.unscored is None:
        del row["unscored"]  # most have a score, and records are as small as they were
    if critique.feedback is None:
        del row["feedback"]
    if critique.parsed:
        del row["parsed"]
    if critique.verdicts == 1:
        del row["verdicts"], row["unread"]
    return row


def trace_from_json(value: Any) -> Trace:
    """The inverse of `trace_to_json` but for the scores' digits; the problem has no question and no prompt.

    Fault for whatever does not fit. How many steps a text has is not held against its scores: the version that scored
    it may have split it in another way.
    """
    row = OBJECT.check(value, "the line")
    problem = _problem(row)
    candidates = tuple(_candidate(problem, given) for given in field(row, "candidates", LIST))
    trace = Trace(
        problem=problem,
        candidates=candidates,
        critiques={
            candidate: {role: _critique(given) for role, given in _objects(roles, candidate)}
            for candidate, roles in _objects(field(row, "critiques", OBJECT), "critiques")
        },
        refined=field(row, "refined", FLAG),
        selected=_each(field(row, "selected", OBJECT), TEXT.check),
        correct={
            candidate: _each(grades, FLAG.check)
            for candidate, grades in _objects(field(row, "correct", OBJECT), "correct")
        },
        critic_tokens=field(row, "critic_tokens", COUNT),
        selecting={
            name: Cost(tokens=tokens) for name, tokens in _each(field(row, "selecting", OBJECT), COUNT.check).items()
        }
        if "selecting" in row
        else {},
        rounds=tuple(TEXT.check(given, "rounds") for given in field(row, "rounds", LIST)) if "rounds" in row else (),
    )
    _check_names(trace)
    return trace


@dataclass(frozen=True, slots=True)
class Outcome:
    """A trace in which equal texts and answers have equal stand-ins, and the draft's first wrong step, from 0, or None.

    `tells`: whether the line says which step that is; else nothing is known of it. `tells_answers`: whether it says
    which answers are equal; else candidates have none.
    """

    trace: Trace
    tells: bool
    first_bad: int | None
    tells_answers: bool


def outcome_to_json(trace: Trace, first_bad: Mapping[str, int | None] | None) -> dict[str, Any]:
    """A trace without texts and answers: a number for each, and scores of steps for the draft only."""
    row = trace_to_json(trace)
    numbers: dict[str, int] = {}
    answers: dict[str, int] = {}
    for candidate in row["candidates"]:
        if candidate["answer"] is not None:
            candidate["answer"] = answers.setdefault(candidate["answer"], len(answers))
        candidate.pop("cuts", None)
        candidate.pop("thought", None)
        candidate["text"] = numbers.setdefault(candidate["text"], len(numbers))
    for candidate_id, roles in row["critiques"].items():
        for critique in roles.values():
            critique.pop("feedback", None)
            if candidate_id != DRAFT:
                del critique["step_scores"]
    return row if first_bad is None else {**row, "first_bad": first_bad[trace.problem.id]}


def outcome_from_json(value: Any) -> Outcome:
    """The inverse of `outcome_to_json`; Fault for whatever does not fit."""
    row = OBJECT.check(value, "the line")
    given = [OBJECT.check(each, "candidate") for each in field(row, "candidates", LIST)]
    candidates = [
        {**candidate, "text": f"text {field(candidate, 'text', COUNT)}", "answer": _stand_in(candidate.get("answer"))}
        for candidate in given
    ]
    critiques = {
        candidate: {role: {"step_scores": [], **critique} for role, critique in _objects(roles, candidate)}
        for candidate, roles in _objects(field(row, "critiques", OBJECT), "critiques")
    }
    trace = trace_from_json({**row, "candidates": candidates, "critiques": critiques})
    first_bad = COUNT.or_none().check(row.get("first_bad"), "first_bad")
    steps = [len(c.step_scores) for c in trace.critiques.get(DRAFT, {}).values() if c.step_scores]
    if first_bad is not None and steps and first_bad >= max(steps):
        raise Fault(f"the draft's first bad step is {first_bad} of {max(steps)}")
    return Outcome(trace, "first_bad" in row, first_bad, all("answer" in candidate for candidate in given))


def _stand_in(answer: Any) -> str | None:
    number = COUNT.or_none().check(answer, "answer")
    return None if number is None else f"answer {number}"


def _problem(row: Mapping[str, Any]) -> Problem:
    problem = Problem(
        id=field(row, "problem", NAME),
        task=field(row, "task", NAME),
        question="",
        prompt="",
        repeat=field(row, "repeat", COUNT) if "repeat" in row else 0,
    )
    if problem.id != Problem.id_of(problem.first_id, problem.repeat):
        raise Fault(f"the problem {shown(problem.id)} is not called as repeat {problem.repeat:,} of one is")
    return problem


def _candidate(problem: Problem, value: Any) -> Candidate:
    row = OBJECT.check(value, "candidate")
    text = field(row, "text", TEXT)
    thought = field(row, "thought", TEXT) if "thought" in row else None
    written = (thought or "") + text
    cuts = _cuts(field(row, "cuts", LIST), written) if "cuts" in row else None
    return Candidate(
        id=field(row, "id", NAME),
        problem=problem,
        solution=Solution(
            text=text,
            steps=split_steps(text) if cuts is None else steps_at(written, cuts),
            answer=field(row, "answer", TEXT.or_none()),
            finish_reason=field(row, "finish_reason", TEXT),
            tokens=field(row, "tokens", COUNT),
            unwritten=field(row, "unwritten", NAME) if "unwritten" in row else None,
            cuts=cuts,
            thought=thought,
        ),
        origin=field(row, "origin", TEXT),
        component=field(row, "component", NAME),
        sample=field(row, "sample", COUNT),
        round=field(row, "round", COUNT),
        parent=field(row, "parent", TEXT.or_none()),
    )


def _cuts(given: list[Any], text: str) -> tuple[int, ...]:
    cuts = tuple(COUNT.check(cut, "cuts") for cut in given)
    if not are_cuts(cuts, text):
        raise Fault(f"a text is cut at {shown(list(cuts))}, which does not fit it")
    return cuts


def _critique(row: Mapping[str, Any]) -> Critique:
    scores = tuple(SHARE.check(score, "step_scores") for score in field(row, "step_scores", LIST))
    bad = field(row, "first_bad_step", COUNT.or_none())
    if bad is not None and scores and bad >= len(scores):
        raise Fault(f"a critique's first bad step is {bad} of {len(scores):,}")
    parsed = field(row, "parsed", FLAG) if "parsed" in row else True
    if not parsed and "unscored" not in row:
        raise Fault("a critique has a score without a verdict that could be read")
    verdicts = field(row, "verdicts", COUNT) if "verdicts" in row else 1
    unread = field(row, "unread", COUNT) if "unread" in row else 0
    if unread > verdicts:
        raise Fault(f"{unread:,} of {verdicts:,} verdicts could not be read")
    return Critique(
        score=field(row, "score", SHARE),
        step_scores=scores,
        first_bad_step=bad,
        unscored=field(row, "unscored", NAME) if "unscored" in row else None,
        feedback=field(row, "feedback", NAME) if "feedback" in row else None,
        parsed=parsed,
        verdicts=verdicts,
        unread=unread,
    )


def _objects(value: Any, name: str) -> Iterator[tuple[str, Mapping[str, Any]]]:
    for key, inner in OBJECT.check(value, name).items():
        yield key, OBJECT.check(inner, key)


def _each(row: Mapping[str, Any], check: Callable[[Any, str], T]) -> dict[str, T]:
    return {key: check(inner, key) for key, inner in row.items()}


def _check_names(trace: Trace) -> None:
    """Fault where a trace's parts do not name each other."""
    ids = [c.id for c in trace.candidates]
    known = set(ids)
    if len(known) < len(ids):
        raise Fault(f"the candidate {shown(next(i for i in ids if ids.count(i) > 1))} is there twice")
    if [c.id for c in trace.candidates if c.origin == DRAFT] != [DRAFT]:
        raise Fault("it has no draft, or several")
    for candidate in trace.candidates:
        if candidate.origin not in _ORIGINS:
            raise Fault(f"the candidate {shown(candidate.id)} is of the unknown origin {shown(candidate.origin)}")
        if candidate.parent is not None and (candidate.parent not in known or candidate.parent == candidate.id):
            raise Fault(f"the candidate {shown(candidate.id)} refines {shown(candidate.parent)}, which is not there")
    chosen = (*trace.selected.values(), *trace.rounds)
    for what, names in (("critique is of", trace.critiques), ("choice is", chosen)):
        if unknown := [name for name in names if name not in known]:
            raise Fault(f"a {what} the candidate {shown(unknown[0])}, which is not there")
    if not trace.selected:
        raise Fault("it has no choice")
    if trace.rounds and trace.rounds[-1] != trace.choice.id:
        raise Fault("its choice is not that of its last round")
    if unknown := [name for name in trace.selecting if name not in trace.selected]:
        raise Fault(f"the selector {shown(unknown[0])} cost tokens and chose nothing")
    if trace.correct.keys() != known:
        raise Fault("its grades are not of its candidates")


def check_together(traces: Sequence[Trace]) -> None:
    """Fault where traces are not those of one run: each problem once, the same filters and selectors in all."""
    seen: set[str] = set()
    for trace in traces:
        if trace.problem.id in seen:
            raise Fault(f"the problem {shown(trace.problem.id)} is there twice")
        seen.add(trace.problem.id)
    if not traces:
        raise Fault("it has no lines")
    repeats = Counter(trace.problem.first_id for trace in traces)
    if len(set(repeats.values())) > 1:
        least = min(repeats, key=lambda problem: repeats[problem])
        raise Fault(f"the problem {shown(least)} has fewer drafts than others")
    filters = traces[0].correct[DRAFT].keys()
    for trace in traces:
        if trace.selected.keys() != traces[0].selected.keys():
            raise Fault(f"the problem {shown(trace.problem.id)} has a choice of other selectors than the first one")
        if len(trace.rounds) != len(traces[0].rounds):
            raise Fault(f"the problem {shown(trace.problem.id)} has choices of other rounds than the first one")
        if any(grades.keys() != filters for grades in trace.correct.values()):
            raise Fault(f"the problem {shown(trace.problem.id)} is not graded under the filters of the first one")
