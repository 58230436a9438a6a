"""No argument of any engine or critic leads to a pickle or to code that comes with a model."""

import contextlib
import json
import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import tiny_models as tiny
import torch

from refine_eval.critics.token_classifier import StepScorerOptions
from refine_eval.engines.lm_eval_engine import LmEvalEngine
from refine_eval.engines.transformers_engine import TransformersEngine, TransformersOptions
from refine_eval.engines.vllm_engine import VllmEngine
from refine_eval.errors import ModelError, RefineEvalError, UsageError
from refine_eval.plugin.options import make_options
from refine_eval_orm.critic import OrmCritic


class Trap:
    """Makes a file when it is unpickled."""

    def __init__(self, sprung: Path) -> None:
        self.sprung = sprung

    def __reduce__(self) -> tuple[Callable[..., Any], tuple[Any, ...]]:
        return os.open, (str(self.sprung), os.O_CREAT)


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny.language_model(tmp_path_factory.mktemp("models") / "student")


@pytest.fixture
def sprung(tmp_path: Path) -> Path:
    """The file that every trap of a test would make."""
    return tmp_path / "sprung"


@pytest.fixture
def folder(model: Path, tmp_path: Path, sprung: Path) -> Path:
    """A sound model with traps beside its weights: in every pickle by a usual name, and as code."""
    made = Path(shutil.copytree(model, tmp_path / "student"))
    for name in ("pytorch_model.bin", "adapter_model.bin", "consolidated.pth", "model.pt", "steer.pt"):
        torch.save(Trap(sprung), made / name)
    (made / "trap.py").write_text(f"open({str(sprung)!r}, 'w')\nclass Any: pass\n")
    return made


@pytest.fixture
def pickled(folder: Path, tmp_path: Path) -> Path:
    """The same with nothing but pickles for weights."""
    made = Path(shutil.copytree(folder, tmp_path / "pickled"))
    (made / "model.safetensors").unlink()
    return made


@pytest.fixture
def adapter(folder: Path, tmp_path: Path) -> Path:
    """A LoRA adapter whose weights are a pickle."""
    made = tmp_path / "adapter"
    made.mkdir()
    shutil.copy(folder / "adapter_model.bin", made)
    config = {"peft_type": "LORA", "r": 2, "target_modules": ["q_proj"], "base_model_name_or_path": str(folder)}
    (made / "adapter_config.json").write_text(json.dumps(config))
    return made


def lm_eval(**options: str) -> None:
    LmEvalEngine(make_options(LmEvalEngine, options)).open(tiny.CPU)


def test_the_traps_are_traps(folder: Path, sprung: Path) -> None:
    torch.load(folder / "pytorch_model.bin", weights_only=False)
    assert sprung.exists()


def test_models_with_traps_beside_their_weights_are_read_as_safetensors(folder: Path, sprung: Path) -> None:
    lm_eval(pretrained=str(folder))
    lm_eval(pretrained=str(folder), use_safetensors="true", attn_implementation="eager")
    TransformersEngine(TransformersOptions(pretrained=str(folder))).open(tiny.CPU)
    assert not sprung.exists()


@pytest.mark.parametrize(
    "arguments",
    [
        {"use_safetensors": "false"},
        {"use_safetensors": "0"},
        {"weights_only": "false"},
        {"autogptq": "pytorch_model.bin"},
        {"gptqmodel": "true"},
        {"gguf_file": "../other.gguf"},
        {"subfolder": ".."},
        {"variant": "evil"},
        {"config": "elsewhere"},
        {"trust_remote_code": "true"},
        {"attn_implementation": "somebody/attention"},
        {"model": "vllm", "load_format": "pt"},
        {"model": "sglang", "load_format": "auto"},
        {"model": "sglang", "enable_custom_logit_processor": "true"},
        {"model": "vllm", "worker_cls": "trap.Any"},
        {"model": "vllm", "distributed_executor_backend": "trap.Any"},
        {"model": "steered", "steer_path": "steer.pt"},
    ],
    ids=str,
)
def test_arguments_that_lead_there_are_refused(arguments: dict[str, str], folder: Path, sprung: Path) -> None:
    name = [name for name in arguments if name != "model"][-1]
    with pytest.raises(UsageError, match=rf"^--model-args: {name} cannot be set: [^.]+; leave it out\.$"):
        lm_eval(pretrained=str(folder), **arguments)
    assert not sprung.exists()


@pytest.mark.parametrize("name", ["nemo_lm", "megatron_lm"])
def test_classes_whose_files_are_pickled_are_refused(name: str, folder: Path) -> None:
    with pytest.raises(ModelError, match=rf"class '{name}' reads pickled files"):
        lm_eval(model=name, path=str(folder), load=str(folder))


