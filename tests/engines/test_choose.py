"""How likely choices are to come next: as the model itself says, read once, stored, bounded where a server cuts."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import tiny_models as tiny
from small_run import PROBLEMS, PlainEngine, SmallRun
from stub_server import Reply, StubServer, chat_completion, completion, error, opened

from refine_eval.data import Generation, Message, Request
from refine_eval.engines.replicas.engine import ReplicatedEngine
from refine_eval.engines.replicas.worker import Worker
from refine_eval.engines.transformers_engine import TransformersEngine, TransformersOptions
from refine_eval.errors import GenerationError, PluginError, UsageError
from refine_eval.models.choices import ChoicePlan
from refine_eval.plugin.components import Critic
from refine_eval.plugin.contract import read_generations

PROMPT = "Question: how many apples has Ann now?\nAnswer:\n"


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny.language_model(tmp_path_factory.mktemp("model"))


@pytest.fixture(scope="module")
def engine(model: Path) -> Iterator[TransformersEngine]:
    made = TransformersEngine(TransformersOptions(pretrained=str(model)))
    made.open(tiny.CPU)
    yield made
    made.close()


def asked(prompt: Any, *choices: str) -> Request:
    return replace(tiny.request(PROMPT, max_tokens=1), prompt=prompt, choices=choices)


def chosen(engine: Any, requests: Sequence[Request]) -> list[Generation]:
    found = dict(read_generations(engine, requests))
    return [found[index] for index in range(len(requests))]


def direct(model: Path, prompt: str, choice: str) -> float:
    """The sum of its tokens' logarithms, by transformers alone."""
    import torch
    from transformers import AutoModelForCausalLM, AutoTokenizer

    tokenizer, plain = AutoTokenizer.from_pretrained(model), AutoModelForCausalLM.from_pretrained(model)
    ids, tail = (tokenizer(text, add_special_tokens=False).input_ids for text in (prompt, choice))
    with torch.no_grad():
        logprobs = plain(torch.tensor([ids + tail])).logits[0].log_softmax(-1)
    return sum(float(logprobs[len(ids) - 1 + at, token]) for at, token in enumerate(tail))


def test_log_probabilities_are_the_models_own(engine: TransformersEngine, model: Path) -> None:
    (found,) = chosen(engine, [asked(PROMPT, "1", "2", "12", "ab", "+3")])
    expected = [direct(model, PROMPT, choice) for choice in ("1", "2", "12", "ab", "+3")]
    expected[0] = math.log(math.exp(expected[0]) - math.exp(expected[2]))  # without what goes on to be "12"
    assert found.logprobs == pytest.approx(expected, abs=1e-4)
    assert (found.text, found.tokens) == ("", 0)


def test_a_choice_takes_one_reading_and_prompts_that_begin_alike_one_together(engine: TransformersEngine) -> None:
    before = engine._decoder.prompt_tokens_read
    (alone,) = chosen(engine, [asked(PROMPT, "1", "2", "x")])
    assert engine._decoder.prompt_tokens_read - before == alone.prompt_tokens == alone.read_tokens
    longer = [PROMPT + "1+1=2 x\n" * n for n in range(4)]
    before = engine._decoder.prompt_tokens_read
    found = chosen(engine, [asked(prompt, "1", "2", "x") for prompt in longer])
    read = engine._decoder.prompt_tokens_read - before
    assert read == found[-1].prompt_tokens == sum(each.read_tokens or 0 for each in found)
    assert found[0].logprobs == pytest.approx(alone.logprobs, abs=1e-5)


def test_what_cannot_be_read_says_why(engine: TransformersEngine) -> None:
    long, good = chosen(engine, [asked("x " * 200, "1"), asked(PROMPT, "1")])
    assert str(long.unwritten).startswith("prompt longer than the model's context")
    assert good.logprobs is not None


def test_choices_that_begin_others_go_without_them() -> None:
    plan = ChoicePlan([9], ((1,), (1, 0), (1, 0, 0), (2,)))
    assert plan.places == [((), (1, 2)), ((1,), (0,)), ((1, 0), (0,))]
    told = plan.logprobs([[math.log(0.6), math.log(0.3)], [math.log(0.5)], [math.log(0.5)]])
    assert [math.exp(each) for each in told] == pytest.approx([0.3, 0.15, 0.15, 0.3])


