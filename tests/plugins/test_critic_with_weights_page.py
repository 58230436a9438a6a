"""The tutorial "A critic with weights": its code makes critics that keep the contract."""

import importlib
import re
from pathlib import Path
from typing import Any

import pytest
import tiny_models as tiny

from refine_eval.testing import component_checks, toy_candidates

PAGE = Path(__file__).parents[2] / "docs" / "guides" / "critic-with-weights.md"


@pytest.fixture(scope="module")
def tutorial(tmp_path_factory: pytest.TempPathFactory) -> Any:
    """The page's code as a module, with a model beside it."""
    folder = tmp_path_factory.mktemp("tutorial")
    blocks = re.findall(r"^```python\n(.*?)^```$", PAGE.read_text("utf-8"), re.MULTILINE | re.DOTALL)
    (folder / "tutorial_of_weights.py").write_text("\n\n".join(blocks))
    tiny.critic(folder / "model", max_position_embeddings=2048)
    tiny.language_model(folder / "language-model")
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(str(folder))
        yield importlib.import_module("tutorial_of_weights")


def test_the_first_critic_takes_ten_lines() -> None:
    block = re.findall(r"^```python\n(.*?)^```$", PAGE.read_text("utf-8"), re.MULTILINE | re.DOTALL)[0]
    assert len([line for line in block.splitlines() if line.strip()]) <= 10


def test_a_token_classifier_keeps_the_contract(tutorial: Any) -> None:
    for check in component_checks(tutorial.MyPrm):
        check()


def test_another_head_scores_by_its_own_tokens(tutorial: Any) -> None:
    import torch
    from transformers import AutoModelForCausalLM, AutoTokenizer

    from refine_eval.models.tokens import encode_steps

    folder = Path(tutorial.__file__).parent / "language-model"
    critic = tutorial.YesOrNoCritic(tutorial.YesOrNoCritic.Options(model=str(folder)))
    critic.open(tiny.CPU)
    [candidate] = toy_candidates(1)
    [found] = critic.critique([candidate])
    critic.close()
    tokenizer = AutoTokenizer.from_pretrained(folder)
    ids, ends = encode_steps(tokenizer, candidate.problem.question, candidate.solution.steps)
    with torch.no_grad():
        logits = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32)(torch.tensor([ids])).logits[0, ends]
    signs = [tokenizer.convert_tokens_to_ids(sign) for sign in "+-"]
    assert found.step_scores == pytest.approx(logits[:, signs].softmax(-1)[:, 0].tolist(), abs=1e-5)
    assert found.score == found.step_scores[-1]
