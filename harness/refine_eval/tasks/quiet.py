"""Keeps lm-eval's advice and progress bars from our users, and its warnings for them."""

from __future__ import annotations

import contextlib
import io
import logging
from collections.abc import Callable, Iterator

_ADVICE = ("Custom kwargs can be passed to",)
"""What lm-eval warns of though nothing is the matter: how its own command line would be used."""


class _Heard(logging.Handler):
    """Passes each warning on, as one short line."""

    def __init__(self, tell: Callable[[str], None]) -> None:
        super().__init__(logging.WARNING)
        self._tell = tell

    def emit(self, record: logging.LogRecord) -> None:
        text = " ".join(record.getMessage().split())
        if text and not any(advice in text for advice in _ADVICE):
            self._tell(text if len(text) <= 300 else f"{text[:297]}...")


@contextlib.contextmanager
def quiet(tell: Callable[[str], None] | None = None) -> Iterator[None]:
    """No progress bars and advice of lm-eval and those it calls; lm-eval's own warnings and errors go to `tell`."""
    loggers = [logging.getLogger(name) for name in ("lm_eval", "datasets", "huggingface_hub", "math_verify")]
    ours, before = loggers[0], [(logger.level, logger.propagate) for logger in loggers]
    for logger in loggers:
        logger.setLevel(logging.ERROR)
    heard = _Heard(tell) if tell is not None else None
    if heard is not None:
        ours.addHandler(heard)
        ours.setLevel(logging.WARNING)
        ours.propagate = False  # what is said by us is not to be said twice
    try:
        with contextlib.redirect_stderr(io.StringIO()):
            yield
    finally:
        if heard is not None:
            ours.removeHandler(heard)
        for logger, (level, propagate) in zip(loggers, before, strict=True):
            logger.setLevel(level)
            logger.propagate = propagate
