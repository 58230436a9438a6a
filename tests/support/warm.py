"""`refine-eval` as a process of its own that begins with everything imported, which else takes seconds each time.

It is forked off multiprocessing's fork server, one for each process of pytest. Tests of how a command starts run
`python -m refine_eval` instead.
"""

import multiprocessing
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Any

_IMPORTED = ("refine_eval.cli", "refine_eval.runs.execute", "refine_eval.tasks.task", "refine_eval.training.train")
_MODELS = ("refine_eval.engines.decoder.decoding", "transformers.models.auto.modeling_auto", "peft", "accelerate")
_context = multiprocessing.get_context("forkserver")
_context.set_forkserver_preload([*_IMPORTED, *_MODELS])


class Warm:
    """Behaves as `subprocess.Popen` does for a command line that ends in `-m refine_eval WORDS`."""

    def __init__(
        self,
        command: Sequence[str],
        *,
        cwd: Path | None = None,
        env: Mapping[str, str] | None = None,
        stderr: Any = subprocess.PIPE,
        **_: Any,
    ) -> None:
        words = list(command[command.index("refine_eval") + 1 :])
        out, out_end = os.pipe()
        err, err_end = os.pipe() if stderr == subprocess.PIPE else (None, stderr.fileno())
        ready, ready_end = os.pipe()
        ends = [f"/proc/{os.getpid()}/fd/{end}" for end in (out_end, err_end, ready_end)]
        surroundings = (str(cwd or Path.cwd()), dict(env or os.environ))
        self._process = _context.Process(target=_run, args=(ends, words, *surroundings))
        self._process.start()
        assert os.read(ready, 1), "the process did not begin"
        for done in (ready, ready_end, out_end, *([err_end] if err is not None else [])):
            os.close(done)
        self.stdout = os.fdopen(out, encoding="utf-8", errors="replace")
        self.stderr = None if err is None else os.fdopen(err, encoding="utf-8", errors="replace")
        self.pid = self._process.pid

    @property
    def returncode(self) -> int | None:
        return self._process.exitcode

    def poll(self) -> int | None:
        return self.returncode

    def wait(self, timeout: float | None = None) -> int:
        self._process.join(timeout)
        if self.returncode is None:
            raise subprocess.TimeoutExpired("refine-eval", timeout or 0)
        return self.returncode

    def communicate(self, timeout: float | None = None) -> tuple[str, str]:
        said = {"stdout": "", "stderr": ""}
        files = {name: file for name in said if (file := getattr(self, name)) is not None}
        readers = [threading.Thread(target=lambda n=n, f=f: said.update({n: f.read()})) for n, f in files.items()]
        for reader in readers:
            reader.start()
        self.wait(timeout)
        for reader in readers:
            reader.join()
        return said["stdout"], said["stderr"]

    def send_signal(self, number: int) -> None:
        if self.pid is not None and self.returncode is None:
            os.kill(self.pid, number)


SUBPROCESS = SimpleNamespace(**{**vars(subprocess), "Popen": Warm})
"""Stands for the module `subprocess` where only `refine-eval` is started."""


def _run(ends: Sequence[str], words: Sequence[str], cwd: str, environment: Mapping[str, str]) -> None:
    os.setsid()  # as in a terminal of its own
    opened = [os.open(end, os.O_WRONLY | os.O_APPEND) for end in ends]
    for number, end in enumerate(opened[:2], start=1):
        os.dup2(end, number)
    os.write(opened[2], b".")
    for end in opened:
        os.close(end)
    # Those of the fork server know its own files.
    for number, name in enumerate(("stdout", "stderr"), start=1):
        stream = open(number, "w", encoding="utf-8", closefd=False)  # noqa: SIM115
        setattr(sys, name, stream)
        setattr(sys, f"__{name}__", stream)
    signal.signal(signal.SIGINT, signal.default_int_handler)
    os.environ.clear()
    os.environ.update(environment)
    os.chdir(cwd)
    sys.argv = ["refine-eval", *words]
    from refine_eval.cli import main

    try:
        main()
    except SystemExit as ended:
        os._exit(ended.code if isinstance(ended.code, int) else ended.code is not None)