# In a run.


class Chooser(PlainEngine):
    """Is sure of the first choice, and counts what it is asked."""

    can_choose = True
    asked = 0

    def choose(self, requests: Sequence[Request]) -> Iterator[tuple[int, Generation]]:
        for index, request in enumerate(requests):
            type(self).asked += 1
            logprobs = [-0.5, *[-3.0] * (len(request.choices) - 1)]
            yield index, Generation.of_choices(logprobs, prompt_tokens=7, cached_tokens=3)


class Asks(Critic):
    """Looks how likely "Yes" is."""

    name = "asks"
    choices: Sequence[Any] = ("Yes", "No")

    def critique(self, batch: Any) -> Any:
        from refine_eval.data import Critique

        problems = [candidate.problem for candidate in batch]
        prompts = [f"{c.problem.id} {c.solution.text} right?" for c in batch]
        found = self.runtime.choose(problems, prompts, self.choices, purpose="asks")
        self.found = found
        scores = [math.exp((each.logprobs or (0.0,))[0] or 0.0) for each in found]
        return [Critique(score=s, step_scores=(s,) * len(c.solution.steps)) for s, c in zip(scores, batch, strict=True)]


def test_a_run_stores_choices_and_counts_what_was_read(tmp_path: Path) -> None:
    first = SmallRun(tmp_path, Chooser(), Asks())
    traces = first.traces()
    assert Chooser.asked == 2 * len(PROBLEMS)
    assert traces[0].critiques["draft"]["when"].score == pytest.approx(math.exp(-0.5))
    assert (traces[0].critic_tokens, traces[0].critic_read_tokens) == (0, 8), "two candidates, 7 - 3 tokens each"
    stages = [each.stage for each in first.runtime.usage.cut_off()]
    assert stages == ["draft", "sample"], "choices are no texts, which a limit could cut off"

    class Again(Asks):
        """Is not stored itself, so it asks again."""

        stored = False

    again = SmallRun(tmp_path, Chooser(), Again())
    assert again.traces() == traces
    assert Chooser.asked == 2 * len(PROBLEMS), "the store knew"
    other = Again()
    other.choices = ("Yes", "No", "Perhaps")
    SmallRun(tmp_path, Chooser(), other).traces()
    assert Chooser.asked == 4 * len(PROBLEMS), "other choices are another question"


def test_an_engine_that_does_not_say_is_one_sentence(tmp_path: Path) -> None:
    with pytest.raises(
        UsageError, match=r"^Engine 'plain-engine' does not say how likely next tokens are, which 'asks'"
    ):
        SmallRun(tmp_path, Asks()).traces()


@pytest.mark.parametrize("choices", [(), ("Yes", ""), ("Yes", 3)], ids=["none", "empty", "number"])
def test_what_are_no_choices(choices: Any, tmp_path: Path) -> None:
    critic = Asks()
    critic.choices = choices
    with pytest.raises(PluginError, match="must name texts as choices"):
        SmallRun(tmp_path, Chooser(), critic).traces()


@pytest.mark.parametrize(
    "given",
    [
        Generation(text="Yes", tokens=1, finish_reason="stop"),
        Generation.of_choices([-0.5]),
        Generation.of_choices([-0.5, float("nan")]),
        Generation.of_choices([-0.5, 0.5]),
        Generation.of_choices([-0.5, None]),
        Generation.of_choices(["-0.5", -1.0]),  # type: ignore[list-item]
    ],
    ids=["a text", "too few", "no number", "more than sure", "no bound", "texts"],
)
def test_what_are_no_log_probabilities(given: Generation) -> None:
    class Wrong(Chooser):
        def choose(self, requests: Sequence[Request]) -> Iterator[tuple[int, Generation]]:
            yield 0, given

    with pytest.raises(PluginError, match=r"for 2 choices; it must be Generation\.of_choices") as raised:
        list(read_generations(Wrong(), [asked(PROMPT, "Yes", "No")]))
    assert "\n" not in str(raised.value)


