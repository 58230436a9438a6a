"""LoRA adapters where whole models are asked for: found with their bases, merged, identified, trained on."""

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
import tiny_models as tiny
import torch
from in_process import refine_eval
from stage_folders import SAMPLES, collected

from refine_eval.critics.token_classifier import StepScorerOptions
from refine_eval.engines.transformers_engine import TransformersEngine, TransformersOptions
from refine_eval.errors import ModelError
from refine_eval.models.loading import load_model
from refine_eval.models.sources import ADAPTER, model_identity, resolve_adapter, resolve_model, without_adapter
from refine_eval.plugin.components import Engine
from refine_eval.stages.folder import read_folder
from refine_eval.terminal import Progress
from refine_eval.training.examples import completion_example, critic_example
from refine_eval.training.fit import fit, load_for_training
from refine_eval.training.saving import save
from refine_eval.training.settings import FitSettings
from refine_eval_orm.critic import OrmCritic

QUIET = Progress(quiet=True)
PROMPTS = ["1+2=", "x ab", "9*9"]
GENERATOR, CRITIC = "AutoModelForCausalLM", "AutoModelForTokenClassification"


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny.language_model(tmp_path_factory.mktemp("models") / "base")


def lora(base: Path, folder: Path, seed: int = 0, model: Any = None, **config: Any) -> Path:
    """A random adapter of a causal model as peft saves it, large enough to change every text."""
    import peft
    from transformers import AutoModelForCausalLM

    torch.manual_seed(seed)
    model = model or AutoModelForCausalLM.from_pretrained(base)
    settings = {"r": 2, "target_modules": ["q_proj", "down_proj"], "task_type": "CAUSAL_LM", **config}
    wrapped = peft.get_peft_model(model, peft.LoraConfig(init_lora_weights=False, **settings))
    with torch.no_grad():
        for name, parameter in wrapped.named_parameters():
            if "modules_to_save" in name:
                parameter.normal_()
    wrapped.peft_config["default"].base_model_name_or_path = str(base)
    wrapped.save_pretrained(folder)
    return folder


def head_lora(base: Path, folder: Path, bias: bool = True, labels: int = 2) -> Path:
    """A random adapter with a token-classification head, on a base that has none."""
    from transformers import AutoModelForTokenClassification

    model = AutoModelForTokenClassification.from_pretrained(base, num_labels=labels)
    model.score = torch.nn.Linear(model.config.hidden_size, labels, bias=bias)
    return lora(base, folder, model=model, task_type="TOKEN_CLS")


def trained(base: Path, folder: Path, head: str = "generator", steps: int = 4, **how: Any) -> Any:
    """What `train --base BASE --lora-rank 2` writes to `folder`, and the model as it was in training."""
    model, tokenizer = load_for_training(resolve_model(str(base)), head)
    if head == "generator":
        examples = [completion_example(tokenizer, f"{n}+1=", f"{n}+1=", f"{n}") for n in range(8)]
    else:
        examples = [critic_example(tokenizer, "how", [f"{n}+1=2", f"#### {n}"], [n % 2, 1]) for n in range(8)]
    settings = FitSettings(steps=steps, batch_size=4, lora_rank=2, learning_rate=0.05, warmup=1, **how)
    model, fitted = fit(model, tokenizer, examples, [], settings, folder.with_name(f"{folder.name}.work"), QUIET)
    save(model, tokenizer, folder, fitted, settings, "# card\n", str(base), "float32")
    return model.eval()


def ids(rows: Sequence[str] = PROMPTS) -> list[torch.Tensor]:
    return [torch.tensor([tiny.tokenizer()(row).input_ids]) for row in rows]


def logits(model: Any) -> torch.Tensor:
    with torch.no_grad():
        return torch.cat([model(input_ids=row).logits[0] for row in ids()])


def loaded(folder: Path, kind: str = GENERATOR, dtype: str = "float32") -> Any:
    return load_model(resolve_model(str(folder)), kind, "cpu", dtype).model


