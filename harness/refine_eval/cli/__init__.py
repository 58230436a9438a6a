"""What does one type? Thin click commands, one file a command, loaded when they are called."""

from __future__ import annotations

import errno
import gc
import getpass
import importlib
import io
import os
import re
import shlex
import signal
import sys
import tempfile
import threading
from contextlib import suppress
from typing import Any

import click

import refine_eval
from refine_eval.cli.streams import OutputClosedError, settle_streams
from refine_eval.errors import RefineEvalError, UsageError, readable, suggestion

# name -> module that defines a click command of that name (a trailing "_" keeps clear of builtins)
_COMMANDS = {
    "run": ("refine_eval.cli.run", "Run one strategy, or a suite of them, and print its table."),
    "plan": ("refine_eval.cli.plan", "Predict a suite's tokens and GPU hours from a small run."),
    "collect": ("refine_eval.cli.collect", "Draw and grade samples from the student."),
    "label": ("refine_eval.cli.label", "Label the steps of samples by rollouts."),
    "train": ("refine_eval.cli.train", "Train a student, critic or refiner."),
    "recipe": ("refine_eval.cli.recipe", "Run chains of stages from a file: collect, label, train, run."),
    "plugins": ("refine_eval.cli.plugins", "List, show and check installed plugins."),
    "tasks": ("refine_eval.cli.tasks", "List the tasks that plugins bring."),
    "publish": ("refine_eval.cli.publish", "Copy run records to the published ones, without texts."),
    "leaderboard": ("refine_eval.cli.leaderboard", "Rank the published records by task and student."),
    "report": ("refine_eval.cli.report", "Write a page on one run: what became of each problem."),
    "compare": ("refine_eval.cli.compare", "Compare runs, or rows of them, on the same problems."),
    "ledger": ("refine_eval.cli.ledger", "Show where answers are won and lost, draft to answer."),
    "replay": ("refine_eval.cli.replay", "Try other gates, thresholds and selectors on a stored run."),
    "critics": ("refine_eval.cli.critics", "Measure critics on solutions whose steps are labelled."),
    "view": ("refine_eval.cli.view", "Look at runs in a browser."),
    "export": ("refine_eval.cli.export", "Write a run as lm-eval, Inspect, parquet or CSV files."),
    "doctor": ("refine_eval.cli.doctor", "Say what of the installation works, and what to do."),
}
"""Each command's module, and what `refine-eval --help` says of it without importing that."""


class _LazyGroup(click.Group):
    """Imports a command's module when the command is needed, so that `--help` starts in a blink."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(_COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        if cmd_name not in _COMMANDS:
            return None
        command = getattr(importlib.import_module(_COMMANDS[cmd_name][0]), cmd_name)
        assert isinstance(command, click.Command)
        return command

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        with formatter.section("Commands"):
            formatter.write_dl([(name, summary) for name, (_, summary) in _COMMANDS.items()])

    def invoke(self, ctx: click.Context) -> Any:
        """Says before plugins are looked for whether a command wants to hear of those that it cannot use."""
        from refine_eval.terminal import want_advice

        words = [*ctx._protected_args, *ctx.args]
        want_advice(not any(word == "--quiet" or re.fullmatch(r"-q\w*", word) for word in words))
        return super().invoke(ctx)

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        if args and not args[0].startswith("-") and args[0] not in _COMMANDS:
            raise UsageError(
                f"No command is called {args[0]!r}.{suggestion(args[0], _COMMANDS)} See: refine-eval --help"
            )
        return super().resolve_command(ctx, args)


@click.group(cls=_LazyGroup, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(refine_eval.__version__, prog_name="refine-eval")
def cli() -> None:
    """Measures when, where and how to refine a language model's reasoning (GLoRe, arXiv 2402.10963).

    Start with: refine-eval run --critic sorm --refiner local
    """
    try:
        os.getcwd()
    except OSError as error:
        raise UsageError(
            f"The working folder is not there any more ({error.strerror}); change to one that is."
        ) from error


def settle() -> None:
    """A user without a name or a home, as in a container with `--user 12345`, gets both: libraries ask for them."""
    if os.path.expanduser("~") == "~":
        os.environ["HOME"] = os.path.join(tempfile.gettempdir(), f"refine-eval-{os.getuid()}")
    try:
        getpass.getuser()
    except (KeyError, OSError):
        os.environ["USER"] = str(os.getuid())


def main() -> None:
    """Runs the command line; errors end as one sentence on stderr and an exit code."""
    # GNU OpenMP's threads wait by spinning. Where others want the same cores, as a second run does, that slows torch
    # down a hundredfold. Heeded when torch is loaded, which is later.
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
    # Imports make a million objects, hardly one of them garbage: with a collection every 700 they take a tenth longer.
    gc.set_threshold(100_000)
    settle_streams()
    settle()
    if not sys.stderr.isatty():
        os.environ.setdefault("TQDM_DISABLE", "1")  # libraries' own bars, which fill a log; ours are plain lines there
    code = _code()
    with suppress(RefineEvalError, OutputClosedError):
        sys.stdout.flush()  # what was printed before an error
    if any(not thread.daemon and thread is not threading.main_thread() for thread in threading.enumerate()):
        from refine_eval.cli.ending import end_in_spite_of_threads

        end_in_spite_of_threads(code)
    sys.exit(code)


def _code() -> int:
    """Runs the command line; the exit code, with whatever went wrong said."""
    try:
        status = cli.main(prog_name="refine-eval", standalone_mode=False)
        sys.stdout.flush()  # here an error is a sentence
    except RefineEvalError as error:
        from refine_eval.terminal import strip_control

        click.echo(f"Error: {strip_control(str(error))}", err=True)
        return error.exit_code
    except click.ClickException as error:
        said = io.StringIO()
        error.show(file=said)
        click.echo(readable(said.getvalue()), err=True, nl=False)
        return error.exit_code
    except OSError as error:
        if error.errno not in (errno.ENAMETOOLONG, errno.ELOOP):
            raise
        click.echo(f"Error: {str(error.filename)[:80]!r}... cannot be a path: {error.strerror}.", err=True)
        return UsageError.exit_code
    except (KeyboardInterrupt, click.Abort):
        again = shlex.join(["refine-eval", *sys.argv[1:]])
        click.echo(f"\nInterrupted. What was generated and scored is stored; to continue, run:\n    {again}", err=True)
        return 130
    except OutputClosedError:
        return 128 + signal.SIGPIPE
    except SystemExit:  # no command ends itself like this
        click.echo("Error: A plugin or a library called sys.exit before the command was done.", err=True)
        return 1
    return status if isinstance(status, int) else 0
