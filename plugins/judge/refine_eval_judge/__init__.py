"""Prompted language models as critics: the critic `judge`."""

from collections.abc import Iterable

from refine_eval import Critic, hookimpl


@hookimpl
def refine_eval_critics() -> Iterable[type[Critic]]:
    """The critic `judge`."""
    from refine_eval_judge.critic import JudgeCritic

    return [JudgeCritic]
