"""Reports of tests, as xdist sends them from its workers."""

from __future__ import annotations

from typing import Any

from refine_eval.terminal import encodable


def sendable(report: Any) -> Any:
    """A report's data with texts that UTF-8 can hold: half a surrogate pair in one ends the session, not the test."""
    if isinstance(report, str):
        return encodable(report)
    if isinstance(report, dict):
        return {sendable(key): sendable(value) for key, value in report.items()}
    return type(report)(map(sendable, report)) if isinstance(report, list | tuple) else report
