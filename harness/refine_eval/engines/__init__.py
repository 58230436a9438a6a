"""Who writes? Engines: models here, behind a server or of any class of lm-eval, recorded texts, and replicas of them.

The core's own engines register through the same entry points as anybody's. The classes load torch, transformers,
vllm and aiohttp only when they are opened.
"""

from refine_eval.plugin.components import Engine
from refine_eval.plugin.hookspecs import hookimpl


@hookimpl
def refine_eval_engines() -> list[type[Engine]]:
    """The engine classes that come with refine-eval itself."""
    from refine_eval.engines.lm_eval_engine import LmEvalEngine
    from refine_eval.engines.recorded import RecordedEngine
    from refine_eval.engines.scripted import ScriptedEngine
    from refine_eval.engines.server_engine import ServerEngine
    from refine_eval.engines.transformers_engine import TransformersEngine
    from refine_eval.engines.vllm_engine import VllmEngine

    return [TransformersEngine, VllmEngine, ServerEngine, LmEvalEngine, RecordedEngine, ScriptedEngine]
