"""How lm-eval is asked for prompts and texts: its gen_kwargs, and messages of every split."""

from pathlib import Path
from typing import Any

import pytest
from made_tasks import NUMBER, made_task

from refine_eval.data import Message, Sampling
from refine_eval.errors import UsageError
from refine_eval.tasks.prompting import Prompting, written_as

TRAIN = [{"question": f"What is {n}?", "answer": str(n)} for n in range(10, 14)]


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("", {}),
        ("temperature=0.7,top_p=0.9", {"temperature": 0.7, "top_p": 0.9}),
        ('until=["a,b", "\\n\\n"],max_gen_toks=40', {"until": ["a,b", "\n\n"], "max_gen_toks": 40}),
        ("until=['x', 'y'] , do_sample=True", {"until": ["x", "y"], "do_sample": True}),
        ("do_sample=false,until=Question:", {"do_sample": False, "until": "Question:"}),
        ('{"max_new_tokens": 9, "until": "x"}', {"max_gen_toks": 9, "until": "x"}),
    ],
)
def test_gen_kwargs_are_spelt_as_lm_evals(text: str, found: dict[str, Any]) -> None:
    assert written_as(text) == found


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("temprature=1", "has no 'temprature'. Did you mean 'temperature'?"),
        ("top_k=5", "It takes max_gen_toks, temperature, top_p, do_sample and until."),
        ("temperature", "is name=value,name=value or a JSON object, not 'temperature'"),
        ("top_p=1,top_p=0.5", "is name=value,name=value"),
        ("{nonsense", "or a JSON object"),
        ("temperature=-1", "temperature in --gen-kwargs must be a number from 0 to 100"),
        ("temperature=hot", "temperature in --gen-kwargs must be"),
        ("top_p=0", "top_p in --gen-kwargs must be a number above 0"),
        ("max_gen_toks=0", "max_gen_toks in --gen-kwargs must be a whole number of at least 1"),
        ("max_gen_toks=2.5", "max_gen_toks in --gen-kwargs must be"),
        ("until=5", "until in --gen-kwargs must be a text or a list of texts"),
        ('{"until": ["\\ud800"]}', "until in --gen-kwargs must be a text or a list of texts"),
        ("max_tokens=" + "9" * 30, "max_gen_toks in --gen-kwargs must be a whole number"),
        ("do_sample=maybe", "do_sample in --gen-kwargs must be true or false"),
        ("until=" + "[" * 5000, "until in --gen-kwargs"),
    ],
    ids=lambda value: value[:20],
)
def test_what_gen_kwargs_do_not_take_is_said_in_one_sentence(text: str, said: str) -> None:
    if said == "until in --gen-kwargs":
        assert isinstance(written_as(text)["until"], str), "what is no list is a text"
        return
    with pytest.raises(UsageError) as raised:
        written_as(text)
    assert said in str(raised.value)


@pytest.mark.parametrize(
    ("given", "sampling"),
    [
        (None, Sampling(max_tokens=256, stop=("\n\n",))),
        ("max_gen_toks=40,until=x", Sampling(max_tokens=40, stop=("x",))),
        ("temperature=0.7,do_sample=true", Sampling(max_tokens=256, stop=("\n\n",), temperature=0.7)),
        ("temperature=0.7", Sampling(max_tokens=256, stop=("\n\n",))),  # the task says do_sample: false
        ("top_p=0.9,temperature=1,do_sample=true", Sampling(max_tokens=256, stop=("\n\n",), temperature=1, top_p=0.9)),
    ],
)
def test_drafts_are_drawn_as_gen_kwargs_say(tmp_path: Path, given: str | None, sampling: Sampling) -> None:
    task = made_task(tmp_path, splits={"train": TRAIN}, gen_kwargs=given)
    (problem,) = task.questions("test", 1)
    assert task.sampling(problem) == sampling


@pytest.mark.parametrize(
    ("given", "told"), [("temperature=0.7", True), ("temperature=0.7,do_sample=true", False), ("top_p=0.9", False)]
)
def test_a_temperature_that_draws_nothing_is_told_of(tmp_path: Path, given: str, told: bool) -> None:
    notes: list[str] = []
    made_task(tmp_path, gen_kwargs=given, note=notes.append)
    said = "drafts are greedy in spite of temperature=0.7 in --gen-kwargs, as the task says do_sample: false"
    assert any(said in note for note in notes) is told


def test_the_option_for_length_goes_before_gen_kwargs(tmp_path: Path) -> None:
    task = made_task(tmp_path, gen_kwargs="max_gen_toks=40", max_gen_toks=7)
    assert task.sampling(task.questions("test", 1)[0]).max_tokens == 7


@pytest.mark.parametrize("turns", [True, False])
def test_messages_of_a_split_are_few_shot_turns_or_one_turn(tmp_path: Path, turns: bool) -> None:
    yaml = "training_split: train\nfewshot_split: train\nfewshot_config: {sampler: first_n}\ngen_prefix: So"
    prompting = Prompting.of(messages=True, system_instruction="Think.", fewshot_as_multiturn=turns)
    task = made_task(tmp_path, NUMBER + yaml, splits={"train": TRAIN}, num_fewshot=2, prompting=prompting)
    (problem,) = task.questions("test", 1)
    roles = [message.role for message in problem.prompt if isinstance(message, Message)]
    assert roles == ["system", *(["user", "assistant"] * 2 if turns else []), "user", "assistant"]
    assert problem.prompt[0] == Message(role="system", content="Think.")
    assert problem.prompt[-1] == Message(role="assistant", content="So")


def test_turns_need_messages() -> None:
    with pytest.raises(UsageError, match="add --apply-chat-template"):
        Prompting.of(messages=False, system_instruction=None, fewshot_as_multiturn=True)
