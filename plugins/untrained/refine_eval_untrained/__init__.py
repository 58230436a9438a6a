"""Critics that need no training: by continuations of the student, and by how sure a language model is."""

from collections.abc import Iterable

from refine_eval import Critic, hookimpl


@hookimpl
def refine_eval_critics() -> Iterable[type[Critic]]:
    """The critics that sample continuations, and those that read token probabilities."""
    from refine_eval_untrained.likelihood import LikelihoodCritic, SelfCertaintyCritic
    from refine_eval_untrained.rollout import OracleRolloutCritic, RolloutCritic

    return [LikelihoodCritic, OracleRolloutCritic, RolloutCritic, SelfCertaintyCritic]