def test_replicas_pass_it_on() -> None:
    worker = object.__new__(Worker)
    from refine_eval.engines.replicas.worker import Model

    model = Model(name=None, option_name="")
    worker._opened = {model.key: Chooser()}
    ((_, found),) = worker.work(model, [asked(PROMPT, "Yes", "No")])
    assert found.logprobs == (-0.5, -3.0)
    assert [text.text for _, text in worker.work(model, [tiny.request(PROMPT, 0)])], "and still writes"
    assert ReplicatedEngine(Chooser()).can_choose
    assert not ReplicatedEngine(PlainEngine()).can_choose


# Servers.

TOP = {" Yes": -0.4, " No": -1.5, " The": -3.0, "\n": -5.0, " I": -6.0}


def answered(body: dict[str, Any], number: int = 0) -> Reply:
    content = completion(" Yes", tokens=1, reason="length")
    content["choices"][0]["logprobs"] = {"tokens": [" Yes"], "top_logprobs": [TOP]}
    return Reply(body=content)


def chatted(body: dict[str, Any], number: int = 0) -> Reply:
    content = chat_completion("Yes", tokens=1, reason="length")
    top = [{"token": token.strip() or token, "logprob": logprob, "bytes": None} for token, logprob in TOP.items()]
    content["choices"][0]["logprobs"] = {"content": [{"token": "Yes", "logprob": -0.4, "top_logprobs": top}]}
    return Reply(body=content)


def test_a_server_tells_its_likeliest_tokens() -> None:
    with StubServer(answered, chat=chatted) as server, opened(server) as engine:
        (plain,) = chosen(engine, [asked(PROMPT, " Yes", " No")])
        messages = (Message(role="user", content="Is it right?"),)
        (chat,) = chosen(engine, [asked(messages, "Yes", "No")])
    assert plain.logprobs == chat.logprobs == (-0.4, -1.5)
    assert plain.logprob_bound is chat.logprob_bound is None
    assert (plain.prompt_tokens, plain.tokens) == (5, 0)
    sent, said = server.requests[0], server.chats[0]
    assert (sent["max_tokens"], sent["temperature"], sent["logprobs"]) == (1, 0.0, 5)
    assert (said["logprobs"], said["top_logprobs"]) == (True, 20)


@pytest.mark.parametrize(
    ("choices", "logprobs", "bound"),
    [
        ((" Yes", " Perhaps"), (-0.4, None), -6.0),
        ((" Good", " Bad"), (None, None), -6.0),
        ((" Yes", " Thessaloniki"), (-0.4, None), -3.0),
    ],
    ids=["one is missing", "both are", "one may go on from a token"],
)
def test_what_a_server_cuts_off_is_bounded_and_not_guessed(
    choices: tuple[str, ...], logprobs: tuple[float | None, ...], bound: float
) -> None:
    with StubServer(answered) as server, opened(server) as engine:
        (found,) = chosen(engine, [asked(PROMPT, *choices)])
    assert (found.logprobs, found.logprob_bound) == (logprobs, bound)


@pytest.mark.parametrize(
    "told", [None, {}, {"top_logprobs": [None]}, {"top_logprobs": [{" Yes": "high"}]}, [1]], ids=str
)
def test_a_server_without_log_probabilities_is_one_sentence(told: Any) -> None:
    def without(body: dict[str, Any], number: int) -> Reply:
        content = completion(" Yes", tokens=1)
        content["choices"][0]["logprobs"] = told
        return Reply(body=content)

    with (
        StubServer(without) as server,
        opened(server) as engine,
        pytest.raises(GenerationError, match="does not say how likely its tokens are; have it written") as raised,
    ):
        chosen(engine, [asked(PROMPT, " Yes", " No")])
    assert "\n" not in str(raised.value)


def test_a_server_that_refuses_them_is_one_sentence() -> None:
    with (
        StubServer(lambda body, n: error(400, "logprobs are not supported")) as server,
        opened(server) as engine,
        pytest.raises(GenerationError, match="logprobs are not supported"),
    ):
        chosen(engine, [asked(PROMPT, " Yes", " No")])
