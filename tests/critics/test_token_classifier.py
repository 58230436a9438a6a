"""Trained critics: every step scored in one pass, with the scores that a pass of its own would give."""

import re
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import tiny_models as tiny
import torch

from refine_eval.critics.step_models import TransformersStepModel, _tokens_at_once
from refine_eval.critics.token_classifier import StepScorerOptions, TokenClassifierCritic
from refine_eval.data import Candidate, Critique
from refine_eval.errors import ModelError
from refine_eval.models.sources import resolve_model
from refine_eval.models.tokens import encode_steps, newline_token

QUESTION = "how many apples has Ann now?"


class ToyCritic(TokenClassifierCritic):
    """A critic for tests."""

    name = "toy"


def opened(folder: Path, batch_size: int | None = None, **options: Any) -> ToyCritic:
    critic = ToyCritic(StepScorerOptions(model=str(folder), **options))
    critic.open(replace(tiny.CPU, batch_size=batch_size))
    return critic


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny.critic(tmp_path_factory.mktemp("models") / "critic")


def candidates() -> list[Candidate]:
    texts = ["1+2=3\n3*4=12\n#### 12", "#### 7", "", "1-1=0\n\n  0+5=5 \n5*5=25\n25-1=24\n#### 24", "12/3=4\n#### 4"]
    return [tiny.candidate(QUESTION, text, number) for number, text in enumerate(texts)]


def scored_alone(folder: Path, candidate: Candidate) -> list[float]:
    """The score of each step by a forward pass that ends with it."""
    from transformers import AutoModelForTokenClassification

    model, tokenizer = AutoModelForTokenClassification.from_pretrained(folder), tiny.tokenizer()
    ids, scores = tokenizer.encode(f"Question: {QUESTION}\nAnswer:\n"), []
    for step in candidate.solution.steps:
        ids = [*ids, *tokenizer.encode(step), *tokenizer.encode("\n")]
        logits = model(input_ids=torch.tensor([ids])).logits[0, -1]
        scores.append((logits.softmax(-1)[1] if len(logits) == 2 else logits.sigmoid()[0]).item())
    return scores


@pytest.mark.parametrize("batch_size", [None, 1, 2])
def test_scores_equal_one_pass_per_prefix(folder: Path, batch_size: int | None) -> None:
    found = opened(folder, batch_size, threshold=0.6).critique(candidates())
    assert len(found) == 5
    for candidate, critique in zip(candidates(), found, strict=True):
        expected = scored_alone(folder, candidate)
        assert critique.step_scores == pytest.approx(expected, abs=1e-5)
        assert critique.score == (critique.step_scores[-1] if expected else 0.0)
        below = [index for index, score in enumerate(expected) if score < 0.6]
        assert critique.first_bad_step == (below[0] if below else None)
    assert {critique.first_bad_step for critique in found} - {None}


