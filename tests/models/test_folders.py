"""Model folders of others: what is wrong with them is one sentence, within seconds, and before anything is loaded."""

import json
import os
import re
import shutil
from pathlib import Path
from typing import Any

import pytest
import tiny_models as tiny
import torch
from fuzz import accepted_or_refused, as_json, broken_bytes, broken_tree, deadline, fuzz
from hypothesis import strategies as st
from safetensors.torch import load_file, save_file

from refine_eval.critics.token_classifier import StepScorerOptions
from refine_eval.engines.transformers_engine import TransformersEngine, TransformersOptions
from refine_eval.errors import ModelError
from refine_eval.models.folders import depth, read_header
from refine_eval.models.loading import load_model
from refine_eval.models.sources import ADAPTER, resolve_adapter, resolve_model
from refine_eval_orm.critic import OrmCritic

LORA = "base_model.model.model.layers.0.self_attn.q_proj"


def change(file: Path, **keys: Any) -> None:
    file.write_text(json.dumps(json.loads(file.read_text()) | keys))


def load(folder: Path) -> Any:
    """The model as an engine loads it; anything that takes longer than a few seconds has hung."""
    with deadline():
        return load_model(resolve_model(str(folder)), "AutoModelForCausalLM", "cpu", "float32")


def refusal(folder: Path) -> str:
    with pytest.raises(ModelError) as caught:
        load(folder)
    assert "\n" not in str(caught.value)
    assert len(str(caught.value)) < 1_000
    return str(caught.value)


# config.json


@pytest.mark.parametrize(
    ("keys", "words"),
    [
        ({"num_hidden_layers": 10**6}, "says that there are 1000000 layers, and the weights are only"),
        ({"max_position_embeddings": 0}, "says max_position_embeddings=0, which must be a whole number of at least 1"),
        ({"max_position_embeddings": -5}, "max_position_embeddings=-5"),
        ({"max_position_embeddings": "many"}, "max_position_embeddings='many'"),
        ({"hidden_size": 0}, "hidden_size=0"),
        ({"hidden_size": True}, "hidden_size=True"),
        ({"hidden_size": 10**6, "vocab_size": 10**6}, r"describes a model of at least 3e\+12 numbers"),
        ({"head_dim": 10**9}, "describes a model of at least"),
        ({"num_local_experts": 10**8, "moe_intermediate_size": 1000}, "describes a model of at least"),
        ({"vocab_size": 0.5}, r"vocab_size=0\.5"),
        ({"num_attention_heads": [2, 0]}, "num_attention_heads="),
        ({"vocab_size": float("inf")}, "vocab_size=inf"),
        ({"intermediate_size": -1}, "intermediate_size=-1, which must be a whole number of at least 0"),
        ({"text_config": {"hidden_size": "wide"}}, "hidden_size='wide'"),
        ({"attn_implementation": "somebody/attention"}, "asks for the attention .*never run"),
        ({"transformers_weights": "../other.safetensors"}, "weights must lie in the model's own folder"),
    ],
    ids=str,
)
def test_configurations_that_no_model_has(keys: dict[str, Any], words: str, folder: Path) -> None:
    change(folder / "config.json", **keys)
    assert re.search(words, refusal(folder))


def test_configurations_that_some_models_have(folder: Path) -> None:
    change(folder / "config.json", sliding_window=None, num_key_value_heads=1)
    assert load(folder).context == 96


def test_files_that_are_nested_or_huge(folder: Path) -> None:
    (folder / "config.json").write_text('{"a":' * 50_000 + "1" + "}" * 50_000)
    assert "config.json is nested too deeply" in refusal(folder)
    (folder / "config.json").write_text('{"a": ' + "[" * 80 + "]" * 80 + "}")
    assert "config.json is nested too deeply" in refusal(folder)
    (folder / "config.json").write_text("[]")
    assert "config.json is not a mapping" in refusal(folder)
    (folder / "config.json").write_text("{")
    assert "Cannot load the model" in refusal(folder)
    with (folder / "tokenizer.json").open("wb") as sparse:
        sparse.truncate(1 << 40)
    assert "too much for a file of settings" in refusal(folder)
    assert depth({"a": [1, {"b": 2}]}) == 4


# Weights


def test_weights_outside_the_folder(original: Path, folder: Path) -> None:
    weights = load_file(folder / "model.safetensors")
    (folder / "model.safetensors").rename(folder / "part.safetensors")
    index = folder / "model.safetensors.index.json"
    for place in (
        "../elsewhere/model.safetensors",
        str(original / "model.safetensors"),
        "missing.safetensors",
        "a.bin",
        7,
    ):
        index.write_text(json.dumps({"metadata": {}, "weight_map": dict.fromkeys(weights, place)}))
        assert "weights must lie in the model's own folder" in refusal(folder)
    index.write_text(json.dumps({"metadata": {}, "weight_map": []}))
    assert "has no weight_map" in refusal(folder)
    index.write_text(json.dumps({"metadata": {}, "weight_map": dict.fromkeys(weights, "part.safetensors")}))
    assert load(folder).context == 96


