"""An engine that serves solutions written earlier, by any model, from a jsonl file."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from refine_eval.data import Generation, Request
from refine_eval.errors import GenerationError, UsageError, suggestion
from refine_eval.files import expanded, open_file
from refine_eval.formats import cut_at_stops, one_line
from refine_eval.plugin.components import Engine
from refine_eval.plugin.fields import option
from refine_eval.plugin.runtime import EngineRuntime


@dataclass(frozen=True, kw_only=True)
class RecordedOptions:
    """Options of the recorded engine."""

    path: str = option("", "Jsonl file: a question and solutions in each row.")
    field: str = option("", "The field that holds the drafts.")
    samples: tuple[str, ...] = option((), "Fields that hold further samples: a+b+c.")


class RecordedEngine(Engine):
    """Solutions that were written earlier, read from a jsonl file: one field as drafts, others as samples.

    A row is {"question": "...", FIELD: "..." or {"solution": "...", "tokens": 12}, ...}. Whatever else a row holds,
    such as whether a solution is right, is not read. `Generation.tokens` is 0 where the file does not say. A field that
    a row lacks, or that is null, is a text that was not written.
    """

    name = "recorded"
    accepts_pretrained = False
    takes_messages = True
    Options = RecordedOptions
    options: RecordedOptions

    def open(self, runtime: EngineRuntime) -> None:
        """Reads the file; UsageError, with the line, where it or an option does not fit."""
        path = expanded(self.options.path)
        if not self.options.path or not self.options.field:
            raise UsageError("The engine recorded needs a file and a field: pass --model-args path=FILE,field=NAME")
        wanted = (self.options.field, *self.options.samples)
        seen: set[str] = set()
        self._rows: dict[str, dict[str, Generation]] = {}
        digest = hashlib.sha256()
        for number, row in read_rows(path):
            question = row.get("question")
            if not isinstance(question, str):
                raise UsageError(f'{path}, line {number}: the row has no text under "question".')
            seen |= {name for name, value in row.items() if name != "question" and _is_solution(value)}
            found = {name: _generation(path, number, name, row[name]) for name in wanted if row.get(name) is not None}
            key = one_line(question)
            if self._rows.setdefault(key, found) != found:
                raise UsageError(f"{path}, line {number}: the question stands in an earlier line with other solutions.")
            digest.update(json.dumps([key, sorted((n, g.text, g.tokens) for n, g in found.items())]).encode())
        if not self._rows:
            raise UsageError(f"{path} holds no rows.")
        for name in wanted:
            if name not in seen:
                known = ", ".join(sorted(seen)) or "none"
                raise UsageError(f"{path} has no field {name!r}.{suggestion(name, seen)} Its fields: {known}.")
        self._identity = f"recorded:{digest.hexdigest()[:32]}"

    def identity(self) -> str:
        """A hash of the questions and of the fields that are served."""
        return f"{self._identity}:{'+'.join((self.options.field, *self.options.samples))}"

    def generate(self, requests: Sequence[Request]) -> Iterator[tuple[int, Generation]]:
        """Yields the recorded solutions in order.

        GenerationError, naming the problem, for a question that the file does not have, and for requests other than
        drafts and samples.
        """
        for index, request in enumerate(requests):
            name, problem = self._field(request), request.problem
            row = self._rows.get(one_line(problem.question))
            if row is None:
                raise GenerationError(
                    f"{self.options.path} has no solution for problem {problem.id} "
                    f"({one_line(problem.question)[:60]!r}...); record one, or leave the problem out with --limit."
                )
            if name in row:
                yield index, _ended(row[name], request)
            else:
                yield index, Generation.without_text(f"not in the file (its row has no {name!r})")

    def cache_key_of(self, request: Request) -> str:
        """Question and field: what is read does not depend on the prompt."""
        return json.dumps([one_line(request.problem.question), self._field(request)])

    def _field(self, request: Request) -> str:
        if request.problem.repeat:
            raise GenerationError(
                f"The engine recorded has one draft of each problem, and another one is asked for, of problem "
                f"{request.problem.first_id}; pass --drafts 1."
            )
        if request.purpose == "draft":
            return self.options.field
        if request.purpose != "sample":
            raise GenerationError(
                f"The engine recorded cannot write the text that {request.purpose!r} asks for, for problem "
                f"{request.problem.id}; it has drafts and samples only, so use a refiner such as resample, or give "
                "the refiner a model of its own."
            )
        if request.sample >= len(self.options.samples):
            raise GenerationError(
                f"Sample {request.sample + 1} of problem {request.problem.id} is asked for and the engine "
                f"recorded has {len(self.options.samples)}; name more with --model-args samples=a+b, or ask for fewer."
            )
        return self.options.samples[request.sample]


def read_rows(path: Path) -> Iterator[tuple[int, dict[str, Any]]]:
    """(line number from 1, row) of a jsonl file; UsageError, with the line, where one is not a JSON object."""
    from refine_eval.reading import Unreadable, from_json  # imports YAML, which listing engines need not wait for

    try:
        with open_file(path) as file:
            lines = file.read().split(b"\n")
    except (OSError, ValueError) as error:  # ValueError: a path with a NUL
        said = error.strerror if isinstance(error, OSError) and error.strerror else error
        raise UsageError(f"Cannot read {path}: {said}; check the path.") from error
    for number, line in enumerate(lines, 1):
        if not line.strip():
            continue
        try:
            row = from_json(line)
        except Unreadable as error:
            raise UsageError(
                f"{path}, line {number} is not JSON that can be read ({error}); repair or remove the line."
            ) from error
        if not isinstance(row, dict):
            raise UsageError(f"{path}, line {number} is not a JSON object; repair or remove the line.")
        yield number, row


def _ended(generation: Generation, request: Request) -> Generation:
    """What was written elsewhere, up to the first stop string of the request."""
    return replace(generation, text=cut_at_stops(generation.text, request.sampling.stop))


_MOST_TOKENS = 2**31  # no text has more, and the store no room


def _is_solution(value: Any) -> bool:
    return isinstance(value, str) or (isinstance(value, dict) and isinstance(value.get("solution"), str))


def _generation(path: Path, number: int, name: str, value: Any) -> Generation:
    if not _is_solution(value):
        raise UsageError(f'{path}, line {number}: field {name!r} is neither a text nor an object with a "solution".')
    if isinstance(value, str):
        return Generation(text=value, tokens=0, finish_reason="stop")
    tokens = value.get("tokens")
    counted = type(tokens) is int and 0 <= tokens < _MOST_TOKENS
    return Generation(text=value["solution"], tokens=tokens if counted else 0, finish_reason="stop")
