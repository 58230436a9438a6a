"""The stepwise outcome reward model of GLoRe as a plugin: the critic `sorm`."""

from collections.abc import Iterable

from refine_eval import Critic, Trainer, hookimpl


@hookimpl
def refine_eval_critics() -> Iterable[type[Critic]]:
    """The critic `sorm`."""
    from refine_eval_sorm.critic import SormCritic

    return [SormCritic]


@hookimpl
def refine_eval_trainers() -> list[type[Trainer]]:
    """The trainer of the SORM."""
    from refine_eval_sorm.trainers import SormTrainer

    return [SormTrainer]
