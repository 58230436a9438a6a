"""An engine that says what a script tells it: for tests of everything around engines."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from refine_eval.data import DRAFT, Generation, Request
from refine_eval.engines.recorded import read_rows
from refine_eval.errors import GenerationError, UsageError
from refine_eval.formats import cut_at_stops, one_line, prompt_text
from refine_eval.plugin.components import Engine
from refine_eval.plugin.fields import option
from refine_eval.plugin.runtime import EngineRuntime


@dataclass(frozen=True, kw_only=True)
class ScriptedOptions:
    """Options of the scripted engine."""

    path: str = option("", "Jsonl file of texts by question or id and purpose.")


class ScriptedEngine(Engine):
    """Says what a file or a function tells it: for tests.

    A row of the file is {"question": ... or "id": ..., "texts": {"draft": "...", "sample": ["...", "..."]}}:
    a text for each purpose, or a list of them for its samples, of drafts for the problem's repeats; null is one that
    cannot be written. Tokens are the words of a text.
    """

    name = "scripted"
    accepts_pretrained = False
    takes_messages = True
    Options = ScriptedOptions
    options: ScriptedOptions

    _function: Callable[[Request], str | None] | None = None

    @classmethod
    def from_function(cls, function: Callable[[Request], str | None]) -> ScriptedEngine:
        """An engine whose text for a request is `function(request)`."""
        engine = cls()
        engine._function = function
        return engine

    def open(self, runtime: EngineRuntime) -> None:
        """Reads the script; UsageError where there is none or it cannot be read."""
        self._texts: dict[str, Mapping[str, Any]] = {}
        if self._function is not None:
            return
        if not self.options.path:
            raise UsageError("The engine scripted needs a script: pass --model-args path=FILE.jsonl")
        path = Path(self.options.path)
        for number, row in read_rows(path):
            key, texts = row.get("id", row.get("question")), row.get("texts")
            if not isinstance(key, str) or not isinstance(texts, dict):
                raise UsageError(f'{path}, line {number}: a row needs "id" or "question", and "texts" by purpose.')
            self._texts[one_line(key)] = texts

    def identity(self) -> str:
        """The script's content, or the function's name."""
        if self._function is not None:
            return f"scripted:{self._function.__module__}.{self._function.__qualname__}"
        content = json.dumps(self._texts, sort_keys=True)
        return f"scripted:{hashlib.sha256(content.encode()).hexdigest()[:32]}"

    def generate(self, requests: Sequence[Request]) -> Iterator[tuple[int, Generation]]:
        """Yields the texts in order; GenerationError where the script has none for a problem or stage."""
        for index, request in enumerate(requests):
            text = self._function(request) if self._function is not None else self._scripted(request)
            if text is None:
                yield index, Generation.without_text("the script says so")
                continue
            text = cut_at_stops(text, request.sampling.stop)
            prompt = len(prompt_text(request.prompt).split()) or None
            yield index, Generation(text=text, tokens=len(text.split()), finish_reason="stop", prompt_tokens=prompt)

    def cache_key_of(self, request: Request) -> str:
        """The problem, its prompt, the stage and the sample: a script may tell them all apart."""
        return json.dumps([request.problem.id, super().cache_key_of(request), request.purpose, request.sample])

    def _scripted(self, request: Request) -> str | None:
        problem = request.problem
        texts = self._texts.get(one_line(problem.id), self._texts.get(one_line(problem.question)))
        if texts is None:
            raise GenerationError(f"The script has nothing for problem {problem.id}; add a row with its question.")
        text = texts.get(request.purpose, ...)
        number = problem.repeat if request.purpose == DRAFT else request.sample
        if isinstance(text, list) and number < len(text):
            text = text[number]
        if text is not None and not isinstance(text, str):
            raise GenerationError(
                f"The script has no text for sample {number} of purpose {request.purpose!r} of problem {problem.id}."
            )
        return text
