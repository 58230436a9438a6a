"""Where do the models come from? Trains students, critics and refiners; what trainers of plugins need for examples.

The names below are imported when they are first used: they need torch and transformers, which `refine-eval --help` must
not load.
"""

from typing import TYPE_CHECKING

from refine_eval.lazy import lazily

_HOMES = {
    "refine_eval.stages.rollouts": ("naive_labels", "rollout_labels"),
    "refine_eval.stages.rows": ("check_outcomes",),
    "refine_eval.stages.rules": ("balance", "monotone", "outcome_labels", "results_used"),
    "refine_eval.training.examples": (
        "Batch",
        "collate",
        "completion_example",
        "critic_example",
        "lines_example",
        "text_example",
    ),
    "refine_eval.training.fit": ("load_for_training", "token_loss"),
}
"""Where each public name comes from."""

__all__ = sorted(name for names in _HOMES.values() for name in names)

if TYPE_CHECKING:  # the same once more, for those who read this file without running it
    from refine_eval.stages.rollouts import naive_labels as naive_labels
    from refine_eval.stages.rollouts import rollout_labels as rollout_labels
    from refine_eval.stages.rows import check_outcomes as check_outcomes
    from refine_eval.stages.rules import balance as balance
    from refine_eval.stages.rules import monotone as monotone
    from refine_eval.stages.rules import outcome_labels as outcome_labels
    from refine_eval.stages.rules import results_used as results_used
    from refine_eval.training.examples import Batch as Batch
    from refine_eval.training.examples import collate as collate
    from refine_eval.training.examples import completion_example as completion_example
    from refine_eval.training.examples import critic_example as critic_example
    from refine_eval.training.examples import lines_example as lines_example
    from refine_eval.training.examples import text_example as text_example
    from refine_eval.training.fit import load_for_training as load_for_training
    from refine_eval.training.fit import token_loss as token_loss
else:
    __getattr__, __dir__ = lazily(__name__, _HOMES)
