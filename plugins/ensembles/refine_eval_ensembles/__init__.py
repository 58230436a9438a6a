"""Critics that combine other critics: the critic `ensemble`."""

from collections.abc import Iterable

from refine_eval import Critic, hookimpl


@hookimpl
def refine_eval_critics() -> Iterable[type[Critic]]:
    """The ensemble of any critics."""
    from refine_eval_ensembles.critic import EnsembleCritic

    return [EnsembleCritic]
