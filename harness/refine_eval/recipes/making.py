"""Makes a recipe's stages, each as a process of its own: its memory is freed, and some can run side by side."""

from __future__ import annotations

import os
import shlex
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

from refine_eval.errors import StageError
from refine_eval.recipes.files import Stage, output_words
from refine_eval.recipes.work import READY, WorkFolder
from refine_eval.runs.portable import portable_command
from refine_eval.runs.record import RECIPE_VARIABLE, STAGE_VARIABLE

# -P: a folder in the current one that is called like a package would be imported in its place.
_PYTHON = (sys.executable, "-P", "-m")
_THREAD_VARIABLES = ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS")
_LOOK_EVERY_S = 0.05
_WAIT_FOR_STOPPED_S = 60.0


@dataclass(frozen=True, kw_only=True)
class MakeOptions:
    """How stages are made. `jobs` at a time; `common` are words for every stage; `threads` None leaves them alone.

    `processes` train together, one a GPU.

    `began` is told the stage and why it is made, `ended` the stage, its summary and seconds, `said` of what is kept
    though another version of refine-eval made it.
    """

    jobs: int
    threads: int | None
    processes: int
    common: Sequence[str]
    command: str
    """The recipe's own, which the records of its runs name."""
    began: Callable[[Stage, str], None]
    ended: Callable[[Stage, str, float], None]
    said: Callable[[str], None]


@dataclass(frozen=True, kw_only=True)
class _Running:
    """A stage's process; `printed` holds the last line of its stdout so far."""

    stage: Stage
    process: subprocess.Popen[str]
    reader: threading.Thread
    printed: list[str]
    started: float

    @property
    def seconds(self) -> float:
        return time.monotonic() - self.started


def make(stages: Sequence[Stage], work: WorkFolder, options: MakeOptions) -> int:
    """Makes those of `stages` that are missing or stale, in order; how many. StageError names the one that fails.

    When one fails, and on Ctrl-C, the others are stopped too: what they generated is stored.
    """
    with work.locked() as lock, _terminated_as_interrupted():
        digests = work.digests(stages)
        waiting, done, made, states = list(stages), set[str](), 0, dict[str, str]()
        running: list[_Running] = []
        try:
            while waiting or running:
                for stage in list(waiting):
                    if len(running) >= options.jobs or not done.issuperset(stage.needs):
                        continue
                    waiting.remove(stage)
                    state = states[stage.name] = work.state(stage, digests)
                    if state == READY:
                        done.add(stage.name)
                    else:
                        digests.pop(stage.name, None)
                        options.began(stage, state)
                        running.append(_start(stage, work, digests, options, lock))
                for ended in [one for one in running if one.process.poll() is not None]:
                    running.remove(ended)
                    digests[ended.stage.name] = _finish(ended, work, options)
                    done.add(ended.stage.name)
                    made += 1
                time.sleep(_LOOK_EVERY_S if running else 0)
        finally:
            _stop(running, work)
        if kept := work.kept(stages, states):
            options.said(kept)
    return made


def command_of(stage: Stage, work: WorkFolder, common: Sequence[str]) -> list[str]:
    """What is typed for a stage after `refine-eval`."""
    return [stage.command, *stage.words(work.places(stage)), *output_words(stage, work.folder), *common]


def program(command: str, processes: int) -> list[str]:
    """What runs a command: Python, with torchrun before it where several processes train together."""
    together = ("torch.distributed.run", "--standalone", f"--nproc_per_node={processes}", "-m")
    return [*_PYTHON, *(together if command == "train" and processes > 1 else ()), "refine_eval"]


def _start(stage: Stage, work: WorkFolder, digests: Mapping[str, str], options: MakeOptions, lock: int) -> _Running:
    words = command_of(stage, work, options.common)
    command = shlex.join(["refine-eval", *words])
    work.begin(stage, digests, portable_command(command))
    log = _open_log(work.log(stage), command)
    threads = dict.fromkeys(_THREAD_VARIABLES, str(options.threads)) if options.threads else {}
    process = subprocess.Popen(
        [*program(stage.command, options.processes), *words],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=None if options.jobs == 1 and sys.stderr.isatty() else log,  # a bar needs the terminal to itself
        env={**os.environ, **threads, RECIPE_VARIABLE: options.command, STAGE_VARIABLE: stage.name},
        encoding="utf-8",
        errors="replace",
        pass_fds=(lock,),  # a stage that outlives a killed recipe keeps others out
        process_group=0,  # Ctrl-C comes to the recipe alone, which passes it on
    )
    assert process.stdout is not None
    printed: list[str] = []
    reader = threading.Thread(target=_read, args=(process.stdout, log, printed), daemon=True)
    reader.start()
    return _Running(stage=stage, process=process, reader=reader, printed=printed, started=time.monotonic())


