"""Public process and outcome reward models as a plugin: the critic `prm`."""

from collections.abc import Iterable

from refine_eval import Critic, hookimpl


@hookimpl
def refine_eval_critics() -> Iterable[type[Critic]]:
    """The critic `prm`."""
    from refine_eval_prm.critic import PrmCritic

    return [PrmCritic]
