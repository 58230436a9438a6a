"""Engines for test_replicas.py: Ray's workers import them from here."""

import os
import signal
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from refine_eval.data import Generation, Problem, Request, Sampling
from refine_eval.errors import GenerationError, ModelError
from refine_eval.plugin.components import Engine
from refine_eval.plugin.runtime import EngineRuntime
from refine_eval.runs.requests import derive_seed


@dataclass(frozen=True, kw_only=True)
class SlowOptions:
    """What befalls the process at the text for `problem`: "dies" always, "once", or "error"; nothing without."""

    folder: str = ""
    wait: float = 0.01
    problem: str = ""
    what: str = ""
    opening: str = ""


class Slow(Engine):
    """Waits, and writes the prompt, the seed and the model's name; leaves a file for each process and each text."""

    name = "slow"
    Options = SlowOptions
    options: SlowOptions
    accepts_pretrained = False
    model = "student"

    def open(self, runtime: EngineRuntime) -> None:
        folder = Path(self.options.folder)
        (folder / f"pid.{os.getpid()}").touch()
        if self.options.opening == "error":
            raise ModelError("The model is not to be found; bring it.")
        if self.options.opening == "dies":
            os.kill(os.getpid(), signal.SIGKILL)

    def for_model(self, model: str) -> Engine | None:
        if model == "none":
            return None
        other = Slow(replace(self.options, problem=""))
        other.model = model
        return other

    def identity(self) -> str:
        return f"slow {self.model}"

    def generate(self, requests: Sequence[Request]) -> Iterator[tuple[int, Generation]]:
        for index, request in reversed(list(enumerate(requests))):
            time.sleep(self.options.wait)
            if request.problem.id == self.options.problem:
                self._strike()
            with (Path(self.options.folder) / f"text.{request.problem.id}.{request.sample}").open("a") as file:
                file.write(f"{os.getpid()}\n")
            yield (
                index,
                Generation(text=f"{request.prompt} {request.seed} {self.model}", tokens=3, finish_reason="stop"),
            )

    def _strike(self) -> None:
        if self.options.what == "error":
            raise GenerationError(f"Problem {self.options.problem} is too hard.")
        if self.options.what == "bug":
            raise ZeroDivisionError("by nothing")
        marker = Path(self.options.folder) / "struck"
        if self.options.what == "dies" or not marker.exists():
            marker.touch()
            os.kill(os.getpid(), signal.SIGKILL)


class Differing(Slow):
    """Each process has another identity, as on machines with different model files."""

    name = "differing"

    def identity(self) -> str:
        return f"differing {os.getpid()}"


def options(folder: Path, **changes: Any) -> SlowOptions:
    """Options with a folder for what the processes leave."""
    return SlowOptions(folder=str(folder), **changes)


def requests(count: int, temperature: float = 0.0) -> list[Request]:
    problems = [Problem(id=f"toy-{i}", task="toy", question=f"{i}?", prompt=f"Question {i}") for i in range(count)]
    sampling = Sampling(max_tokens=32, temperature=temperature)
    return [
        Request(
            problem=problem,
            prompt=problem.prompt,
            sampling=sampling,
            purpose="draft",
            sample=0,
            seed=derive_seed(0, problem.id, "draft", 0),
        )
        for problem in problems
    ]
