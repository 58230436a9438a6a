"""Where the modules that plugins used to import are now: for one sentence to a plugin's author."""

_PUBLIC = "from refine_eval import Critic, hookimpl"

MOVED = {
    "refine_eval.adapters": "from refine_eval.models import adapters",
    "refine_eval.benchmark": "from refine_eval import Benchmark",
    "refine_eval.components": _PUBLIC,
    "refine_eval.contract": "from refine_eval.plugin import contract",
    "refine_eval.engines.prompts": "from refine_eval.models import tokens",
    "refine_eval.engines.vllm_llm": "from refine_eval.models import vllm_llm",
    "refine_eval.hookspecs": _PUBLIC,
    "refine_eval.model_sources": "from refine_eval.models import sources",
    "refine_eval.models": "from refine_eval.models import loading",
    "refine_eval.options": "from refine_eval.plugin import options",
    "refine_eval.plugins": "from refine_eval.plugin import registry",
    "refine_eval.progress": "from refine_eval import terminal",
    "refine_eval.step_scorer": "from refine_eval import TokenClassifierCritic",
    "refine_eval.training.batches": "from refine_eval.training import examples",
    "refine_eval.training.labels": "from refine_eval.stages import rules",
}


def moved_import(error: BaseException) -> str | None:
    """The end of the sentence "The plugin ..." where it imports what the harness has no more; None: another error."""
    module = getattr(error, "name", None)
    if not isinstance(error, ImportError) or not isinstance(module, str) or not module.startswith("refine_eval."):
        return None
    if module in MOVED:
        return f"imports {module}, which has moved; write: {MOVED[module]}"
    return f"imports {module}, or a name from it, which does not exist; plugins import like this: {_PUBLIC}"
