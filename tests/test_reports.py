"""A failure that quotes half an emoji is one failure, and no INTERNALERROR of the worker that reports it."""

import execnet
import pytest
from reports import sendable

ODD = {"longrepr": {"lines": ["AssertionError: \ud83d", 3, None]}, "sections": [("Captured stdout call", "\udce9")]}


def test_reports_of_odd_texts_can_be_sent() -> None:
    with pytest.raises(execnet.gateway_base.DumpError):
        execnet.dumps(ODD)
    assert execnet.loads(execnet.dumps(sendable(ODD))) == {
        "longrepr": {"lines": ["AssertionError: ?", 3, None]},
        "sections": [("Captured stdout call", "?")],
    }