def test_folders_with_pickles_alone_are_refused(
    folder: Path, pickled: Path, adapter: Path, sprung: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(folder.parent)
    for arguments in (
        {"pretrained": "pickled"},
        {"pretrained": "student", "delta": "pickled"},
        {"pretrained": "student", "peft": "adapter"},
        {"pretrained": "adapter"},
        {"pretrained": "student", "model": "vllm", "lora_local_path": "adapter"},
    ):
        with pytest.raises(ModelError, match="safetensors"):
            lm_eval(**arguments)
    with pytest.raises(ModelError, match="There is no folder somebody/adapter"):
        lm_eval(model="vllm", pretrained="student", lora_local_path="somebody/adapter")
    for load in (lambda name: TransformersEngine(TransformersOptions(pretrained=name)), _critic):
        for name in ("pickled", "adapter"):
            with pytest.raises(ModelError, match="safetensors"):
                load(name).open(tiny.CPU)
    assert not sprung.exists()


def _critic(name: str) -> OrmCritic:
    return OrmCritic(StepScorerOptions(model=name))


def test_what_no_check_knows_ends_at_the_pickle(folder: Path, sprung: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """As in a class of lm-eval that opens a pickle of its own accord."""
    from lm_eval.models.huggingface import HFLM

    def opens(self: HFLM, pretrained: str, **arguments: Any) -> None:
        torch.load(Path(pretrained) / "model.pt", weights_only=False)

    monkeypatch.setattr(HFLM, "_create_model", opens)
    with pytest.raises(ModelError, match=r"^These arguments or files lead to weights that are pickled"):
        lm_eval(pretrained=str(folder))
    assert not sprung.exists()
    torch.load(folder / "model.pt", weights_only=False)  # elsewhere torch is as it was
    assert sprung.exists()


def test_code_beside_a_model_or_a_tokenizer_is_not_run(folder: Path, tmp_path: Path, sprung: Path) -> None:
    other = Path(shutil.copytree(folder, tmp_path / "other"))
    for file, names in (("config.json", ("AutoConfig", "AutoModelForCausalLM")), ("tokenizer_config.json", ())):
        content = json.loads((other / file).read_text())
        auto_map: dict[str, Any] = dict.fromkeys(names, "trap.Any") or {"AutoTokenizer": ["trap.Any", "trap.Any"]}
        changed = {"model_type": "unheard"} if names else {"tokenizer_class": "Any"}
        (other / file).write_text(json.dumps({**content, **changed, "auto_map": auto_map}))
    for arguments in ({"pretrained": str(other)}, {"pretrained": str(folder), "tokenizer": str(other)}):
        with contextlib.suppress(RefineEvalError):  # refused, or read without the code
            lm_eval(**arguments)
    with contextlib.suppress(RefineEvalError):  # refused, or read without the code
        TransformersEngine(TransformersOptions(pretrained=str(other))).open(tiny.CPU)
    assert not sprung.exists()


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("load_format", "pt"),
        ("trust_remote_code", "true"),
        ("hf_overrides", "{}"),
        ("hf_config_path", "elsewhere"),
        ("worker_cls", "trap.Any"),
        ("worker_extension_cls", "trap.Any"),
        ("scheduler_cls", "trap.Any"),
        ("reasoning_parser_plugin", "trap.py"),
        ("logits_processors", "trap.Any"),
        ("model_loader_extra_config", "{}"),
        ("speculative_config", "{}"),
        ("distributed_executor_backend", "trap.Any"),
    ],
)
def test_vllm_is_given_no_such_argument(name: str, value: str, folder: Path) -> None:
    engine = VllmEngine(make_options(VllmEngine, {"pretrained": str(folder), name: value}))
    with pytest.raises(UsageError, match=rf"^--model-args: {name} cannot be set"):
        engine.open(tiny.CPU)
    critic = OrmCritic(StepScorerOptions(model=str(folder), engine="vllm", engine_args={name: value}))
    with pytest.raises(UsageError, match=rf"^engine_args: {name} cannot be set"):
        critic.open(tiny.CPU)


def test_what_lm_evals_other_loaders_are_given(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Those that load models in processes of their own: sglang would run a model's code by default."""
    given: dict[str, Any] = {}

    class Loader:
        @classmethod
        def create_from_arg_obj(cls, own: dict[str, Any], more: dict[str, Any]) -> "Loader":
            given.update(own)
            return cls()

    monkeypatch.setattr("lm_eval.api.registry.get_model", lambda name: Loader)
    for name in ("vllm", "vllm-vlm", "sglang"):
        given.clear()
        lm_eval(model=name, pretrained=str(folder))
        assert (given["load_format"], given["trust_remote_code"]) == ("safetensors", False)
    with pytest.raises(ModelError, match="pass a local folder with safetensors"):
        lm_eval(model="trtllm", pretrained="somebody/model")


def test_folders_in_arguments_are_part_of_the_key(folder: Path, tmp_path: Path) -> None:
    def identity(other: Path) -> str:
        engine = LmEvalEngine(make_options(LmEvalEngine, {"pretrained": str(folder), "tokenizer": str(other)}))
        engine.open(tiny.CPU)
        return engine.identity()

    tokenizer = Path(shutil.copytree(folder, tmp_path / "a"))
    moved = Path(shutil.copytree(folder, tmp_path / "b"))
    before = identity(tokenizer)
    assert identity(moved) == before
    (moved / "special_tokens_map.json").write_text('{"pad_token": "<pad>"}')
    assert identity(moved) != before
