"""Weights of critics for a logistic combination, as `refine-eval critics fit` writes them and ensembles read them."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from refine_eval.data import Problem
from refine_eval.errors import UsageError
from refine_eval.files import read_file
from refine_eval.formats import one_line
from refine_eval.reading import from_json
from refine_eval.results.typed import COUNT, LIST, NAME, OBJECT, TEXT, Fault, Kind, field
from refine_eval.statistics.logistic import Logistic
from refine_eval.terminal import shown

FORMAT = 1
_MOST_BYTES = 50_000_000
_NUMBER: Kind[float] = Kind("a number", lambda value: type(value) in (int, float))


@dataclass(frozen=True, slots=True, kw_only=True)
class FittedMember:
    """A critic as it was when weights were fitted to its scores; no path of a machine is in it."""

    name: str
    options: Mapping[str, Any]
    identity: str


@dataclass(frozen=True, slots=True, kw_only=True)
class CriticWeights:
    """A logistic combination of the scores of `members`, in their order, and what it was fitted on.

    `answers` is for whole solutions, fitted on `solutions` of `problems` problems of `data` by whether the final answer
    is right; `steps` for steps, None where the data do not say which steps are right. `seen` are hashes of the
    problems' ids and questions, `digest` is one of the file's content.
    """

    command: str
    data: str
    details: Mapping[str, Any]
    solutions: int
    problems: int
    members: tuple[FittedMember, ...]
    answers: Logistic
    steps: Logistic | None
    seen: frozenset[str]
    digest: str = ""

    @classmethod
    def read(cls, path: str | Path) -> CriticWeights:
        """A file of `refine-eval critics fit`; UsageError where it is missing, damaged, or of a later version."""
        try:
            content = read_file(Path(path), _MOST_BYTES)
            found = _weights(OBJECT.check(from_json(content), "it"))
            return replace(found, digest=hashlib.sha256(content).hexdigest()[:16])
        except (OSError, ValueError) as error:  # Unreadable, Fault, and a path with a NUL
            why = error.strerror if isinstance(error, OSError) and error.strerror else error
            raise UsageError(
                f"{path} cannot be read as weights of critics ({why}): write it with refine-eval critics fit -o."
            ) from error

    def check_members(self, identities: Mapping[str, str]) -> None:
        """UsageError where critics with these identities, by name, are others than those that the weights are of."""
        names = [member.name for member in self.members]
        if sorted(names) != sorted(identities):
            raise UsageError(
                f"These weights are of {_listed(names)}, not of {_listed(identities)}: name the same critics, or fit "
                f"weights for these with refine-eval critics fit."
            )
        for member in self.members:
            if member.identity != identities[member.name]:
                raise UsageError(
                    f"These weights were fitted to the critic {member.name!r} with {shown(dict(member.options))}, and "
                    f"now it is another ({shown(identities[member.name])} and not {shown(member.identity)}): use that "
                    f"one, or fit weights for this one with refine-eval critics fit."
                )

    def check_apart(self, problems: Iterable[Problem]) -> None:
        """UsageError where one of the problems is among those that the weights were fitted on."""
        both = {
            problem.id
            for problem in problems
            if not self.seen.isdisjoint(problem_hashes(problem.first_id, problem.question))
        }
        if both:
            raise UsageError(
                f"These weights were fitted on {len(both):,} of the very problems that are judged, such as "
                f"{min(both)!r}, and would say too much of these: fit them on others, such as the task's validation "
                f"split."
            )

    def of_solution(self, scores: Mapping[str, float]) -> float:
        """How likely a final answer is right, by the members' scores of the solution."""
        return self.answers.probability([scores[member.name] for member in self.members])

    def of_step(self, scores: Mapping[str, float]) -> float:
        """How likely a step, and all before it, is right; by the weights for solutions where steps have none."""
        return (self.steps or self.answers).probability([scores[member.name] for member in self.members])


def problem_hashes(problem_id: str, question: str) -> set[str]:
    """By what a problem is known again: the hash of its id, and of its question where that is known."""
    texts = {problem_id, *([one_line(question)] if question else [])}
    return {hashlib.blake2b(text.encode("utf-8", "surrogatepass"), digest_size=8).hexdigest() for text in texts}


def weights_to_json(found: CriticWeights) -> dict[str, Any]:
    """As it is written."""
    return {
        "format": FORMAT,
        "command": found.command,
        "data": found.data,
        "details": dict(found.details),
        "solutions": found.solutions,
        "problems": found.problems,
        "members": [asdict(member) for member in found.members],
        "answers": _logistic_to_json(found.answers),
        "steps": None if found.steps is None else _logistic_to_json(found.steps),
        "seen": sorted(found.seen),
    }


def _logistic_to_json(found: Logistic) -> dict[str, Any]:
    return {"intercept": found.intercept, "weights": list(found.weights)}


def _weights(row: Mapping[str, Any]) -> CriticWeights:
    if field(row, "format", COUNT) != FORMAT:
        raise Fault(f"its format is {row['format']}, and this version reads {FORMAT}")
    members = [_member(OBJECT.check(each, "members")) for each in field(row, "members", LIST)]
    if not members or len({member.name for member in members}) < len(members):
        raise Fault("its members are none, or one twice")
    steps = field(row, "steps", OBJECT.or_none())
    return CriticWeights(
        command=field(row, "command", TEXT),
        data=field(row, "data", TEXT),
        details=field(row, "details", OBJECT),
        solutions=field(row, "solutions", COUNT),
        problems=field(row, "problems", COUNT),
        members=tuple(members),
        answers=_logistic(field(row, "answers", OBJECT), len(members)),
        steps=None if steps is None else _logistic(steps, len(members)),
        seen=frozenset(NAME.check(each, "seen") for each in field(row, "seen", LIST)),
    )


def _member(row: Mapping[str, Any]) -> FittedMember:
    return FittedMember(
        name=field(row, "name", NAME), options=field(row, "options", OBJECT), identity=field(row, "identity", TEXT)
    )


def _logistic(row: Mapping[str, Any], members: int) -> Logistic:
    weights = [_NUMBER.check(each, "weights") for each in field(row, "weights", LIST)]
    if len(weights) != members:
        raise Fault(f"it has {len(weights)} weights for {members} members")
    return Logistic(intercept=float(field(row, "intercept", _NUMBER)), weights=tuple(map(float, weights)))


def _listed(names: Iterable[str]) -> str:
    return ", ".join(map(repr, sorted(names))) or "none"