def test_links(folder: Path, tmp_path: Path) -> None:
    """The hub's cache is made of links, whose contents are in the identity; what they lead nowhere is no file."""
    weights = folder / "model.safetensors"
    weights.rename(tmp_path / "blob")
    weights.symlink_to(tmp_path / "blob")
    assert load(folder).context == 96
    weights.unlink()
    weights.symlink_to(weights)
    assert "holds a config.json but no weights" in refusal(folder)
    weights.unlink()
    os.mkfifo(weights)
    assert "holds a config.json but no weights" in refusal(folder)


@pytest.mark.parametrize("kind", [torch.int8, torch.bool, torch.complex64, torch.int64])
def test_weights_of_another_kind_are_not_taken_for_numbers(kind: torch.dtype, folder: Path) -> None:
    weights = load_file(folder / "model.safetensors")
    name = "model.layers.0.self_attn.q_proj.weight"
    save_file({**weights, name: weights[name].to(kind)}, folder / "model.safetensors", {"format": "pt"})
    assert f"The weights {name!r}" in refusal(folder)
    assert "not floating-point" in refusal(folder)


def test_weights_that_are_no_numbers_are_said_when_they_are_used(folder: Path) -> None:
    weights = load_file(folder / "model.safetensors")
    weights["model.norm.weight"][0] = float("nan")
    save_file(weights, folder / "model.safetensors", {"format": "pt"})
    engine = TransformersEngine(TransformersOptions(pretrained=str(folder)))
    engine.open(tiny.CPU)
    ((_, found),) = engine.generate([tiny.request("123", 4)])
    assert str(found.unwritten).startswith("the model computes no finite number")


def test_weights_that_were_cut_off(folder: Path) -> None:
    weights = folder / "model.safetensors"
    whole = weights.read_bytes()
    for content, words in (
        (whole[:-5], "was cut off: it has"),
        (whole[:20], "its header would take"),
        (b"", "its header would take"),
        ((2**62).to_bytes(8, "little") + whole[8:], f"its header would take {2**62} bytes"),
        ((4).to_bytes(8, "little") + b"[1] ", "has a header that cannot be read"),
        ((40_000).to_bytes(8, "little") + b'{"a":' * 8_000, "has a header that cannot be read"),
    ):
        weights.write_bytes(content)
        assert words in refusal(folder)


def test_headers_say_what_is_there(folder: Path) -> None:
    found = read_header("m", folder / "model.safetensors")
    assert {key: tensor.shape for key, tensor in found.items()} == {
        key: tuple(weight.shape) for key, weight in load_file(folder / "model.safetensors").items()
    }
    assert {tensor.kind for tensor in found.values()} == {"F32"}


def test_a_tokenizer_of_another_model_is_named(folder: Path, tmp_path: Path) -> None:
    from transformers import LlamaForCausalLM, LlamaForTokenClassification

    small = len(tiny.tokenizer()) - 30
    tiny.save(LlamaForCausalLM(tiny.llama_config(vocab_size=small)), tmp_path / "small")
    engine = TransformersEngine(TransformersOptions(pretrained=str(tmp_path / "small")))
    engine.open(tiny.CPU)
    ((_, found),) = engine.generate([tiny.request("0123456789+-*/=().,;<>", 4)])
    unread = rf"its tokenizer is of another model \(token \d+ of {small}\); .*, or pass another with "
    assert re.fullmatch(unread + "--model-args pretrained=", str(found.unwritten))
    tiny.save(LlamaForTokenClassification(tiny.llama_config(vocab_size=small, num_labels=2)), tmp_path / "critic")
    critic = OrmCritic(StepScorerOptions(model=str(tmp_path / "critic")))
    critic.open(tiny.CPU)
    (critique,) = critic.critique([tiny.candidate("how", "0123456789+-*/=().,;<>")])
    assert re.fullmatch(unread + "--orm-model", str(critique.unscored))


# Adapters


def adapter(folder: Path, base: Path, **config: Any) -> Path:
    folder.mkdir()
    weights = {f"{LORA}.lora_A.weight": torch.ones(2, 32), f"{LORA}.lora_B.weight": torch.ones(32, 2)}
    save_file(weights, folder / "adapter_model.safetensors", {"format": "pt"})
    usual = {"peft_type": "LORA", "r": 2, "lora_alpha": 2, "target_modules": [LORA.removeprefix("base_model.model.")]}
    (folder / ADAPTER).write_text(json.dumps({**usual, "base_model_name_or_path": str(base), **config}))
    return folder


def test_adapters_that_name_their_modules_by_a_pattern(original: Path, tmp_path: Path) -> None:
    listed, pattern = adapter(tmp_path / "a", original), r".*(layers)\.0\.(self_attn|mlp)\.(q_proj|nothing)"
    named = adapter(tmp_path / "b", original, target_modules=pattern, exclude_modules=r".*lm_head.*")
    ids = torch.tensor([[3, 4, 5]])
    with torch.no_grad():
        expected, found = (load(folder).model(input_ids=ids).logits for folder in (listed, named))
    torch.testing.assert_close(found, expected)