def opened(folder: Path) -> Engine:
    engine = TransformersEngine(TransformersOptions(pretrained=str(folder)))
    engine.open(tiny.CPU)
    return engine


def texts(engine: Engine) -> list[str]:
    found = dict(engine.generate([tiny.request(prompt, number) for number, prompt in enumerate(PROMPTS)]))
    return [found[number].text for number in range(len(PROMPTS))]


# Merging


def test_a_merged_adapter_is_the_unmerged_one(base: Path, tmp_path: Path) -> None:
    import peft
    from transformers import AutoModelForCausalLM

    folder = lora(base, tmp_path / "adapter")
    unmerged = peft.PeftModel.from_pretrained(AutoModelForCausalLM.from_pretrained(base), folder).eval()
    merged = loaded(folder)
    torch.testing.assert_close(logits(merged), logits(unmerged), atol=1e-4, rtol=1e-4)
    assert not torch.allclose(logits(merged), logits(loaded(base)), atol=0.1)
    assert type(merged) is type(loaded(base))
    assert [n for n, _ in merged.named_parameters()] == [n for n, _ in loaded(base).named_parameters()]


def test_the_engine_writes_what_the_merged_model_would(base: Path, tmp_path: Path) -> None:
    folder = lora(base, tmp_path / "adapter")
    loaded(folder).save_pretrained(tmp_path / "whole")
    tiny.tokenizer().save_pretrained(tmp_path / "whole")
    engine = opened(folder)
    assert texts(engine) == texts(opened(tmp_path / "whole")) != texts(opened(base))
    refiner = opened(base).for_model(str(folder))
    assert refiner is not None
    refiner.open(tiny.CPU)
    assert texts(refiner) == texts(engine)


@pytest.mark.parametrize(("bias", "labels"), [(True, 2), (False, 2), (True, 1), (False, 1)])
def test_a_critic_scores_merged_as_unmerged(bias: bool, labels: int, base: Path, tmp_path: Path) -> None:
    import peft
    from transformers import AutoModelForTokenClassification

    folder = head_lora(base, tmp_path / "critic", bias, labels)
    plain = AutoModelForTokenClassification.from_pretrained(base, num_labels=labels)
    plain.score = torch.nn.Linear(plain.config.hidden_size, labels, bias=bias)
    unmerged = peft.PeftModel.from_pretrained(plain, folder).eval()
    merged = loaded(folder, CRITIC)
    assert merged.config.num_labels == labels
    torch.testing.assert_close(logits(merged).softmax(-1), logits(unmerged).softmax(-1), atol=1e-5, rtol=0)
    torch.testing.assert_close(logits(merged).sigmoid(), logits(unmerged).sigmoid(), atol=1e-5, rtol=0)


@pytest.mark.parametrize("dtype", ["bfloat16", "float16"])
def test_merged_in_float32_and_rounded_once(dtype: str, base: Path, tmp_path: Path) -> None:
    """A bfloat16 base: each weight is the float32 sum, rounded; buffers are what they are in any such model."""
    model = loaded(base, dtype="bfloat16")
    half = tmp_path / "half"
    model.save_pretrained(half)
    tiny.tokenizer().save_pretrained(half)
    folder = lora(half, tmp_path / "adapter")
    exact, merged, plain = loaded(folder), loaded(folder, dtype=dtype), loaded(half, dtype=dtype)
    for name, weight in exact.named_parameters():
        assert torch.equal(merged.get_parameter(name), weight.to(getattr(torch, dtype))), name
    assert [(n, b.dtype) for n, b in merged.named_buffers()] == [(n, b.dtype) for n, b in plain.named_buffers()]
    assert merged.config.dtype == plain.config.dtype == merged.dtype


