"""From names and options to components: a run's strategy and its student, not open yet."""

from __future__ import annotations

from dataclasses import replace
from typing import TypeVar

from refine_eval.cuts import LINES
from refine_eval.data import ChatForm
from refine_eval.errors import UsageError
from refine_eval.plugin.boundary import only_messages
from refine_eval.plugin.components import Component, Engine, Refiner, Selector, Splitter
from refine_eval.plugin.making import make_critics
from refine_eval.plugin.options import made
from refine_eval.plugin.registry import Registry
from refine_eval.runs.pipeline import Strategy
from refine_eval.runs.settings import OWN_TEMPLATE, RunSettings, SessionSettings
from refine_eval.tasks.splits import benchmark_of
from refine_eval.terminal import Progress

C = TypeVar("C", bound=Component)
S = TypeVar("S", bound=SessionSettings)


def make_strategy(settings: RunSettings, registry: Registry) -> Strategy:
    """The run's components with their options, not open yet; UsageError or PluginError where they cannot be."""

    def make(kind: type[C], name: str) -> C:
        component = registry.named_component(kind, name)
        return made(component, settings.options.get((component.kind, name), {}))

    critics = make_critics((settings.when, settings.where, settings.choose), settings.options, registry)
    reported = [r.name for r in registry.all("selector") if getattr(r.item, "always_reported", False)]
    selectors = dict.fromkeys((*settings.selectors, *reported))
    return Strategy(
        when=critics[settings.when],
        where=critics[settings.where],
        choose=critics[settings.choose],
        refiners=tuple(make(Refiner, name) for name in dict.fromkeys(settings.refiners)),
        selectors=tuple(make(Selector, name) for name in selectors),
        refine_below=settings.refine_below,
        rounds=settings.rounds,
        until_accepted=settings.until_accepted,
    )


def without_usual_steps(settings: S, registry: Registry) -> S:
    """The settings without a splitter that is the task's own: records name another one only."""
    return replace(settings, steps=None) if settings.steps == usual_steps(settings.task, registry) else settings


def make_splitter(settings: SessionSettings, registry: Registry) -> Splitter | None:
    """What cuts texts into steps, not open yet; None: the steps are lines. PluginError where nothing has the name."""
    name = settings.steps or usual_steps(settings.task, registry)
    return None if name == LINES else made(registry.named_component(Splitter, name), {})


def usual_steps(task: str, registry: Registry) -> str:
    """The splitter of a task where none is named."""
    benchmark = benchmark_of(task, registry.benchmarks())
    return benchmark.steps if benchmark else LINES


def make_student(settings: SessionSettings, registry: Registry, progress: Progress) -> Engine:
    """The student's engine, not open yet; UsageError or PluginError where it cannot be."""
    benchmark = benchmark_of(settings.task, registry.benchmarks())
    model_options = dict(settings.model_options)
    kind = registry.named_component(Engine, settings.model)
    if benchmark and benchmark.student and kind.accepts_pretrained:
        model_options.setdefault("pretrained", str(benchmark.student))
    student = made(kind, model_options)
    messages = settings.messages or only_messages(student)
    if settings.enable_thinking is not None and not messages:
        raise UsageError("--enable-thinking is for chat templates: add --apply-chat-template.")
    if messages:
        name = settings.apply_chat_template if settings.messages else None
        name = None if name == OWN_TEMPLATE else name
        student.chat = ChatForm(template=name, enable_thinking=settings.enable_thinking)
    if settings.workers is None and not settings.ray_address:
        return student
    from refine_eval.engines.replicas.engine import ReplicatedEngine

    return ReplicatedEngine(student, workers=settings.workers, address=settings.ray_address, note=progress.note)
