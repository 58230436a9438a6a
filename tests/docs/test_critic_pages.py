"""The pages on judges, reward models and untrained critics are true: all presets, families and critics are there."""

import re
from pathlib import Path

from refine_eval.plugin.templates import PromptTemplate
from refine_eval_judge.presets import NAMES, PRESETS
from refine_eval_prm.families import FAMILIES
from refine_eval_untrained import refine_eval_critics

GUIDES = Path(__file__).resolve().parents[2] / "docs" / "guides"
JUDGE, REWARD_MODELS, UNTRAINED = (
    (GUIDES / f"{name}.md").read_text("utf-8") for name in ("judge", "reward-models", "untrained-critics")
)


def first_cells(page: str) -> list[str]:
    """What stands in code in the first cells of a page's tables."""
    return re.findall(r"^\| `([^`|]+)` \|", page, re.MULTILINE)


def test_the_judges_prompts_are_all_there_and_the_users_own_can_be_used(tmp_path: Path) -> None:
    _, *prompts = first_cells(JUDGE)  # the first is the table's head
    assert sorted(prompts) == sorted(PRESETS)
    own = JUDGE[JUDGE.index("## A prompt of your own") :]
    assert [name for name in NAMES if f"`{name}`" not in own] == []
    [prompt] = re.findall(r"^```\n(.*?)^```$", own, re.MULTILINE | re.DOTALL)
    (tmp_path / "mine.j2").write_text(prompt)
    found = PromptTemplate(str(tmp_path / "mine.j2"), PRESETS, NAMES, "--judge-prompt")
    values = {"question": "Why?", "candidate": "a\nb", "answer": "", "others": [], "index": 0, "step": ""}
    assert "\n2. b\n" in found.render(**values, steps=["a", "b"])


def test_every_family_of_reward_models_is_in_the_table() -> None:
    assert first_cells(REWARD_MODELS) == list(FAMILIES)


def test_every_untrained_critic_is_named() -> None:
    names = {critic.name for critic in refine_eval_critics()}
    assert [name for name in names if f"`{name}`" not in UNTRAINED] == []
    table = UNTRAINED[: UNTRAINED.index("`oracle-rollout`")]
    assert table.startswith("# Critics without training\n\nFive critics")
    assert len(first_cells(table)) == 5
