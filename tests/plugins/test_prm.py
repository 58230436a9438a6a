"""The critic `prm`: each family scores as its authors publish it, written here a second time in a few lines."""

import itertools
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any
from unittest import mock

import pytest
import reward_models as rm
import tiny_models as tiny
import torch

from refine_eval.data import Candidate
from refine_eval.errors import ModelError, UsageError
from refine_eval.models.sources import ModelSource
from refine_eval.testing import run_checks
from refine_eval_prm.critic import PrmCritic, PrmOptions
from refine_eval_prm.families import FAMILIES, choose_family

QUESTION = rm.QUESTION
SOLUTIONS = (
    ("3 + 4 = 7.", "She has 7 apples.", "The answer is 7."),
    ("3 + 4 = 8.",),
    ("Ann has 3.", "3 - 4 = 1.", "So 1 + 1 = 2.", "The answer is 2."),
)


def candidates() -> list[Candidate]:
    return [tiny.candidate(QUESTION, "\n".join(steps), number) for number, steps in enumerate(SOLUTIONS)]


def opened(folder: Path, **options: Any) -> PrmCritic:
    critic = PrmCritic(PrmOptions(model=str(folder), **options))
    critic.open(tiny.CPU)
    return critic


def causal(folder: Path) -> Any:
    from transformers import AutoModelForCausalLM

    return AutoModelForCausalLM.from_pretrained(folder)


def tokenizer_of(folder: Path) -> Any:
    from transformers import AutoTokenizer

    return AutoTokenizer.from_pretrained(folder)


def states(folder: Path, ids: list[int]) -> torch.Tensor:
    """The hidden states of a text, of shape (length, width)."""
    from transformers import AutoModel

    found: torch.Tensor = AutoModel.from_pretrained(folder)(input_ids=torch.tensor([ids])).last_hidden_state[0]
    return found


def weights(folder: Path) -> dict[str, torch.Tensor]:
    from safetensors.torch import load_file

    found: dict[str, torch.Tensor] = load_file(folder / "model.safetensors")
    return found


def math_shepherd(folder: Path, steps: tuple[str, ...]) -> list[float]:
    """The model card of peiyi9979/math-shepherd-mistral-7b-prm."""
    tokenizer = tokenizer_of(folder)
    good_and_bad = tokenizer.encode("+ -")[1:]
    tag = tokenizer.encode("ки")[-1]
    output = "\n".join(f"Step {number}: {step} ки" for number, step in enumerate(steps, 1))
    ids = torch.tensor([tokenizer.encode(f"{QUESTION} {output}")])
    scores = causal(folder)(ids).logits[:, :, good_and_bad].softmax(dim=-1)[:, :, 0]
    found: list[float] = scores[ids == tag].tolist()
    return found


def rlhflow(folder: Path, turns: list[str]) -> list[float]:
    """RLHFlow's evaluation: a pass for each step, the logits three tokens before the end."""
    tokenizer, model, found, conversation = tokenizer_of(folder), causal(folder), [], []
    signs = [tokenizer.encode("+")[-1], tokenizer.encode("-")[-1]]
    for turn in turns:
        conversation += [{"role": "user", "content": turn}, {"role": "assistant", "content": "+"}]
        text = tokenizer.apply_chat_template(conversation, tokenize=False)
        ids = torch.tensor([tokenizer.encode(text, add_special_tokens=False)])
        found.append(model(ids).logits[0, -3, signs].softmax(dim=-1)[0].item())
    return found


def rlhflow_prm(folder: Path, steps: tuple[str, ...]) -> list[float]:
    return rlhflow(folder, [f"{QUESTION} {steps[0]}", *steps[1:]])


def rlhflow_orm(folder: Path, steps: tuple[str, ...]) -> list[float]:
    solution = "\n".join(steps)
    return rlhflow(folder, [f"{QUESTION} {solution}"]) * len(steps)


def qwen(folder: Path, steps: tuple[str, ...]) -> list[float]:
    """The model card of Qwen2.5-Math-PRM-7B."""
    tokenizer, head = tokenizer_of(folder), weights(folder)
    messages = [
        {"role": "system", "content": "Please reason step by step, and put your final answer within \\boxed{}."},
        {"role": "user", "content": QUESTION},
        {"role": "assistant", "content": "<extra_0>".join(steps) + "<extra_0>"},
    ]
    ids = tokenizer.encode(tokenizer.apply_chat_template(messages, tokenize=False, add_generation_prompt=False))
    hidden = (states(folder, ids) @ head["score.0.weight"].T + head["score.0.bias"]).relu()
    logits = hidden @ head["score.2.weight"].T + head["score.2.bias"]
    separators = torch.tensor(ids) == tokenizer.encode("<extra_0>")[0]
    found: list[float] = logits.softmax(dim=-1)[separators, 1].tolist()
    return found