def write_gguf(model: Any, file: Path) -> None:
    """The weights of a tiny Llama as llama.cpp keeps them, without a tokenizer."""
    import gguf

    config, names = model.config, gguf.get_tensor_name_map(gguf.MODEL_ARCH.LLAMA, model.config.num_hidden_layers)
    writer = gguf.GGUFWriter(file, "llama")
    writer.add_context_length(config.max_position_embeddings)
    writer.add_embedding_length(config.hidden_size)
    writer.add_block_count(config.num_hidden_layers)
    writer.add_feed_forward_length(config.intermediate_size)
    writer.add_head_count(config.num_attention_heads)
    writer.add_head_count_kv(config.num_key_value_heads)
    writer.add_layer_norm_rms_eps(config.rms_norm_eps)
    writer.add_rope_freq_base(10000.0)
    writer.add_vocab_size(config.vocab_size)
    for name, weight in model.state_dict().items():
        for part, heads in (("q_proj", config.num_attention_heads), ("k_proj", config.num_key_value_heads)):
            if part in name:  # llama.cpp turns neighbours where transformers turns halves
                weight = weight.view(heads, 2, -1, weight.shape[1]).transpose(1, 2).reshape(weight.shape)
        writer.add_tensor(names.get_name(name, (".weight",)), weight.numpy())
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()


def test_a_gguf_file_is_a_base(base: Path, tmp_path: Path) -> None:
    write_gguf(loaded(base), tmp_path / "base.gguf")
    plain, on_gguf = lora(base, tmp_path / "plain"), lora(base, tmp_path / "on-gguf")
    tiny.tokenizer().save_pretrained(on_gguf)
    config = json.loads((on_gguf / ADAPTER).read_text())
    (on_gguf / ADAPTER).write_text(json.dumps(config | {"base_model_name_or_path": str(tmp_path / "base.gguf")}))
    torch.testing.assert_close(logits(loaded(on_gguf)), logits(loaded(plain)), atol=1e-4, rtol=1e-4)