def test_a_wide_models_rows_are_read_in_smaller_passes(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    passes, read = list[int](), TransformersStepModel._pass

    def counted(model: TransformersStepModel, packs: Any, rows: Any) -> Any:
        passes.append(sum(len(pack.tokens) for pack in packs))
        return read(model, packs, rows)

    monkeypatch.setattr(TransformersStepModel, "_pass", counted)
    model = TransformersStepModel(resolve_model(str(folder)), "cpu", "float32", None)
    texts = [f"{number:03d}" * 20 for number in range(60)]  # they do not begin alike
    rows = [(tiny.tokenizer().encode(text, add_special_tokens=False), [59]) for text in texts]
    narrow = model.scores(rows)
    assert max(passes) > 2000
    passes.clear()
    monkeypatch.setattr(model.config, "hidden_size", 1024)
    model._tokens = _tokens_at_once(model.config)
    wide = model.scores(rows)
    assert max(passes) <= 1024
    assert [score for (score,) in wide] == pytest.approx([score for (score,) in narrow], abs=1e-5)


def test_one_label_is_read_as_a_logit(tmp_path: Path) -> None:
    folder = tiny.critic(tmp_path, labels=1)
    (critique,) = opened(folder).critique(candidates()[:1])
    assert critique.step_scores == pytest.approx(scored_alone(folder, candidates()[0]), abs=1e-5)


def test_solution_without_steps_scores_zero_and_empty_batch_is_empty(folder: Path) -> None:
    critic = opened(folder)
    assert critic.critique([tiny.candidate(QUESTION, " \n ")]) == [Critique(score=0.0, step_scores=())]
    assert critic.critique([]) == []
    critic.close()
    critic.close()


def test_other_numbers_of_labels_are_refused(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match="has 3 labels"):
        opened(tiny.critic(tmp_path, labels=3))


def test_language_model_is_not_taken_for_a_critic(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match=r"has no weights for score.*cannot serve as TokenClassification"):
        opened(tiny.language_model(tmp_path))


def test_positions_are_those_of_the_newlines() -> None:
    tokenizer = tiny.tokenizer()
    ids, positions = encode_steps(tokenizer, QUESTION, ["1+2=3", "#### 3"])
    assert tokenizer.decode(ids) == f"Question: {QUESTION}\nAnswer:\n1+2=3\n#### 3\n"
    assert [tokenizer.decode([ids[at]]) for at in positions] == ["\n", "\n"]
    assert positions[-1] == len(ids) - 1
    assert tokenizer.decode(ids[: positions[0]]).endswith("1+2=3")
    assert encode_steps(tokenizer, QUESTION, [])[1] == []


def test_beginning_of_text_comes_first_where_the_tokenizer_adds_it() -> None:
    from tokenizers.processors import TemplateProcessing

    tokenizer, plain = tiny.tokenizer(), encode_steps(tiny.tokenizer(), QUESTION, ["1"])
    tokenizer.bos_token = "x"
    assert encode_steps(tokenizer, QUESTION, ["1"]) == plain
    bos = tokenizer.bos_token_id
    tokenizer.backend_tokenizer.post_processor = TemplateProcessing(single="x $A", special_tokens=[("x", bos)])
    assert encode_steps(tokenizer, QUESTION, ["1"]) == ([bos, *plain[0]], [at + 1 for at in plain[1]])


@pytest.mark.parametrize("pieces", [["<", "/", ">"], []])
def test_separator_that_is_not_one_token_is_refused(tmp_path: Path, pieces: list[str]) -> None:
    from tokenizers import Regex, normalizers

    folder = tiny.critic(tmp_path)
    splitting = tiny.tokenizer()
    splitting.backend_tokenizer.normalizer = normalizers.Replace(Regex("\n"), "".join(pieces))
    splitting.save_pretrained(folder)
    with pytest.raises(ModelError, match=r"tokens for the newline that ends a step") as caught:
        opened(folder)
    assert str(folder) in str(caught.value)


def test_separator_that_is_unknown_is_refused() -> None:
    from refine_eval_benchmarks.apples_tokenizer import build_tokenizer

    with pytest.raises(ModelError, match="the model M has no tokens for the newline"):
        newline_token(build_tokenizer(["no lines"]), "the model M")


def test_solution_longer_than_the_context_is_left_unscored_and_costs_no_other(folder: Path) -> None:
    (alone,) = opened(folder).critique(candidates()[:1])
    found = opened(folder).critique([tiny.candidate(QUESTION, "1+1=2\n" * 20, 4), candidates()[0]])
    assert found[1].step_scores == pytest.approx(alone.step_scores, abs=1e-5)
    assert found[0].step_scores == (0.0,) * 20
    assert (found[0].score, found[0].first_bad_step) == (0.0, None)
    assert re.fullmatch(r"longer than the critic's context \(1\d\d tokens of 96\); use .*", str(found[0].unscored))


def test_scores_that_are_no_numbers_are_none(folder: Path) -> None:
    critic = opened(folder)
    assert isinstance(critic._model, TransformersStepModel)
    nine = tiny.tokenizer().encode("9", add_special_tokens=False)[0]
    with torch.no_grad():  # so that one text alone has none
        critic._model.model.get_input_embeddings().weight[nine] = float("nan")
    odd, even = critic.critique([tiny.candidate(QUESTION, "9+1=2", 1), tiny.candidate(QUESTION, "1+1=2", 2)])
    assert str(odd.unscored).startswith("its score is no finite number; try --dtype float32")
    assert (even.unscored, len(even.step_scores)) == (None, 1)


def test_one_solution_too_long_for_the_memory_is_left_unscored(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    critic, one_pass = opened(folder), TransformersStepModel._pass

    def scarce(self: TransformersStepModel, packs: Any, rows: Any) -> Any:
        if max(len(pack.tokens) for pack in packs) > 60:
            raise torch.OutOfMemoryError("CUDA out of memory")
        return one_pass(self, packs, rows)

    monkeypatch.setattr(TransformersStepModel, "_pass", scarce)
    found = critic.critique([*candidates(), tiny.candidate(QUESTION, "1+1=2\n" * 11, 4)])
    assert [critique.unscored is None for critique in found] == [True] * len(candidates()) + [False]
    assert str(found[-1].unscored).startswith("too long for the memory")


def test_unknown_words_are_refused_in_questions_and_scored_in_solutions(tmp_path: Path) -> None:
    critic = opened(tiny.critic(tmp_path, refine_eval_task="apples"))
    (critique,) = critic.critique([tiny.candidate(QUESTION, "zebras!\n#### 7")])
    assert len(critique.step_scores) == 2
    (critique,) = critic.critique([tiny.candidate("how many zebras?", "#### 7", 6)])
    assert critique.unscored == (
        "its model knows only the words of the bundled task 'apples' ('zebras' is none of them); pass your own with "
        "--toy-model"
    )


def test_memory_running_out_halves_the_batch(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    critic, one_pass, sizes = opened(folder), TransformersStepModel._pass, []

    def scarce(self: TransformersStepModel, packs: Any, rows: Any) -> Any:
        sizes.append(sum(len(pack.members) for pack in packs))
        if sizes[-1] > 1:
            raise torch.OutOfMemoryError("CUDA out of memory")
        return one_pass(self, packs, rows)

    expected = critic.critique(candidates())
    monkeypatch.setattr(TransformersStepModel, "_pass", scarce)
    for found, whole in zip(critic.critique(candidates()), expected, strict=True):
        assert found.step_scores == pytest.approx(whole.step_scores, abs=1e-5)
    assert sizes == [4, 2, 1, 1, 1, 1]


def test_identity_is_of_content_and_threshold(folder: Path, tmp_path: Path) -> None:
    first = opened(folder).identity()
    assert first == opened(folder, 1).identity()
    assert first != opened(folder, threshold=0.4).identity()
    assert first != opened(tiny.critic(tmp_path, labels=1)).identity()


@pytest.mark.parametrize("name", ["orm", "sorm"])
def test_bundled_critics(name: str) -> None:
    import importlib

    plugin = importlib.import_module(f"refine_eval_{name}")
    (critic,) = plugin.refine_eval_critics()
    assert critic.name == name
    assert critic.bundled.name == name
    if not (critic.bundled / "config.json").is_file():
        pytest.skip(f"the bundled model of {name} is not there")
    instance = critic()
    instance.open(tiny.CPU)
    from refine_eval_benchmarks.apples import generate

    row = generate("test", 1)[0]
    (critique,) = instance.critique([tiny.candidate(row["question"], row["answer"])])
    assert len(critique.step_scores) == len(row["answer"].splitlines())
    instance.close()