def skywork(folder: Path, steps: tuple[str, ...]) -> list[float]:
    """SkyworkAI/skywork-o1-prm-inference: prepare_input, and the sigmoid of the values at the flags."""
    tokenizer, head = tokenizer_of(folder), weights(folder)
    ids = tokenizer.encode(tokenizer.bos_token + QUESTION + "\n")
    flags = [0] * len(ids)
    for step in steps:
        step_ids = [*tokenizer.encode(step), tokenizer.encode("\n")[-1]]
        ids, flags = ids + step_ids, flags + [0] * (len(step_ids) - 1) + [1]
    values = states(folder, ids) @ head["v_head.summary.weight"].T + head["v_head.summary.bias"]
    found: list[float] = values[torch.tensor(flags) == 1, 0].sigmoid().tolist()
    return found


def trl(folder: Path, steps: tuple[str, ...]) -> list[float]:
    """TRL's PRMTrainer.tokenize_row: the beginning, prompt and completions, a separator after each of these."""
    from transformers import AutoModelForTokenClassification

    tokenizer, places = tokenizer_of(folder), []
    ids = [tokenizer.bos_token_id, *tokenizer.encode(QUESTION)]
    for step in steps:
        ids += tokenizer.encode(step) + tokenizer.encode("\n")
        places.append(len(ids) - 1)
    logits = AutoModelForTokenClassification.from_pretrained(folder)(torch.tensor([ids])).logits[0]
    found: list[float] = logits[places].softmax(dim=-1)[:, 1].tolist()
    return found


def implicit(folder: Path, steps: tuple[str, ...]) -> list[float]:
    """The model card of EurusPRM-Stage1: what a step adds to 0.001 times the log-ratio; 0.5 is a reward of 0."""
    tokenizer = tokenizer_of(folder)

    def conversation(answer: str) -> list[int]:
        messages = [{"role": "user", "content": QUESTION}, {"role": "assistant", "content": answer}]
        text = tokenizer.apply_chat_template(messages, tokenize=False)
        ids: list[int] = tokenizer.encode(text.removesuffix("<|im_end|>\n"))
        return ids

    def so_far(model: Any, answer: str) -> float:
        ids = torch.tensor([conversation(answer)])
        logits = model(ids).logits[0, :-1].log_softmax(dim=-1)
        return float(logits.gather(1, ids[0, 1:, None]).sum().item())

    sums = []
    for number in range(len(steps) + 1):
        answer = "\n\n".join(steps[:number])
        sums.append(so_far(causal(folder), answer) - so_far(causal(folder.parent / "reference"), answer))
    rewards = [0.001 * (after - before) for before, after in itertools.pairwise(sums)]
    found: list[float] = torch.tensor(rewards).sigmoid().tolist()
    return found


def sequence_classifier(folder: Path, steps: tuple[str, ...]) -> list[float]:
    """The model cards of Skywork-Reward: the logit of the templated conversation."""
    from transformers import AutoModelForSequenceClassification

    tokenizer, solution = tokenizer_of(folder), "\n".join(steps)
    messages = [{"role": "user", "content": QUESTION}, {"role": "assistant", "content": solution}]
    ids = tokenizer.encode(tokenizer.apply_chat_template(messages, tokenize=False))
    logits = AutoModelForSequenceClassification.from_pretrained(folder)(torch.tensor([ids])).logits
    return [logits[0, 0].sigmoid().item()] * len(steps)


