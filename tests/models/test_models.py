"""Model folders: found, refused, identified."""

import json
import shutil
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.numpy import save_file

from refine_eval.errors import ModelError
from refine_eval.models.adapters import check_adapter
from refine_eval.models.loading import choose_device, choose_dtype, is_out_of_memory, load_model, quiet_transformers
from refine_eval.models.sources import ADAPTER, model_identity, resolve_adapter, resolve_model


@pytest.fixture(autouse=True)
def cache_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr("platformdirs.user_cache_dir", lambda name: str(tmp_path / "cache"))
    return tmp_path / "cache"


def test_folder_loads(folder: Path) -> None:
    loaded = load_model(resolve_model(str(folder)), "AutoModelForCausalLM", "cpu", "float32")
    assert (loaded.context, loaded.dtype, loaded.model.training) == (96, "float32", False)


@pytest.mark.parametrize("name", ["pytorch_model.bin", "model.pt", "model.pth", "model.ckpt"])
def test_pickled_weights_are_refused(folder: Path, name: str) -> None:
    (folder / "model.safetensors").rename(folder / name)
    with pytest.raises(ModelError, match=rf"only as {name}.*weights only as safetensors; convert.*save_pretrained"):
        resolve_model(str(folder))


def test_pickled_weights_beside_safetensors_are_not_read(folder: Path) -> None:
    (folder / "pytorch_model.bin").write_bytes(b"\x80\x04cos\nsystem\n")
    load_model(resolve_model(str(folder)), "AutoModelForCausalLM", "cpu", "float32")


def test_things_that_are_no_models(folder: Path, tmp_path: Path) -> None:
    empty = tmp_path / "empty"
    empty.mkdir()
    (folder / "model.safetensors").unlink()
    (tmp_path / "weights.zip").touch()
    for name, message in (
        (str(tmp_path / "nowhere"), "There is no model folder or file"),
        ("./nowhere", "There is no model folder or file"),
        ("nowhere.gguf", "There is no model folder or file"),
        (str(empty), "not a model folder: it holds no config.json"),
        (str(folder), "holds a config.json but no weights"),
        (str(tmp_path / "weights.zip"), "is not a GGUF file"),
    ):
        with pytest.raises(ModelError, match=message):
            resolve_model(name)


def test_broken_weights_are_one_sentence(folder: Path) -> None:
    (folder / "model.safetensors").write_bytes(b"\xff" * 100)
    with pytest.raises(ModelError, match="Cannot load the model") as caught:
        load_model(resolve_model(str(folder)), "AutoModelForCausalLM", "cpu", "float32")
    assert "\n" not in str(caught.value)


def test_code_in_a_model_folder_is_not_run(folder: Path) -> None:
    config = json.loads((folder / "config.json").read_text())
    config |= {"model_type": "evil", "auto_map": {"AutoConfig": "evil.C", "AutoModelForCausalLM": "evil.M"}}
    (folder / "config.json").write_text(json.dumps(config))
    (folder / "evil.py").write_text(f"open({str(folder / 'ran')!r}, 'w')")
    with pytest.raises(ModelError, match="Cannot load the model"):
        load_model(resolve_model(str(folder)), "AutoModelForCausalLM", "cpu", "float32")
    assert not (folder / "ran").exists()


def test_hub_without_network_says_to_pass_a_folder(monkeypatch: pytest.MonkeyPatch) -> None:
    def unreachable(*args: object, **kwargs: object) -> str:
        raise ConnectionError("Name or service not known\nmore")

    monkeypatch.setattr("huggingface_hub.snapshot_download", unreachable)
    with pytest.raises(ModelError, match=r"no folder some/model.*\(Name or service not known\); pass a local folder"):
        resolve_model("some/model")