def _open_log(path: Path, command: str) -> IO[str]:
    try:
        path.parent.mkdir(exist_ok=True)
        log = path.open("w", encoding="utf-8", buffering=1)
        log.write(f"$ {command}\n")
    except OSError as error:
        raise StageError(f"{path} cannot be written ({error}); fix that, then run the same command again.") from error
    return log


def _read(stdout: IO[str], log: IO[str], printed: list[str]) -> None:
    """Writes what a process prints to its log, and keeps the last line that is not empty."""
    for line in stdout:
        with suppress(OSError):  # on a full disk the process is still read from, or it would wait for us
            log.write(line)
        if line.strip():
            printed[:] = [line.strip()]
    with suppress(OSError):
        log.close()


def _finish(ended: _Running, work: WorkFolder, options: MakeOptions) -> str:
    """Records a process's output; its digest. StageError, with the process's own last sentence, where it failed."""
    ended.reader.join()
    stage, seconds, code = ended.stage, ended.seconds, ended.process.returncode
    work.spend(stage, seconds)
    if code:
        log = work.log(stage)
        raise StageError(
            f"Stage {stage.name!r} failed ({_what_it_said(log, code)}); its log is {log}. Fix that, then run the same "
            "command again: finished stages and all that was generated are kept."
        )
    digest = work.finish(stage)
    options.ended(stage, ended.printed[0] if ended.printed else "done", seconds)
    return digest


def _what_it_said(log: Path, code: int) -> str:
    """The last error in a log, else its last line; where the terminal had it, only the exit code."""
    lines = [
        line.strip() for line in log.read_text(encoding="utf-8", errors="replace").splitlines()[1:] if line.strip()
    ]
    errors = [line.removeprefix("Error: ") for line in lines if line.startswith("Error: ")]
    how = f"exit code {code}" if code > 0 else f"ended by {signal.Signals(-code).name}"
    return f"{how}: {[*lines, *errors][-1].rstrip('.')}" if lines else how


def _stop(running: Sequence[_Running], work: WorkFolder) -> None:
    """Interrupts processes and waits for their end; those that do not heed it, or a second Ctrl-C, are killed."""
    for one in running:
        one.process.send_signal(signal.SIGINT)
    try:
        until = time.monotonic() + _WAIT_FOR_STOPPED_S
        for one in running:
            one.process.wait(max(0.0, until - time.monotonic()))
    except (subprocess.TimeoutExpired, KeyboardInterrupt):
        for one in running:
            with suppress(ProcessLookupError):  # it ended meanwhile
                os.killpg(one.process.pid, signal.SIGKILL)  # with what it started, or that goes on and holds the lock
            one.process.wait()
    for one in running:
        work.spend(one.stage, one.seconds)


@contextmanager
def _terminated_as_interrupted() -> Iterator[None]:
    """A batch system's SIGTERM, or a terminal that is closed, stops stages as Ctrl-C does."""

    def interrupt(number: int, frame: Any) -> None:
        raise KeyboardInterrupt

    of_main_thread = threading.current_thread() is threading.main_thread()
    taken = [
        number
        for number in (signal.SIGTERM, signal.SIGHUP)
        if of_main_thread and signal.getsignal(number) is signal.SIG_DFL  # nohup ignores it, and means it
    ]
    ignored = of_main_thread and signal.getsignal(signal.SIGINT) is signal.SIG_IGN
    for number in taken:
        signal.signal(number, interrupt)
    if ignored:
        # Scripts start what they put behind `&` so. We go on ignoring it, but by a handler: what is ignored is
        # inherited, and stages could not be stopped.
        signal.signal(signal.SIGINT, lambda number, frame: None)
    try:
        yield
    finally:
        for number in taken:
            signal.signal(number, signal.SIG_DFL)
        if ignored:
            signal.signal(signal.SIGINT, signal.SIG_IGN)
