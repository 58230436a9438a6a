"""Whether two formulas are the same answer: math-verify in processes of its own, with a time limit."""

from __future__ import annotations

import contextlib
import json
import os
import selectors
import subprocess
import sys
from collections import Counter
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from importlib.util import find_spec
from pathlib import Path
from queue import SimpleQueue
from typing import Any

from refine_eval.tasks.answers import is_number
from refine_eval.tasks.extraction import LONGEST_FORMULA

_SECONDS = 3.0
"""For one question to math-verify; nearly all take milliseconds."""

_START_SECONDS = 120.0
_PROCESSES = 2
_HANGS = 2
"""An answer whose comparison took too long so often is compared no more."""

_LONGEST_TEXT = 20_000
"""Characters of a text in which an answer is looked for."""


class MathVerify:
    """Groups answers by math-verify, symmetric and transitive; what hangs or cannot be read equals itself alone."""

    def __init__(self, seconds: float = _SECONDS) -> None:
        self._same: dict[tuple[str, str], bool] = {}
        self._formula: dict[str, bool] = {}
        self._hung: Counter[str] = Counter()
        self._idle: SimpleQueue[_Worker] = SimpleQueue()
        self._workers = [_Worker(seconds) for _ in range(min(_PROCESSES, os.cpu_count() or 1))]
        for worker in self._workers:
            self._idle.put(worker)

    @staticmethod
    def is_installed() -> bool:
        """Whether math-verify is there."""
        return find_spec("math_verify") is not None

    def classes(self, lists: Sequence[Sequence[str]]) -> list[list[int]]:
        """For each list of answers the class of each; answers of one class are equal, directly or through others."""
        with ThreadPoolExecutor(len(self._workers)) as threads:
            return list(threads.map(self._classes, lists))

    def find(self, text: str) -> str | None:
        """The answer that math-verify finds in a text, as it does where it grades; None for none."""
        if len(text) > _LONGEST_TEXT:
            return None
        worker = self._idle.get()
        try:
            found = worker.ask("find", text)
        finally:
            self._idle.put(worker)
        return found if isinstance(found, str) else None

    def close(self) -> None:
        """Ends the processes; the next question starts them again."""
        for worker in self._workers:
            worker.stop()

    def _classes(self, answers: Sequence[str]) -> list[int]:
        distinct = list(dict.fromkeys(answers))
        parent = list(range(len(distinct)))
        if len(distinct) > 1 and not all(map(is_number, distinct)):
            worker = self._idle.get()
            try:
                for i, one in enumerate(distinct):
                    for j, other in enumerate(distinct[:i]):
                        if parent[i] != parent[j] and self._are_same(worker, one, other):
                            merged, gone = sorted((parent[i], parent[j]))
                            parent = [merged if each == gone else each for each in parent]
            finally:
                self._idle.put(worker)
        number = dict(zip(distinct, parent, strict=True))
        return [number[answer] for answer in answers]

    def _are_same(self, worker: _Worker, one: str, other: str) -> bool:
        if is_number(one) and is_number(other):
            return False  # equal numbers are equal texts by now
        pair = (min(one, other), max(one, other))
        if pair not in self._same:
            self._same[pair] = all(self._is_formula(worker, each) for each in pair) and self._ask(worker, pair)
        return self._same[pair]

    def _ask(self, worker: _Worker, pair: tuple[str, str]) -> bool:
        said = worker.ask("same", *pair)
        if said is None:
            for answer in pair:
                self._hung[answer] += 1
                if self._hung[answer] == _HANGS:
                    self._formula[answer] = False
        return said is True

    def _is_formula(self, worker: _Worker, answer: str) -> bool:
        if answer not in self._formula:
            self._formula[answer] = len(answer) <= LONGEST_FORMULA and worker.ask("parse", answer) is True
        return self._formula[answer]


class _Worker:
    """One process of `math_worker`, started when it is first asked, and again after a question that it hung on."""

    def __init__(self, seconds: float) -> None:
        self._seconds = seconds
        self._process: subprocess.Popen[str] | None = None

    def ask(self, *question: str) -> Any:
        """What math-verify says; None where it takes too long or dies of it."""
        process = self._process or self._start()
        assert process.stdin is not None
        try:
            process.stdin.write(json.dumps(question) + "\n")
            process.stdin.flush()
            said = _line(process, self._seconds)
        except OSError:
            said = None
        if said is None:
            self.stop()
            return None
        return json.loads(said)

    def stop(self) -> None:
        """Ends the process, if there is one."""
        process, self._process = self._process, None
        if process is not None:
            process.kill()
            with contextlib.suppress(OSError):
                process.communicate()

    def _start(self) -> subprocess.Popen[str]:
        # -P: the folder of the file is not where packages are looked for.
        command = [sys.executable, "-P", str(Path(__file__).with_name("math_worker.py"))]
        pipes: dict[str, Any] = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "stderr": subprocess.DEVNULL}
        self._process = subprocess.Popen(command, text=True, encoding="utf-8", **pipes)
        _line(self._process, _START_SECONDS)
        return self._process


def _line(process: subprocess.Popen[str], seconds: float) -> str | None:
    """The next line that a process writes; None where it takes longer, or ends."""
    assert process.stdout is not None
    with selectors.DefaultSelector() as selector:
        selector.register(process.stdout, selectors.EVENT_READ)
        return process.stdout.readline().strip() or None if selector.select(seconds) else None
