"""Critics for test_replicas.py: Ray's workers import them from here."""

import os
import signal
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from refine_eval.data import Candidate, Critique
from refine_eval.errors import ModelError
from refine_eval.plugin.components import Critic
from refine_eval.plugin.runtime import EngineRuntime


@dataclass(frozen=True, kw_only=True)
class SlowOptions:
    """What befalls the process at a candidate of `problem`: "dies", or "bug"; nothing without."""

    folder: str = ""
    problem: str = ""
    what: str = ""
    opening: str = ""


class SlowCritic(Critic):
    """Waits, and scores by the length of the text; leaves a file for each process and each solution."""

    name = "slow-critic"
    Options = SlowOptions
    options: SlowOptions
    replicable = True

    def open(self, runtime: EngineRuntime) -> None:
        if self.options.opening == "error":
            raise ModelError("The critic's model is not to be found; bring it.")
        self._leave("opened", "")

    def close(self) -> None:
        self._leave("closed", "")

    def identity(self) -> str:
        return "slow critic"

    def critique(self, batch: Sequence[Candidate]) -> list[Critique]:
        for candidate in batch:
            time.sleep(0.01)
            if candidate.problem.id == self.options.problem:
                if self.options.what == "bug":
                    raise ZeroDivisionError("by nothing")
                os.kill(os.getpid(), signal.SIGKILL)
            self._leave("scored", candidate.problem.id)
        return [
            Critique(score=1 / (1 + len(c.solution.text)), step_scores=(0.5,) * len(c.solution.steps)) for c in batch
        ]

    def _leave(self, what: str, problem: str) -> None:
        with (Path(self.options.folder) / what).open("a") as file:
            file.write(f"{os.getpid()} {problem}\n")


class AtHome(SlowCritic):
    """One that may ask the run for texts."""

    name = "at-home"
    replicable = False