REFERENCES: dict[str, Callable[[Path, tuple[str, ...]], list[float]]] = {
    "math-shepherd": math_shepherd,
    "rlhflow-prm": rlhflow_prm,
    "rlhflow-orm": rlhflow_orm,
    "qwen": qwen,
    "skywork": skywork,
    "trl": trl,
    "implicit": implicit,
    "sequence-classifier": sequence_classifier,
}


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a model of each family, named so that nothing but its files says which one."""
    place = tmp_path_factory.mktemp("models")
    value = {"v_head.summary.weight": (1, 32), "v_head.summary.bias": (1,)}
    language = "LlamaForCausalLM"
    rm.save(place / "math-shepherd", language, rm.sentence_pieces(), {})
    rm.save(place / "rlhflow-prm", language, rm.llama3(), {})
    rm.save(place / "rlhflow-orm", language, rm.llama3(), {}, seed=1)
    rm.qwen_prm(place / "qwen")
    rm.save(place / "skywork", language, rm.chatml(), value)
    rm.save(place / "trl", "LlamaForTokenClassification", rm.chatml(), {}, num_labels=2)
    rm.save(place / "implicit", language, rm.chatml(), {})
    rm.save(place / "reference", language, rm.chatml(), {}, seed=1)
    rm.save(place / "sequence-classifier", "LlamaForSequenceClassification", rm.chatml(), {}, num_labels=1)
    return place


def options_for(models: Path, family: str) -> dict[str, Any]:
    return {"family": family, "reference": str(models / "reference") if family == "implicit" else ""}


@pytest.mark.parametrize("family", FAMILIES)
def test_a_family_scores_as_published(models: Path, family: str) -> None:
    critic = opened(models / family, **options_for(models, family))
    found = critic.critique(candidates())
    for steps, critique in zip(SOLUTIONS, found, strict=True):
        assert critique.unscored is None
        assert critique.step_scores == pytest.approx(REFERENCES[family](models / family, steps), abs=1e-4 / 4)
    spread = {round(critique.step_scores[0], 7) for critique in found}
    assert len(spread) == len(SOLUTIONS), "the scores must depend on the solution, or equality shows nothing"
    critic.close()


@pytest.mark.parametrize("family", FAMILIES)
def test_a_solution_is_read_once_whatever_its_steps(models: Path, family: str) -> None:
    critic = opened(models / family, **options_for(models, family))
    model: Any = critic._model
    with mock.patch.object(model, "read", wraps=model.read) as read:
        [found] = critic.critique(candidates()[2:])
    assert len(found.step_scores) == 4
    assert read.call_count == 1
    assert found.read_tokens == len(read.call_args.args[0][0])


@pytest.mark.parametrize("family", FAMILIES)
def test_a_family_keeps_the_contract(models: Path, family: str) -> None:
    options = PrmOptions(model=str(models / family), **options_for(models, family))
    assert [f"{result.name}: {result.message}" for result in run_checks(PrmCritic, options) if not result.passed] == []


def test_a_tokenizer_without_newlines_keeps_the_contract_where_none_are_read(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(rm, "TEXTS", [text.replace("\n", " ") for text in rm.TEXTS])
    folder = rm.save(tmp_path / "x", "LlamaForSequenceClassification", rm.sentence_pieces(), {}, num_labels=1)
    results = run_checks(PrmCritic, PrmOptions(model=str(folder)))
    assert [f"{result.name}: {result.message}" for result in results if not result.passed] == []


@pytest.mark.parametrize("family", ["rlhflow-prm", "rlhflow-orm", "qwen", "skywork", "trl", "sequence-classifier"])
def test_the_files_or_the_name_say_the_family(models: Path, family: str) -> None:
    assert opened(models / family).family.name == family


@pytest.mark.parametrize(
    ("name", "family"),
    [
        ("peiyi9979/math-shepherd-mistral-7b-prm", "math-shepherd"),
        ("RLHFlow/Llama3.1-8B-PRM-Deepseek-Data", "rlhflow-prm"),
        ("RLHFlow/Llama3.1-8B-ORM-Mistral-Data", "rlhflow-orm"),
        ("PRIME-RL/EurusPRM-Stage1", "implicit"),
        ("/data/transformers/Llama-3.1-8B", None),
    ],
)
def test_a_language_model_is_of_the_family_that_it_is_called_after(models: Path, name: str, family: str | None) -> None:
    source = ModelSource(name=name, folder=models / "reference")
    if family is None:
        with pytest.raises(ModelError, match=r"Nothing in the files of /data/transformers/Llama-3\.1-8B says how"):
            choose_family("auto", source)
    else:
        assert choose_family("auto", source).name == family


def test_a_folder_that_says_nothing_needs_the_option(models: Path) -> None:
    with pytest.raises(ModelError, match="pass --prm-family, one of math-shepherd, rlhflow-prm"):
        opened(models / "reference")


@pytest.mark.parametrize(
    ("folder", "family", "because"),
    [
        ("skywork", "trl", "looks like one of the family skywork: pass --prm-family skywork"),
        ("trl", "qwen", "looks like one of the family trl"),
        ("qwen", "math-shepherd", "looks like one of the family qwen"),
        ("qwen", "skywork", "is no skywork model; it looks like one of the family qwen: pass --prm-family qwen"),
        ("skywork", "qwen", "is no qwen model; it looks like one of the family skywork"),
        ("sequence-classifier", "rlhflow-orm", "looks like one of the family sequence-classifier"),
        ("implicit", "skywork", "has no weights v_head.summary.weight: its head is missing"),
        ("implicit", "qwen", "has no weights score.0.weight"),
        ("math-shepherd", "rlhflow-prm", "its tokenizer has no chat template"),
        ("rlhflow-prm", "math-shepherd", "its tokenizer merges the separator with its neighbours"),
    ],
)
def test_the_wrong_family_is_said(models: Path, folder: str, family: str, because: str) -> None:
    with pytest.raises(ModelError, match=because):
        opened(models / folder, family=family)


@pytest.mark.parametrize(("aggregation", "score"), [("last", 0.5), ("min", 0.2), ("product", 0.08), ("mean", 0.5)])
def test_aggregations(models: Path, aggregation: str, score: float) -> None:
    critic = opened(models / "trl", aggregation=aggregation, threshold=0.3)
    critique = critic.judge(candidates()[0], (0.8, 0.2, 0.5))
    assert critique.score == pytest.approx(score)
    assert critique.first_bad_step == 1
    assert critic.judge(candidates()[0], ()).unscored == "its scores are not one for each step"


def test_labels_the_other_way_round_are_read_by_their_names(models: Path, tmp_path: Path) -> None:
    names: Any = {"id2label": {0: "good", 1: "bad"}, "label2id": {"good": 0, "bad": 1}}
    swapped = rm.save(tmp_path / "swapped", "LlamaForTokenClassification", rm.chatml(), {}, num_labels=2, **names)
    usual, other = (opened(folder).critique(candidates()) for folder in (models / "trl", swapped))
    for one, two in zip(usual, other, strict=True):
        assert one.step_scores == pytest.approx([1 - score for score in two.step_scores], abs=1e-6)


def test_a_solution_that_writes_the_separator_itself(models: Path) -> None:
    texts = ("She wrote <extra_0> in it.\nThe answer is 7.", "", "3 + 4 = 7 ки\n+ and -")
    for family in ("qwen", "math-shepherd", "rlhflow-prm"):
        critic = opened(models / family, family=family)
        critiques = critic.critique([tiny.candidate(QUESTION, text, number) for number, text in enumerate(texts)])
        assert [len(critique.step_scores) for critique in critiques] == [2, 0, 2]
        assert critiques[1].score == 0.0


def test_an_identity_names_what_scores_depend_on(models: Path) -> None:
    settings: list[dict[str, Any]] = [{}, {"aggregation": "mean"}, {"threshold": 0.4}]
    identities = {opened(models / "trl", **given).identity() for given in settings}
    other = opened(models / "implicit", **options_for(models, "implicit")).identity()
    assert len(identities) == 3
    assert ":reference=sha256:" in other


def test_a_model_is_asked_for(models: Path) -> None:
    with pytest.raises(UsageError, match="pass --prm-model NAME"):
        PrmCritic().open(tiny.CPU)
    with pytest.raises(UsageError, match="pass --prm-reference NAME"):
        opened(models / "implicit", family="implicit")
    with pytest.raises(UsageError, match="vLLM serves reward models of qwen and trl, not skywork"):
        opened(models / "skywork", engine="vllm")


def test_a_classifier_of_several_labels_is_no_reward_model(tmp_path: Path) -> None:
    folder = rm.save(tmp_path / "armo", "LlamaForSequenceClassification", rm.chatml(), {}, num_labels=3)
    with pytest.raises(ModelError, match="has 3 labels; a reward model that is a sequence classifier has one"):
        opened(folder)


@pytest.mark.parametrize(("family", "mark"), [("math-shepherd", "ки"), ("skywork", r"\\n")])
def test_a_tokenizer_that_does_not_know_the_separator_is_said(
    family: str, mark: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(rm, "TEXTS", [text.replace("ки", "").replace("\n", "") for text in rm.TEXTS])
    head = {"v_head.summary.weight": (1, 32), "v_head.summary.bias": (1,)} if family == "skywork" else {}
    folder = rm.save(tmp_path / family, "LlamaForCausalLM", rm.sentence_pieces(), head)
    with pytest.raises(ModelError, match=f"as a {family} model: its tokenizer has no token for '{mark}'"):
        opened(folder)


def test_a_template_that_fails_is_said(tmp_path: Path) -> None:
    tokenizer = rm.bytes_in_pairs("{{ raise_exception('no such role') }}", "<extra_0>")
    folder = rm.save(tmp_path / "some-prm", "LlamaForCausalLM", tokenizer, {})
    with pytest.raises(ModelError, match=r"its chat template fails .*no such role"):
        opened(folder)


def test_a_template_that_changes_solutions_is_said(tmp_path: Path) -> None:
    tokenizer = rm.bytes_in_pairs(rm.CHATML.replace("message['content']", "message['content'] | upper"), "<extra_0>")
    folder = rm.save(tmp_path / "loud", "Qwen2ForCausalLM", tokenizer, rm.TWO_CLASSES, hidden_size=64)
    with pytest.raises(ModelError, match="cannot be read as a qwen model: the chat template changes the solution"):
        opened(folder, family="qwen")


def test_what_is_no_folder_of_safetensors_is_said(models: Path) -> None:
    plain = ModelSource(name="mine", folder=models / "trl")
    adapter, gguf = replace(plain, base=plain), replace(plain, gguf="mine.gguf")
    for source, kind in ((adapter, "a LoRA adapter"), (gguf, "a GGUF file")):
        with pytest.raises(ModelError, match=f"mine is {kind}.*convert it"):
            choose_family("trl", source)
