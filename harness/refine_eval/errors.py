"""Every error that a user can meet. Each message is one sentence on what is wrong and what to do next.

RefineEvalError            anything below; the command line prints it as one line and exits with 1
├── UsageError             the command line or a file of options is wrong (exit 2)
├── PluginError            a plugin cannot be found or loaded, or broke its contract
├── TaskError              an unknown task, or its data are not available
├── ModelError             a model cannot be loaded or does not fit the text it is given
├── GenerationError        an engine could not write a text
├── StoreError             the store is corrupt or cannot be written
├── StageError             a training stage's output is missing, was edited, or lacks what the next one needs
└── RunError               a run directory is missing, incomplete or corrupt
"""

import difflib
from collections.abc import Iterable

_LONGEST = 2_000  # characters of an error


class RefineEvalError(Exception):
    """Base of all errors that refine-eval raises on purpose."""

    exit_code = 1

    def __str__(self) -> str:
        """One short line, whatever was given and is repeated in it."""
        return readable(" ".join(super().__str__().splitlines()))


class UsageError(RefineEvalError):
    """The command line, or a file of options, asks for something that does not exist or does not fit."""

    exit_code = 2


class PluginError(RefineEvalError):
    """A plugin cannot be found, cannot be loaded, or broke its contract."""


class TaskError(RefineEvalError):
    """A task is unknown, or its data are not available."""


class ModelError(RefineEvalError):
    """A model cannot be loaded, or does not fit the text that it is given."""


class GenerationError(RefineEvalError):
    """An engine could not write a text."""


class StoreError(RefineEvalError):
    """The store is corrupt or cannot be written."""


class StageError(RefineEvalError):
    """A training stage's output is missing, was edited, cannot be written, or lacks what the next stage needs."""


class RunError(RefineEvalError):
    """A run directory is missing, incomplete or corrupt."""


def readable(sentence: str) -> str:
    """A sentence that repeats what was given, without most of a text that nobody can read."""
    half = _LONGEST // 2
    return sentence if len(sentence) <= _LONGEST else f"{sentence[: half - 5]} ... {sentence[-half:]}"


def suggestion(word: str, known: Iterable[str]) -> str:
    """`" Did you mean 'x'?"` for the known word nearest to `word`, or `""` where none is near."""
    matches = difflib.get_close_matches(word, list(known), n=1, cutoff=0.5)
    return f" Did you mean {matches[0]!r}?" if matches else ""


def first_line(error: BaseException) -> str:
    """What another package's error says, as part of a sentence: its first line without the full stop."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return lines[0].rstrip(".")[:300] if lines else type(error).__name__


def missing_extra(package: str, extra: str) -> str:
    """The sentence that says how to get a package that an extra brings."""
    return f"This needs the package {package}: pip install 'refine-eval[{extra}]'"