def test_adapters_stand_on_adapters(base: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A relative base is taken from where the command runs, at every link."""
    monkeypatch.chdir(tmp_path)
    shutil.copytree(base, "base")
    first = trained(Path("base"), Path("first"))
    second = trained(Path("first"), Path("second"))
    third = trained(Path("first"), Path("third"), head="critic")
    assert json.loads(Path("second", ADAPTER).read_text())["base_model_name_or_path"] == "first"
    torch.testing.assert_close(logits(loaded(Path("first"))), logits(first), atol=1e-4, rtol=1e-4)
    torch.testing.assert_close(logits(loaded(Path("second"))), logits(second), atol=1e-4, rtol=1e-4)
    torch.testing.assert_close(logits(loaded(Path("third"), CRITIC)), logits(third), atol=1e-4, rtol=1e-4)
    assert not torch.allclose(logits(first), logits(second), atol=0.01)
    with pytest.raises(ModelError, match="the adapter second is the adapter first, and only the engine transformers"):
        resolve_adapter("second")
    monkeypatch.chdir(base)
    with pytest.raises(ModelError, match=r"The base first of the LoRA adapter .*second is not available; put it there"):
        resolve_model(str(tmp_path / "second"))


# Identity and tokenizer


def test_identity_covers_every_link(base: Path, tmp_path: Path) -> None:
    def identity(folder: Path) -> str:
        return model_identity(resolve_model(str(folder)))

    shutil.copytree(base, tmp_path / "base")
    first = lora(tmp_path / "base", tmp_path / "first")
    second = lora(first, tmp_path / "second", model=loaded(first))
    before = [identity(folder) for folder in (tmp_path / "base", first, second)]
    assert len(set(before)) == 3
    assert (before[1].startswith(before[0]), before[2].startswith(before[1])) == (True, True)
    tiny.language_model(tmp_path / "base", rope_theta=5.0)
    assert not set(before) & {identity(folder) for folder in (tmp_path / "base", first, second)}


def test_the_tokenizer_is_the_adapters_or_else_the_bases(base: Path, tmp_path: Path) -> None:
    folder = lora(base, tmp_path / "adapter")
    assert not (folder / "tokenizer_config.json").exists()
    source = resolve_model(str(folder))
    assert load_model(source, GENERATOR, "cpu", "float32").tokenizer.pad_token == "<pad>"
    other = tiny.tokenizer()
    other.pad_token = "</s>"
    other.save_pretrained(folder)
    assert load_model(source, GENERATOR, "cpu", "float32").tokenizer.pad_token == "</s>"


# Training


def test_a_trained_critic_is_an_adapter_that_critics_load(base: Path, tmp_path: Path) -> None:
    before = trained(base, tmp_path / "critic", head="critic")
    config = json.loads((tmp_path / "critic" / ADAPTER).read_text())
    assert config["base_model_name_or_path"] == str(base)
    assert set(config["modules_to_save"]) == {"score", "classifier"}
    torch.testing.assert_close(logits(loaded(tmp_path / "critic", CRITIC)), logits(before), atol=1e-5, rtol=1e-5)
    critic = OrmCritic(StepScorerOptions(model=str(tmp_path / "critic")))
    critic.open(tiny.CPU)
    (critique,) = critic.critique([tiny.candidate("how", "1+2=3\n#### 3")])
    assert len(critique.step_scores) == 2


def test_an_adapters_folder_names_no_place_that_the_user_did_not(
    base: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    shutil.copytree(base, "base")
    trained(Path("base"), Path("made"))
    held = {file.name: file.read_text() for file in Path("made").iterdir() if file.suffix in (".json", ".md", ".yaml")}
    assert [name for name, text in held.items() if str(tmp_path) in text] == []


def test_an_adapters_training_goes_on_from_its_checkpoint(
    base: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import transformers

    whole = trained(lora(base, tmp_path / "below"), tmp_path / "whole", "critic", steps=8, evaluate_every=2)
    step = transformers.Trainer.training_step

    def interrupted(self: Any, *arguments: Any, **named: Any) -> Any:
        if self.state.global_step == 5:
            raise KeyboardInterrupt
        return step(self, *arguments, **named)

    monkeypatch.setattr(transformers.Trainer, "training_step", interrupted)
    with pytest.raises(KeyboardInterrupt):
        trained(tmp_path / "below", tmp_path / "parts", "critic", steps=8, evaluate_every=2)
    monkeypatch.setattr(transformers.Trainer, "training_step", step)
    assert (tmp_path / "parts.work" / "checkpoint-4").is_dir()
    resumed = trained(tmp_path / "below", tmp_path / "parts", "critic", steps=8, evaluate_every=2)
    torch.testing.assert_close(logits(resumed), logits(whole), atol=1e-5, rtol=1e-5)


def test_two_processes_train_what_one_does_with_batches_twice_as_large(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """On this CPU, with gloo; one of them writes, prints and shows progress, and both end well."""
    tiny.language_model(tmp_path / "base", classifier_dropout=0.0)
    collected(tmp_path / "samples", SAMPLES)
    rows = sum(len(answers) for _, answers in SAMPLES)
    command = ["train", "orm", "samples", "--base", "base", "--lora-rank", "2", "--steps", "4", "--held-out", "0"]
    launched = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc_per_node", "2"]
    done = subprocess.run(
        [*launched, "-m", "refine_eval", *command, "--batch-size", str(rows // 2), "--out", "two"],
        cwd=tmp_path,
        env=os.environ | {"OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith("orm: 6 examples, loss ")
    assert (done.stdout.count("\n"), done.stderr.count("train: 4/4")) == (1, 1)
    assert {path.name for path in tmp_path.iterdir()} == {"base", "samples", "two"}
    assert read_folder(tmp_path / "two", "train orm").counts["examples"] == rows
    refine_eval(*command, "--batch-size", str(rows), "--out", "one", "-q", cwd=tmp_path)
    two, one = (json.loads((tmp_path / name / "training.json").read_text())["losses"] for name in ("two", "one"))
    assert [loss for _, loss in two] == pytest.approx([loss for _, loss in one], rel=1e-4)
    monkeypatch.chdir(tmp_path)
    of_two, of_one = (logits(loaded(Path(name), CRITIC)) for name in ("two", "one"))
    torch.testing.assert_close(of_two, of_one, atol=1e-3, rtol=1e-3)


# What is wrong is said


def test_bases_that_are_not_there(base: Path, tmp_path: Path) -> None:
    folder = lora(base, tmp_path / "adapter")
    config = json.loads((folder / ADAPTER).read_text())
    for change, message in (
        (
            {"base_model_name_or_path": "./nowhere"},
            r"The base \./nowhere of the LoRA adapter .*no model folder or file",
        ),
        ({"base_model_name_or_path": "(" * 3000}, "no model folder or file"),
        ({"base_model_name_or_path": "~nobody-has-this-name/model"}, "no model folder or file"),
        ({"base_model_name_or_path": None}, "names no base; write it into its adapter_config.json"),
        ({"base_model_name_or_path": str(folder)}, "is its own base"),
        ({"peft_type": "IA3"}, "of the kind 'IA3', and only LoRA adapters are read"),
    ):
        (folder / ADAPTER).write_text(json.dumps(config | change))
        with pytest.raises(ModelError, match=message):
            resolve_model(str(folder))
    for broken in ("{", "[]"):
        (folder / ADAPTER).write_text(broken)
        with pytest.raises(ModelError, match=r"adapter .* cannot be read"):
            resolve_model(str(folder))


def test_adapters_that_do_not_fit(base: Path, tmp_path: Path) -> None:
    from transformers import LlamaForCausalLM

    wide = tiny.save(LlamaForCausalLM(tiny.llama_config(hidden_size=64)), tmp_path / "wide")
    deep = tiny.save(LlamaForCausalLM(tiny.llama_config(num_hidden_layers=3)), tmp_path / "deep")
    for number, other in enumerate((wide, deep)):
        folder = lora(other, tmp_path / str(number))
        config = json.loads((folder / ADAPTER).read_text())
        (folder / ADAPTER).write_text(json.dumps(config | {"base_model_name_or_path": str(base)}))
        with pytest.raises(ModelError, match=r"does not fit the model .*base: it changes a weight of shape"):
            loaded(folder)
    with pytest.raises(ModelError, match=r"does not fit .*that is missing there \(score"):
        loaded(head_lora(base, tmp_path / "critic"))
    with pytest.raises(ModelError, match=r"no weights for score\.bias and 1 more"):
        loaded(lora(base, tmp_path / "student"), CRITIC)


def test_weights_that_the_adapter_lacks_are_not_made_up(base: Path, tmp_path: Path) -> None:
    folder = lora(base, tmp_path / "adapter")
    config = json.loads((folder / ADAPTER).read_text())
    (folder / ADAPTER).write_text(json.dumps(config | {"target_modules": ["q_proj", "k_proj", "down_proj"]}))
    with pytest.raises(ModelError, match=r"does not hold what its adapter_config\.json says"):
        loaded(folder)


def test_peft_is_asked_for(base: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = lora(base, tmp_path / "adapter")
    monkeypatch.setitem(sys.modules, "peft", None)
    with pytest.raises(ModelError, match=r"needs the package peft: pip install 'refine-eval\[train\]'"):
        loaded(folder)


def test_who_cannot_merge_says_so(base: Path, tmp_path: Path) -> None:
    assert without_adapter(resolve_model(str(base)), "no") == resolve_model(str(base))
    with pytest.raises(ModelError, match="is a LoRA adapter and not a whole model; do this"):
        without_adapter(resolve_model(str(lora(base, tmp_path / "adapter"))), "do this")
