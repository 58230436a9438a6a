"""Who asked for which texts, and what critics cost."""

from refine_eval.data import Generation, Problem, Request, Sampling
from refine_eval.plugin.components import Component, Critic, Refiner
from refine_eval.runs.usage import Usage

PROBLEM = Problem(id="toy/1", task="toy", question="q", prompt="p")


class AgreeingCritic(Critic):
    """Has the refiner's name."""

    name = "agree"


class AgreeingRefiner(Refiner):
    """Has the critic's name."""

    name = "agree"


def add(usage: Usage, component: Component, key: bytes, tokens: int, stage: str = "sample") -> None:
    request = Request(problem=PROBLEM, prompt="p", sampling=Sampling(max_tokens=9), purpose=stage, sample=0, seed=0)
    usage.add(component, request, key, Generation(text="t" * tokens, tokens=tokens, finish_reason="stop"))


def test_a_critic_pays_for_its_own_texts_and_not_for_candidates() -> None:
    usage, critic, refiner = Usage(), AgreeingCritic(), AgreeingRefiner()
    add(usage, critic, b"shared", 3)
    add(usage, refiner, b"shared", 3)
    add(usage, critic, b"its own", 5)
    add(usage, refiner, b"a candidate", 7)
    assert usage.critic_tokens("toy/1", [critic]) == 5, "a refiner of the same name is another component"
    assert usage.critic_tokens("toy/2", [critic]) == 0


def test_a_text_counts_once_in_its_stage_whoever_asks() -> None:
    usage = Usage()
    for component in (AgreeingCritic(), AgreeingRefiner()):
        add(usage, component, b"key", 4)
    add(usage, AgreeingRefiner(), b"key", 4, stage="local")
    assert {stage: list(texts) for stage, texts in usage.requested.items()} == {"sample": [b"key"], "local": [b"key"]}
    assert (usage.requested["sample"][b"key"].tokens, usage.requested["sample"][b"key"].prompt_characters) == (4, 1)


def test_seconds_of_critics_add_up() -> None:
    usage = Usage()
    usage.add_critic_seconds("toy/1", 0.5)
    usage.add_critic_seconds("toy/1", 0.25)
    assert (usage.critic_seconds("toy/1"), usage.critic_seconds("toy/2")) == (0.75, 0.0)
