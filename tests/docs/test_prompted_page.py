"""The page on prompted refiners is true: its refiner keeps the contract, and its prompt is one."""

import importlib
import re
from pathlib import Path

import pytest

from refine_eval.plugin.templates import PromptTemplate
from refine_eval.testing import run_checks
from refine_eval_refiners.prompts import GROUP_NAMES, REWRITES
from refine_eval_refiners.rewrite_refiner import NAMES

PAGE = Path(__file__).resolve().parents[2] / "docs" / "guides" / "prompted-refiner.md"
TEXT = PAGE.read_text("utf-8")
[REFINER], [PROMPT] = (re.findall(rf"^```{kind}\n(.*?)^```$", TEXT, re.M | re.S) for kind in ("python", "jinja"))


def test_its_refiner_keeps_the_contract(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "check_answer_page.py").write_text(REFINER)
    monkeypatch.syspath_prepend(tmp_path)
    component = importlib.import_module("check_answer_page").CheckAnswerRefiner
    assert [(result.name, result.message) for result in run_checks(component) if not result.passed] == []


def test_its_prompt_can_be_used(tmp_path: Path) -> None:
    (tmp_path / "mine.j2").write_text(PROMPT)
    found = PromptTemplate(str(tmp_path / "mine.j2"), REWRITES, NAMES, "--rewrite-prompt")
    text = found.render(question="q", task="t", draft="d", steps=("a", "b"), first_bad=2, feedback=None)
    assert "Look at step 2 again: b" in text


def test_it_names_all_that_prompts_are_given() -> None:
    table = TEXT[TEXT.index("| name | what it is |") : TEXT.index("## Go on")]
    assert set(re.findall(r"`([a-z_]+)`", "".join(re.findall(r"^\| ([^|]*) \|", table, re.M)))) == {
        *NAMES,
        *GROUP_NAMES,
    }
