"""The outcome reward model of GLoRe as a plugin: the critic `orm`."""

from collections.abc import Iterable

from refine_eval import Critic, Trainer, hookimpl


@hookimpl
def refine_eval_critics() -> Iterable[type[Critic]]:
    """The critic `orm`."""
    from refine_eval_orm.critic import OrmCritic

    return [OrmCritic]


@hookimpl
def refine_eval_trainers() -> list[type[Trainer]]:
    """The trainers of the ORM and the balanced ORM."""
    from refine_eval_orm.trainers import BalancedOrmTrainer, OrmTrainer

    return [OrmTrainer, BalancedOrmTrainer]
