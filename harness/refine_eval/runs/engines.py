"""Engines for other models than the student's: of its kind where that takes models, or as a component says."""

from __future__ import annotations

from refine_eval.data import EngineSpec
from refine_eval.errors import UsageError
from refine_eval.models.cards import named_template
from refine_eval.plugin.boundary import for_model
from refine_eval.plugin.components import Component, Engine
from refine_eval.plugin.options import made
from refine_eval.plugin.registry import Registry


def engine_for(model: str | EngineSpec, student: Engine, registry: Registry, wanted_by: Component) -> Engine:
    """An engine for a component's own model, not open yet; UsageError where that takes no model by name."""
    if isinstance(model, EngineSpec):
        return _engine_as(model, registry, wanted_by)
    engine = for_model(student, model)
    if engine is None:
        kind = registry.component("engine", "transformers")
        assert issubclass(kind, Engine)
        engine = kind(kind.Options(pretrained=model))
    engine.option_name = f"--{wanted_by.name}-model"
    engine.chat = named_template(model) or engine.chat
    return engine


def _engine_as(spec: EngineSpec, registry: Registry, wanted_by: Component) -> Engine:
    kind, arguments = registry.named_component(Engine, spec.engine), dict(spec.arguments)
    engine: Engine | None = made(kind, arguments)
    if engine is not None and spec.model is not None:
        engine = for_model(engine, spec.model)
    if engine is None:
        raise UsageError(
            f"The engine {spec.engine!r} takes no model by name: leave out --{wanted_by.name}-model, and name it "
            f"in --{wanted_by.name}-engine-args as --model-args does."
        )
    engine.option_name = engine.option_name.replace("--model-args", f"--{wanted_by.name}-engine-args")
    engine.chat = named_template(spec.model or arguments.get("pretrained", "")) or engine.chat
    return engine
