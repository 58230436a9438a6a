"""The entrance of all model output, and what of a run is not for publication."""

import shlex
import sqlite3
from pathlib import Path

import pytest

from refine_eval.data import Generation, Sampling
from refine_eval.errors import StoreError
from refine_eval.runs.portable import portable, portable_command
from refine_eval.runs.requests import safe_generation
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


@pytest.mark.parametrize(
    "name",
    [
        "HF_TOKEN",
        "use_auth_token",
        "openai_api_key",
        "secret-key",
        "aws_secret_access_key",
        "client_secret",
        "passphrase",
    ],
)
def test_options_with_the_names_of_secrets_are_hidden(name: str) -> None:
    assert portable({name: "s3cr3t"}) == {name: "HIDDEN"}
    assert portable_command(f"refine-eval run --model-args a=b,{name}=s3cr3t") == (
        f"refine-eval run --model-args a=b,{name}=HIDDEN"
    )


@pytest.mark.parametrize(
    "name", ["pad_token", "think_end_token", "max_tokens", "monkey", "key", "secretary", "tokenizer"]
)
def test_options_with_other_names_are_shown(name: str) -> None:
    assert portable({name: "</s>"}) == {name: "</s>"}


@pytest.mark.parametrize(
    ("value", "shown"),
    [
        ("http://me:pa55@host:8000/v1", "http://HIDDEN@host:8000/v1"),
        ("http://host/v1?x=1&api_key=abc", "http://host/v1?x=1&api_key=HIDDEN"),
        ("{'Authorization': 'Bearer abc.def'}", "{'Authorization': 'Bearer HIDDEN'}"),
        ("hf_" + "aB3" * 12, "HIDDEN"),
        ("sk-proj-" + "aB3" * 12, "HIDDEN"),
        ("hf_internal_testing/tiny_random_of_a_very_long_name", "hf_internal_testing/tiny_random_of_a_very_long_name"),
        ("me@host", "me@host"),
        ("http://host:8000/v1", "http://host:8000/v1"),
    ],
    ids=["user of a URL", "key in a URL", "header", "hub's token", "key", "hub's name", "address", "URL"],
)
def test_secrets_are_known_by_their_form(value: str, shown: str) -> None:
    assert portable({"url": value}) == {"url": shown}
    assert shown in portable_command(shlex.join(["refine-eval", "run", "--model-args", f"url={value},a=b"])).replace(
        "'\"'\"'", "'"
    )


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
