"""A model's generation settings: what the transformers engine writes is what lm-eval's hf writes, or it is refused."""

import json
import shutil
from pathlib import Path
from typing import Any

import pytest
import tiny_models as tiny
from decoded import opened, written
from transformers import GenerationConfig

from refine_eval.data import Generation, Request
from refine_eval.engines.decoder.model_settings import DONE, REFUSED, WITHOUT_EFFECT
from refine_eval.engines.lm_eval_engine import LmEvalEngine
from refine_eval.errors import ModelError
from refine_eval.plugin.options import make_options

IDS = {word: tiny.tokenizer().convert_tokens_to_ids(word) for word in "0123456789+-"}
END = 1


@pytest.fixture(scope="module")
def original(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny.language_model(tmp_path_factory.mktemp("models") / "student")


def changed(original: Path, folder: Path, settings: dict[str, Any] | None, **files: dict[str, Any]) -> Path:
    """The model with these generation settings (None: without the file), and keys of other JSON files changed."""
    shutil.copytree(original, folder)
    place = folder / "generation_config.json"
    place.unlink()
    if settings is not None:
        place.write_text(json.dumps({"eos_token_id": END, "pad_token_id": 0, **settings}))
    for name, keys in files.items():
        file = folder / f"{name}.json"
        file.write_text(json.dumps(json.loads(file.read_text()) | keys))
    return folder


def lm_eval(folder: Path, requests: list[Request]) -> list[str]:
    """What lm-eval's hf writes of each text alone: in its batches padding counts for some penalties."""
    engine = LmEvalEngine(make_options(LmEvalEngine, {"pretrained": str(folder), "batch_size": "1"}))
    engine.open(tiny.CPU)
    found = dict(engine.generate(requests))
    engine.close()
    return [found[index].text for index in range(len(requests))]


def requests(**sampling: Any) -> list[Request]:
    return [tiny.request(p, i, max_tokens=24, **sampling) for i, p in enumerate(tiny.mixed_prompts(10))]


def texts(found: list[Generation]) -> list[str]:
    return [generation.text for generation in found]


@pytest.mark.parametrize(
    "settings",
    [
        {"repetition_penalty": 1.8},
        {"encoder_repetition_penalty": 1.5},
        {"no_repeat_ngram_size": 2},
        {"encoder_no_repeat_ngram_size": 1},
        {"bad_words_ids": [[IDS["1"]], [IDS["2"], IDS["3"]]]},
        {"suppress_tokens": list(range(20, 50))},
        {"begin_suppress_tokens": list(range(2, 40))},
        {"sequence_bias": [[[IDS["7"]], 9.0], [[IDS["7"], IDS["7"]], -20.0]]},
        {"forced_eos_token_id": END},
        {"forced_bos_token_id": IDS["5"]},
        {"min_length": 30},
        {"min_new_tokens": 20},
        {"min_new_tokens": 5, "min_length": 60},
        {"max_new_tokens": 7},
        {"exponential_decay_length_penalty": [3, 1.6]},
        {"remove_invalid_values": True, "repetition_penalty": 1.2},
        {"do_sample": True, "temperature": 0.6, "top_k": 3, "top_p": 0.8, "repetition_penalty": 1.4},
    ],
    ids=lambda settings: "+".join(settings),
)
def test_settings_are_done_as_lm_eval_does_them(settings: dict[str, Any], original: Path, tmp_path: Path) -> None:
    folder = changed(original, tmp_path / "changed", settings)
    asked = requests()
    plain, engine = opened(original), opened(folder, 3)
    found = written(engine, asked)
    assert texts(found) == lm_eval(folder, asked)
    assert texts(found) != texts(written(plain, asked)) or settings.keys() <= {"forced_eos_token_id"}
    assert engine.identity().startswith(("transformers:", plain.identity()))
    assert ":generation_config:" in engine.identity()


@pytest.mark.parametrize(
    "settings",
    [
        {},
        {"do_sample": True, "temperature": 0.6, "top_k": 3},
        {"max_length": 5},
        {"somebodys_own": 3},
        {"num_beams": 1},
    ],
    ids=str,
)
def test_settings_without_effect_change_neither_texts_nor_how_the_model_is_known(
    settings: dict[str, Any], original: Path, tmp_path: Path
) -> None:
    folder = changed(original, tmp_path / "changed", settings)
    engine, asked = opened(folder, 4), requests()
    assert texts(written(engine, asked)) == texts(written(opened(original), asked)) == lm_eval(folder, asked)
    assert engine.identity().count(":") == opened(original).identity().count(":")
    assert engine._settings.wanted == {}
    assert all(text.processors is None for text in engine._texts(asked))


@pytest.mark.parametrize(
    ("entry", "value"),
    [
        ("num_beams", 4),
        ("penalty_alpha", 0.6),
        ("dola_layers", "low"),
        ("guidance_scale", 1.5),
        ("token_healing", True),
        ("stop_strings", ["x"]),
        ("max_time", 1.0),
        ("prompt_lookup_num_tokens", 4),
        ("force_words_ids", [[[5]]]),
    ],
)
def test_another_way_of_decoding_is_refused_by_name(entry: str, value: Any, original: Path, tmp_path: Path) -> None:
    folder = changed(original, tmp_path / "changed", {entry: value})
    with pytest.raises(ModelError, match=rf"^The generation_config\.json of .*changed asks for {entry}=.*; remove"):
        opened(folder)


@pytest.mark.parametrize(
    "settings",
    [
        {"repetition_penalty": "high"},
        {"repetition_penalty": -1.0},
        {"bad_words_ids": [[]]},
        {"bad_words_ids": 7},
        {"num_return_sequences": 2},
        {"suppress_tokens": ["x"]},
        {"no_repeat_ngram_size": 0.5},
        {"max_new_tokens": 0},
        {"forced_eos_token_id": 10**9},
        {"sequence_bias": [[[10**9], 1.0]]},
        {"exponential_decay_length_penalty": [1]},
    ],
    ids=str,
)
def test_settings_that_make_no_sense_are_named(settings: dict[str, Any], original: Path, tmp_path: Path) -> None:
    folder = changed(original, tmp_path / "changed", settings)
    with pytest.raises(ModelError, match=next(iter(settings))) as caught:
        opened(folder)
    assert "\n" not in str(caught.value)


def test_every_setting_that_transformers_knows_is_decided_upon() -> None:
    decided = [*DONE, *REFUSED, *WITHOUT_EFFECT]
    assert len(decided) == len(set(decided))
    assert set(vars(GenerationConfig())) <= set(decided)


def test_sampled_texts_are_held_to_the_settings_too(original: Path, tmp_path: Path) -> None:
    unwanted = [IDS[digit] for digit in "0123456789"]
    folder = changed(original, tmp_path / "changed", {"suppress_tokens": unwanted})
    asked = requests(temperature=1.0)
    assert any(set("0123456789") & set(text) for text in texts(written(opened(original), asked)))
    found = texts(written(opened(folder, 3), asked))
    assert found == texts(written(opened(folder, 1), asked))
    assert not any(set("0123456789") & set(text) for text in found)


OFTEN = "-"
"""What the model often writes."""


def ends(original: Path, folder: Path, settings: dict[str, Any] | None, last: str = "", **files: Any) -> list[str]:
    """What is written with these settings; lm-eval leaves `last` there, an end token that is a word."""
    found = texts(written(opened(changed(original, folder, settings, **files), 4), requests()))
    assert found == [text.removesuffix(last) for text in lm_eval(folder, requests())]
    return found


def test_end_tokens_are_those_of_lm_eval(original: Path, tmp_path: Path) -> None:
    """The settings' and the tokenizer's; the model's configuration is asked where there are no settings."""
    plain = texts(written(opened(original), requests()))
    assert sum(OFTEN in text for text in plain) > 3
    several = ends(original, tmp_path / "1", {"eos_token_id": [END, IDS[OFTEN]]}, OFTEN)
    assert several != plain
    assert not any(OFTEN in text for text in several)
    configured = {"eos_token_id": IDS[OFTEN], "pad_token_id": 0}
    assert ends(original, tmp_path / "2", None, OFTEN, config=configured) == several
    assert ends(original, tmp_path / "3", {"eos_token_id": END}, config=configured) == plain
    assert ends(original, tmp_path / "4", {"eos_token_id": END, "pad_token_id": END}, config=configured) == plain
    assert ends(original, tmp_path / "5", {"eos_token_id": None}) == plain
    same = opened(tmp_path / "4").identity(), opened(original).identity()
    assert (":ends=1" in same[0], ":ends" in same[1]) == (True, False)


@pytest.mark.parametrize("count", [1, 2, 3])
def test_stop_strings_that_span_tokens_and_stand_first(count: int, original: Path) -> None:
    asked = requests()
    plain = texts(written(opened(original), asked))
    whole = next(text for text in plain if len(text) > 8)
    for start in (0, 2):
        stopped = requests(stop=(whole[start : start + count],))
        found = written(opened(original, 4), stopped)
        assert texts(found) == lm_eval(original, stopped)
        assert found[plain.index(whole)].finish_reason == "stop"
        assert found[plain.index(whole)].text == whole[: whole.index(whole[start : start + count])]