@pytest.mark.parametrize(
    ("config", "words"),
    [
        ({"target_modules": r"(.|\w)*[A-Z]"}, "which takes too long to match"),
        ({"exclude_modules": r"((.|\w)+)+[A-Z]"}, "which takes too long to match"),
        ({"target_modules": "(" * 5_000}, "which is no pattern"),
        ({"exclude_modules": "(a"}, "which is no pattern"),
        ({"modules_to_save": ["(.*)*x"]}, "names the modules_to_save '(.*)*x', where only names of modules are read"),
        ({"rank_pattern": {"(.*)*x": 2}}, "names the rank_pattern"),
        ({"alpha_pattern": {"(.*)*x": 2}}, "names the alpha_pattern"),
        ({"layers_pattern": ["(.*)*x"], "layers_to_transform": [0]}, "names the layers_pattern"),
        ({"r": 10**9}, "names the rank 1000000000, which its weights do not have"),
        ({"r": "2"}, "names the rank '2'"),
        ({"rank_pattern": {"q_proj": 10**9}}, "names the rank 1000000000"),
        ({"megatron_config": {"a": 1}, "megatron_core": "trap"}, "names code to import"),
        ({"layer_replication": [[0, 10**6]]}, "doubles layers"),
        ({"base_model_name_or_path": {"a": 1}}, "names a base that is no path or name"),
        ({"base_model_name_or_path": "x" * 10_000}, "names a base that is no path or name"),
        ({"revision": 7}, "names a revision of its base that is no text"),
    ],
    ids=lambda value: str(value)[:40],
)
def test_adapters_with_settings_that_no_adapter_has(
    config: dict[str, Any], words: str, original: Path, tmp_path: Path
) -> None:
    assert words in refusal(adapter(tmp_path / "adapter", original, **config))


def test_chains_of_adapters_end(original: Path, tmp_path: Path) -> None:
    below = original
    for number in range(40):
        below = adapter(tmp_path / str(number), below)
    assert "is the base of 8 adapters, one on another" in refusal(below)
    assert load(tmp_path / "3").context == 96
    change(tmp_path / "0" / ADAPTER, base_model_name_or_path=str(tmp_path / "2"))
    assert "is its own base" in refusal(tmp_path / "2")


def test_adapters_of_another_kind_of_numbers(original: Path, tmp_path: Path) -> None:
    folder = adapter(tmp_path / "adapter", original)
    weights = load_file(folder / "adapter_model.safetensors")
    save_file({name: w.to(torch.int8) for name, w in weights.items()}, folder / "adapter_model.safetensors")
    assert "are of the kind 'I8'" in refusal(folder)


# Fuzz


@pytest.fixture(scope="module")
def fuzzed(original: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = Path(shutil.copytree(original, tmp_path_factory.mktemp("fuzz") / "model"))
    adapter(folder.parent / "adapter", original)
    load(folder)
    return folder


CONFIG = tiny.llama_config().to_dict() | {"architectures": ["LlamaForCausalLM"], "model_type": "llama"}
LORA_CONFIG: dict[str, Any] = {
    **{"peft_type": "LORA", "r": 2, "lora_alpha": 2, "target_modules": ["q_proj"], "modules_to_save": None},
    **{
        "base_model_name_or_path": "../model",
        "revision": None,
        "rank_pattern": {},
        "alpha_pattern": {},
        "bias": "none",
    },
}


@fuzz(config=broken_tree(CONFIG))
def test_a_damaged_configuration_is_read_or_refused(fuzzed: Path, config: Any) -> None:
    (fuzzed / "config.json").write_bytes(as_json(config))
    accepted_or_refused(lambda: resolve_model(str(fuzzed)))


@fuzz(content=broken_bytes(json.dumps(CONFIG).encode()))
def test_damaged_bytes_of_a_configuration_are_read_or_refused(fuzzed: Path, content: bytes) -> None:
    (fuzzed / "config.json").write_bytes(content)
    accepted_or_refused(lambda: resolve_model(str(fuzzed)))


@fuzz(data=st.data())
def test_damaged_weights_are_read_or_refused(fuzzed: Path, data: st.DataObject) -> None:
    (fuzzed / "config.json").write_text(json.dumps(CONFIG))
    file = fuzzed / "model.safetensors"
    kept = file.read_bytes()
    try:
        file.write_bytes(data.draw(broken_bytes(kept)))
        accepted_or_refused(lambda: resolve_model(str(fuzzed)))
    finally:
        file.write_bytes(kept)


@fuzz(config=broken_tree(LORA_CONFIG))
def test_a_damaged_adapter_is_read_or_refused(fuzzed: Path, config: Any) -> None:
    (fuzzed / "config.json").write_text(json.dumps(CONFIG))
    folder = fuzzed.parent / "adapter"
    (folder / ADAPTER).write_bytes(as_json(config))
    accepted_or_refused(lambda: resolve_adapter(str(folder)))
    accepted_or_refused(lambda: resolve_model(str(folder)))
