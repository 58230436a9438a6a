"""The entrance of all model output, and what of a run is not for publication."""

import sqlite3
from pathlib import Path

import pytest

from refine_eval.data import Generation, Sampling
from refine_eval.errors import StoreError
from refine_eval.runs.record import portable, portable_command
from refine_eval.runs.runtime import safe_generation
from refine_eval.runs.store import Store

SAMPLING = Sampling(max_tokens=9, stop=("Question:", "</s>"))


@pytest.mark.parametrize(
    ("text", "safe", "reason"),
    [
        ("7 apples", "7 apples", "length"),
        ("half \ud83d a face", "half ? a face", "length"),
        ("7\n</s>Question: more", "7\n", "stop"),
        ("7 Question: and </s> more", "7 ", "stop"),
        ("", "", "length"),
    ],
)
def test_what_an_engine_wrote_is_made_safe(text: str, safe: str, reason: str) -> None:
    written = Generation(text=text, tokens=3, finish_reason="length")
    found = safe_generation(written, SAMPLING)
    assert (found.text, found.finish_reason, found.tokens) == (safe, reason, 3)
    assert safe_generation(found, SAMPLING) is found, "what is safe stays as it is"


def test_records_hide_secrets_and_nothing_else() -> None:
    options = {"model": "dummy", "token": "hf_x", "args": {"api_key": "k", "max_gen_toks": "5"}, "end_token": "</s>"}
    hidden = {"model": "dummy", "token": "HIDDEN", "args": {"api_key": "HIDDEN", "max_gen_toks": "5"}}
    assert portable(options) == {**hidden, "end_token": "</s>"}
    typed = "refine-eval run --model-args model=dummy,token=hf_x,eos_token=e --seed 3"
    assert portable_command(typed) == "refine-eval run --model-args model=dummy,token=HIDDEN,eos_token=e --seed 3"


def test_a_store_that_another_process_holds_is_not_called_a_fault_of_the_disk(tmp_path: Path) -> None:
    with Store(tmp_path / "store.sqlite") as store:
        other = sqlite3.connect(tmp_path / "store.sqlite", isolation_level=None)
        other.execute("BEGIN IMMEDIATE")
        store._db.execute("PRAGMA busy_timeout = 10")
        with pytest.raises(StoreError, match="Another process holds the store") as raised:
            store.put_generations([(b"key", Generation(text="a", tokens=1, finish_reason="stop"))])
        assert "permission" not in str(raised.value)
        other.execute("ROLLBACK")
        other.close()
