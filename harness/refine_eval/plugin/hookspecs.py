"""The hooks that a plugin may implement, and the markers to do so.

A plugin is a module named by an entry point in the group `refine_eval`. It marks functions with `hookimpl`:

    from refine_eval import hookimpl

    @hookimpl
    def refine_eval_critics():
        from my_package.critic import LengthCritic
        return [LengthCritic]

Hooks register classes and are called at start-up, for `--help` too: import nothing heavy there. Scoring and
writing happen in the classes' methods (see `refine_eval.Critic` and the other base classes), only for components that
are selected.
"""

from collections.abc import Iterable
from pathlib import Path

import pluggy

from refine_eval.plugin.benchmark import Benchmark
from refine_eval.plugin.components import Critic, Engine, Refiner, Selector, Splitter, Trainer

PROJECT = "refine_eval"

hookspec = pluggy.HookspecMarker(PROJECT)
hookimpl = pluggy.HookimplMarker(PROJECT)
"""Marks a plugin's function as the implementation of the hook that has its name."""


@hookspec
def refine_eval_critics() -> Iterable[type[Critic]]:  # type: ignore[empty-body]
    """Critic classes. Called once, when a command first needs to know the critics. Since 0.1.

    Example: `return [LengthCritic]`.
    """


@hookspec
def refine_eval_refiners() -> Iterable[type[Refiner]]:  # type: ignore[empty-body]
    """Refiner classes. Called once, when a command first needs to know the refiners. Since 0.1.

    Example: `return [BackTranslationRefiner]`.
    """


@hookspec
def refine_eval_selectors() -> Iterable[type[Selector]]:  # type: ignore[empty-body]
    """Selector classes. Called once, when a command first needs to know the selectors. Since 0.1.

    Example: `return [ShortestSelector]`.
    """


@hookspec
def refine_eval_engines() -> Iterable[type[Engine]]:  # type: ignore[empty-body]
    """Engine classes: what `--model` may name. Called once, when a command first needs to know them. Since 0.1.

    Example: `return [LlamaCppEngine]`.
    """


@hookspec
def refine_eval_splitters() -> Iterable[type[Splitter]]:  # type: ignore[empty-body]
    """Splitter classes: what `--steps` may name. Called once, when a command first needs to know them. Since 0.1.

    Example: `return [ClauseSplitter]`.
    """


@hookspec
def refine_eval_trainers() -> Iterable[type[Trainer]]:  # type: ignore[empty-body]
    """Trainer classes: what `refine-eval train` may name. Called once, by `train` and `plugins`. Since 0.1.

    Example: `return [LengthCriticTrainer]`.
    """


@hookspec
def refine_eval_benchmarks() -> Iterable[Benchmark]:  # type: ignore[empty-body]
    """Benchmarks: lm-eval tasks that ship with the plugin. Called once, by `tasks list` and `run`. Since 0.1.

    Example: `return [Benchmark(name="apples", description="...", yaml=HERE / "apples.yaml")]`.
    """


@hookspec
def refine_eval_recipes() -> Iterable[Path]:  # type: ignore[empty-body]
    """YAML files for `refine-eval recipe run`, which calls each by its file's name without .yaml. Since 0.1.

    Called once, by `recipe list` and `recipe run`. Example: `return sorted(HERE.glob("recipes/*.yaml"))`.
    """
