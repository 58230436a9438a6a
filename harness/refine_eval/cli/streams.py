"""Standard streams as they may be: closed, full, a pipe that nobody reads, or of another encoding than UTF-8."""

from __future__ import annotations

import codecs
import errno
import io
import os
import sys
from typing import TextIO

from refine_eval.errors import RefineEvalError

_PLAIN = {"→": "->", "−": "-", "–": "-", "—": "-", "…": "...", "·": "-", "’": "'"}
"""What stands in tables for characters that an encoding does not have; others become escapes such as \\xe9."""

_ERRORS = "refine-eval-plain"
_ASCII = "refine-eval-ascii"
"""ASCII by another name: click writes UTF-8 where a stream says that it is ASCII."""


class OutputClosedError(BaseException):
    """Nobody reads what the command prints: it ends, as other tools do. No `except Exception` on its way keeps it."""


class _Output(io.TextIOWrapper):
    """Standard output: an error ends the command, in one sentence, or like other tools where a pipe was closed."""

    def write(self, text: str, /) -> int:
        try:
            return super().write(text)
        except OSError as error:
            self.lost(error)
            return len(text)

    def flush(self) -> None:
        try:
            super().flush()
        except OSError as error:
            self.lost(error)

    def lost(self, error: OSError) -> None:
        _to_nowhere(self)
        if error.errno == errno.EPIPE:
            raise OutputClosedError from error
        raise RefineEvalError(
            f"Standard output cannot be written ({error.strerror}); files and records that were written are kept."
        ) from error


class _Messages(_Output):
    """Standard error: no work is worth losing because nobody can be told of it."""

    def lost(self, error: OSError) -> None:
        _to_nowhere(self)


def _to_nowhere(stream: io.TextIOWrapper) -> None:
    """What waits in a stream's buffer is dropped, now and when Python ends."""
    nowhere = os.open(os.devnull, os.O_WRONLY)
    os.dup2(nowhere, stream.fileno())
    os.close(nowhere)


def settle_streams() -> None:
    """Makes standard streams such that writing to them never ends in a traceback.

    Descriptors that are closed get the null device: a file that is opened later, a store perhaps, must not have the
    number of a stream. Streams that a test or a notebook put in place stay.
    """
    for descriptor in range(3):
        try:
            os.fstat(descriptor)
        except OSError:
            os.open(os.devnull, os.O_RDWR)
    codecs.register_error(_ERRORS, _plain)
    codecs.register(lambda name: _ascii() if name.replace("_", "-") == _ASCII else None)
    sys.stdout = _settled(sys.stdout, _Output)
    sys.stderr = _settled(sys.stderr, _Messages)


def _settled(stream: TextIO | None, kind: type[_Output]) -> TextIO:
    if stream is None:  # closed when Python began
        return open(os.devnull, "w", encoding="utf-8")
    if type(stream) is not io.TextIOWrapper:
        return stream
    encoding = _ASCII if codecs.lookup(stream.encoding).name == "ascii" else stream.encoding
    return kind(stream.buffer, encoding, _ERRORS, line_buffering=stream.line_buffering)


def _plain(error: UnicodeError) -> tuple[str, int]:
    if not isinstance(error, UnicodeEncodeError):
        raise error
    text = error.object[error.start : error.end]
    return "".join(_PLAIN.get(c) or c.encode("ascii", "backslashreplace").decode() for c in text), error.end


def _ascii() -> codecs.CodecInfo:
    known = codecs.lookup("ascii")
    return codecs.CodecInfo(
        known.encode,
        known.decode,
        known.streamreader,
        known.streamwriter,
        known.incrementalencoder,
        known.incrementaldecoder,
        name=_ASCII,
    )