def test_hub_model_is_known_by_its_commit(folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    snapshot = Path(shutil.copytree(folder, tmp_path / "snapshots" / "0123abc"))
    asked: dict[str, Any] = {}

    def download(name: str, **options: object) -> str:
        asked.update(options, name=name)
        return str(snapshot)

    monkeypatch.setattr("huggingface_hub.snapshot_download", download)
    source = resolve_model("some/model", revision="main")
    assert model_identity(source) == "some/model@0123abc"
    assert (asked["name"], asked["revision"]) == ("some/model", "main")
    assert not any("bin" in pattern for pattern in asked["allow_patterns"])
    assert "*.jinja" in asked["allow_patterns"]  # chat templates of today
    (snapshot / "model.safetensors").unlink()
    with pytest.raises(ModelError, match="weights only as safetensors"):
        resolve_model("some/model")


def test_identity_is_of_content(folder: Path, tmp_path: Path) -> None:
    first = model_identity(resolve_model(str(folder)))
    copy = Path(shutil.copytree(folder, tmp_path / "elsewhere"))
    (copy / "README.md").write_text("a model card")
    assert model_identity(resolve_model(str(copy))) == first
    weights = bytearray((copy / "model.safetensors").read_bytes())
    weights[-1] ^= 1
    (copy / "model.safetensors").write_bytes(weights)
    assert model_identity(resolve_model(str(copy))) != first


def test_hashes_are_kept_and_a_broken_cache_only_costs_time(folder: Path, cache_folder: Path) -> None:
    first = model_identity(resolve_model(str(folder)))
    (cached,) = cache_folder.iterdir()
    known = json.loads(cached.read_text())
    assert any("model.safetensors" in key for key in known)
    cached.write_text(json.dumps(dict.fromkeys(known, "remembered")))
    assert model_identity(resolve_model(str(folder))) != first
    for broken in ("{", "[]", "null"):
        cached.write_text(broken)
        assert model_identity(resolve_model(str(folder))) == first
    shutil.rmtree(cache_folder)
    cache_folder.touch()
    assert model_identity(resolve_model(str(folder))) == first


def test_gguf_files_are_found(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "a.gguf").write_bytes(b"GGUF")
    for name in (tmp_path, tmp_path / "a.gguf"):
        source = resolve_model(str(name))
        assert (source.folder, source.gguf) == (tmp_path, "a.gguf")
        assert model_identity(source).startswith("sha256:")
    monkeypatch.setitem(sys.modules, "gguf", None)
    with pytest.raises(ModelError, match=r"pip install 'refine-eval\[gguf\]'"):
        load_model(source, "AutoModelForCausalLM", "cpu", "float32")
    (tmp_path / "b.gguf").touch()
    with pytest.raises(ModelError, match="holds 2 GGUF files"):
        resolve_model(str(tmp_path))


def test_device_and_dtype_wishes() -> None:
    assert choose_device("auto", None, "cuda:1") == "cuda:1"
    assert choose_device("auto") in ("cpu", "cuda", "mps")
    assert choose_dtype("cpu", "auto", "") == "float32"
    assert choose_dtype("cpu", None, "bfloat16") == "bfloat16"
    with pytest.raises(ModelError, match="dtype 'int3' is not known"):
        choose_dtype("cpu", "int3")


def test_out_of_memory_is_recognised() -> None:
    assert is_out_of_memory(torch.OutOfMemoryError("x"))
    assert is_out_of_memory(RuntimeError("DefaultCPUAllocator: can't allocate memory: you tried"))
    assert not is_out_of_memory(RuntimeError("shape"))
    assert not is_out_of_memory(ValueError("out of memory"))


def test_quiet_puts_everything_back() -> None:
    from transformers.utils import logging

    before = logging.get_verbosity(), logging.is_progress_bar_enabled()
    with quiet_transformers():
        assert not logging.is_progress_bar_enabled()
    assert (logging.get_verbosity(), logging.is_progress_bar_enabled()) == before


Q, K = "model.layers.0.self_attn.q_proj", "model.layers.0.self_attn.k_proj"


def weights(folder: Path, file: str, shapes: dict[str, tuple[int, ...]]) -> None:
    folder.mkdir(exist_ok=True)
    save_file({name: np.zeros(shape, dtype=np.float32) for name, shape in shapes.items()}, folder / file)


def adapter(folder: Path, module: str = Q, wide: int = 6, tall: int = 8, rank: int = 2) -> Path:
    """A LoRA adapter of one module as peft saves it: what goes into the module is `wide`, what comes out `tall`."""
    lora = f"base_model.model.{module}"
    shapes: dict[str, tuple[int, ...]] = {f"{lora}.lora_A.weight": (rank, wide), f"{lora}.lora_B.weight": (tall, rank)}
    weights(folder, "adapter_model.safetensors", shapes)
    (folder / ADAPTER).write_text("{}")
    return folder


@pytest.fixture
def base(tmp_path: Path) -> Path:
    """A model in two files, one module in each."""
    folder = tmp_path / "base"
    weights(folder, "model-00001-of-00002.safetensors", {f"{Q}.weight": (8, 6), f"{Q}.bias": (8,)})
    weights(folder, "model-00002-of-00002.safetensors", {f"{K}.weight": (4, 6)})
    (folder / "config.json").write_text("{}")
    return folder


def test_an_adapter_fits_the_model_it_was_trained_on(base: Path, tmp_path: Path) -> None:
    source = resolve_model(str(base))
    shapes: list[dict[str, Any]] = [{}, {"module": K, "tall": 4}, {"rank": 5}]
    for number, shape in enumerate(shapes):
        check_adapter(resolve_adapter(str(adapter(tmp_path / str(number), **shape))), source)


@pytest.mark.parametrize(
    ("shape", "message"),
    [
        ({"wide": 5}, r"a weight of shape \(8, 5\) that is of shape \(8, 6\) there .*q_proj\); name the model"),
        ({"tall": 4}, r"a weight of shape \(4, 6\) that is of shape \(8, 6\) there"),
        ({"module": K}, r"a weight of shape \(8, 6\) that is of shape \(4, 6\) there"),
        ({"module": "model.layers.1.self_attn.q_proj"}, r"a weight of shape \(8, 6\) that is missing there"),
    ],
)
def test_an_adapter_of_another_model_is_refused(
    shape: dict[str, Any], message: str, base: Path, tmp_path: Path
) -> None:
    found = resolve_adapter(str(adapter(tmp_path / "adapter", **shape)))
    with pytest.raises(ModelError, match=f"adapter .* does not fit the model .*base: it changes {message}"):
        check_adapter(found, resolve_model(str(base)))


def test_things_that_are_no_adapters(base: Path, tmp_path: Path) -> None:
    with pytest.raises(ModelError, match=r"holds no adapter_config\.json"):
        resolve_adapter(str(base))
    with pytest.raises(ModelError, match=r"holds no adapter_config\.json"):
        resolve_adapter(str(tmp_path / "nowhere"))
    folder = adapter(tmp_path / "adapter")
    (folder / "adapter_model.safetensors").rename(folder / "adapter_model.bin")
    with pytest.raises(ModelError, match="reads weights only as safetensors; save the adapter again"):
        resolve_adapter(str(folder))
    (folder / "adapter_model.safetensors").write_bytes(b"\xff" * 100)
    with pytest.raises(ModelError, match=r"weights .*adapter_model\.safetensors cannot be read") as caught:
        check_adapter(resolve_adapter(str(folder)), resolve_model(str(base)))
    assert "\n" not in str(caught.value)


def test_an_adapter_is_known_by_its_weights(tmp_path: Path) -> None:
    first, same, other = (adapter(tmp_path / name, rank=rank) for name, rank in (("a", 2), ("b", 2), ("c", 3)))
    identities = [model_identity(resolve_adapter(str(folder))) for folder in (first, same, other)]
    assert identities[0] == identities[1] != identities[2]
