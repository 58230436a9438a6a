"""An example plugin for refine-eval: the critic `length`. Hooks only."""

from refine_eval import hookimpl


@hookimpl
def refine_eval_critics():
    """The critics of this plugin. The import is inside, so that `refine-eval --help` stays fast."""
    from refine_eval_example.critic import LengthCritic

    return [LengthCritic]
