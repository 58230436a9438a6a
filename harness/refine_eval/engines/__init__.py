"""Text generation: a language model here (`transformers`) or behind a server (`server`), recorded solutions, a script.

The core's own engines register through the same entry points as anybody's. The classes load torch,
transformers and openai only when they are opened.
"""

from refine_eval.components import Engine
from refine_eval.hookspecs import hookimpl


@hookimpl
def refine_eval_engines() -> list[type[Engine]]:
    """The engine classes that come with refine-eval itself."""
    from refine_eval.engines.recorded import RecordedEngine
    from refine_eval.engines.scripted import ScriptedEngine
    from refine_eval.engines.server_engine import ServerEngine
    from refine_eval.engines.transformers_engine import TransformersEngine

    return [TransformersEngine, ServerEngine, RecordedEngine, ScriptedEngine]
