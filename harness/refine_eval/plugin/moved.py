"""Where the modules that plugins used to import are now: for one sentence to a plugin's author."""

import re

_PUBLIC = "from refine_eval import Critic, hookimpl"

MOVED = {
    "refine_eval.benchmark": "from refine_eval import Benchmark",
    "refine_eval.calculator": "from refine_eval_refiners.equations import find_equations",
    "refine_eval.components": _PUBLIC,
    "refine_eval.hookspecs": _PUBLIC,
    "refine_eval.model_sources": "from refine_eval import model_identity, resolve_model",
    "refine_eval.models": "from refine_eval import model_identity, resolve_model",
    "refine_eval.options": "from refine_eval import option",
    "refine_eval.step_scorer": "from refine_eval import TokenClassifierCritic",
    "refine_eval.training.batches": "from refine_eval.training import completion_example, critic_example",
    "refine_eval.training.collect": "from refine_eval.training import check_outcomes",
    "refine_eval.training.folder": "from refine_eval import TrainingData",
    "refine_eval.training.labels": "from refine_eval.training import balance, outcome_labels",
    "refine_eval.training.tokenizer": "from refine_eval_benchmarks.apples_tokenizer import build_tokenizer",
}
"""What plugins imported, and the statement that takes its place."""


def moved_import(error: BaseException) -> str | None:
    """The end of the sentence "The plugin ..." where it imports what the harness has no more; None: another error."""
    module = getattr(error, "name", None)
    if not isinstance(error, ImportError) or not isinstance(module, str):
        return None
    if module == "refine_eval" and (name := re.match(r"cannot import name '(\w+)'", str(error))):
        module = f"refine_eval.{name[1]}"
    if not module.startswith("refine_eval."):
        return None
    if module in MOVED:
        return f"imports {module}, which has moved; write: {MOVED[module]}"
    return f"imports {module}, or a name from it, which does not exist; plugins import like this: {_PUBLIC}"
