"""refine-eval: when, where and how to refine a language model's reasoning (GLoRe, arXiv 2402.10963).

The public face: what plugins and notebooks import. Each name is imported from its room when it is first used, so that
`import refine_eval` costs nothing; what is not named here may change without notice.
"""

from importlib.metadata import PackageNotFoundError, version
from typing import TYPE_CHECKING

from refine_eval.lazy import lazily

try:
    __version__ = version("refine-eval")
except PackageNotFoundError:  # a source tree that was never installed
    __version__ = "0+unknown"

_HOMES = {
    "refine_eval.plugin.hookspecs": ("hookimpl",),
    "refine_eval.plugin.components": (
        "Component",
        "Critic",
        "Engine",
        "NoOptions",
        "Refiner",
        "Selector",
        "Splitter",
        "Trainer",
    ),
    "refine_eval.plugin.runtime": ("ComputeSettings", "EngineRuntime", "Grader", "Runtime"),
    "refine_eval.plugin.combining": ("CombiningCritic",),
    "refine_eval.plugin.benchmark": ("Benchmark", "Documents"),
    "refine_eval.plugin.fields": ("check_options", "option"),
    "refine_eval.plugin.templates": ("PromptTemplate", "system_text"),
    "refine_eval.costs": ("Cost", "CutOff", "LeftOut", "ModelUsage"),
    "refine_eval.data": (
        "CUT_OFF",
        "DRAFT",
        "FINISH_REASONS",
        "AnswerGroup",
        "Candidate",
        "ChatForm",
        "Critique",
        "EngineSpec",
        "Dtype",
        "Generation",
        "ScoredCandidate",
        "Message",
        "Precision",
        "Problem",
        "Prompt",
        "Request",
        "Sampling",
        "Solution",
        "Thinking",
        "Trace",
        "first_below",
    ),
    "refine_eval.training_rows": (
        "IGNORE",
        "Example",
        "LabelledSample",
        "QuestionSamples",
        "Sample",
        "TrainingData",
    ),
    "refine_eval.errors": (
        "GenerationError",
        "ModelError",
        "PluginError",
        "RefineEvalError",
        "RunError",
        "StageError",
        "StoreError",
        "TaskError",
        "UsageError",
    ),
    "refine_eval.formats": (
        "BAD",
        "PLAIN",
        "PromptForm",
        "Prompts",
        "STEP_END",
        "as_messages",
        "continued",
        "cut_at_stops",
        "global_prompt",
        "join_steps",
        "local_prompt",
        "marked_prompt",
        "one_line",
        "prefill_of",
        "prompt_text",
        "sample_steps",
        "sample_text",
        "split_steps",
        "student_prompt",
    ),
    "refine_eval.critics.language_model": ("CausalStepModel",),
    "refine_eval.critics.step_models": ("StepModel", "TokenRow", "TransformersStepModel"),
    "refine_eval.critics.token_classifier": ("StepScorerOptions", "TokenClassifierCritic"),
    "refine_eval.models.cards": ("prompt_form",),
    "refine_eval.models.sources": ("ModelSource", "model_identity", "resolve_model"),
    "refine_eval": ("arithmetic",),
    "refine_eval.runs.library": ("Run", "evaluate", "load_run"),
    "refine_eval.results.critic_weights": ("CriticWeights",),
    "refine_eval.results.ledger": ("Row",),
}
"""Where each public name comes from."""

__all__ = sorted(["__version__", *(name for names in _HOMES.values() for name in names)])

if TYPE_CHECKING:  # the same once more, for those who read this file without running it
    from refine_eval import arithmetic as arithmetic
    from refine_eval.costs import Cost as Cost
    from refine_eval.costs import CutOff as CutOff
    from refine_eval.costs import LeftOut as LeftOut
    from refine_eval.costs import ModelUsage as ModelUsage
    from refine_eval.critics.language_model import CausalStepModel as CausalStepModel
    from refine_eval.critics.step_models import StepModel as StepModel
    from refine_eval.critics.step_models import TokenRow as TokenRow
    from refine_eval.critics.step_models import TransformersStepModel as TransformersStepModel
    from refine_eval.critics.token_classifier import StepScorerOptions as StepScorerOptions
    from refine_eval.critics.token_classifier import TokenClassifierCritic as TokenClassifierCritic
    from refine_eval.data import CUT_OFF as CUT_OFF
    from refine_eval.data import DRAFT as DRAFT
    from refine_eval.data import FINISH_REASONS as FINISH_REASONS
    from refine_eval.data import AnswerGroup as AnswerGroup
    from refine_eval.data import Candidate as Candidate
    from refine_eval.data import ChatForm as ChatForm
    from refine_eval.data import Critique as Critique
    from refine_eval.data import Dtype as Dtype
    from refine_eval.data import EngineSpec as EngineSpec
    from refine_eval.data import Generation as Generation
    from refine_eval.data import Message as Message
    from refine_eval.data import Precision as Precision
    from refine_eval.data import Problem as Problem
    from refine_eval.data import Prompt as Prompt
    from refine_eval.data import Request as Request
    from refine_eval.data import Sampling as Sampling
    from refine_eval.data import ScoredCandidate as ScoredCandidate
    from refine_eval.data import Solution as Solution
    from refine_eval.data import Thinking as Thinking
    from refine_eval.data import Trace as Trace
    from refine_eval.data import first_below as first_below
    from refine_eval.errors import GenerationError as GenerationError
    from refine_eval.errors import ModelError as ModelError
    from refine_eval.errors import PluginError as PluginError
    from refine_eval.errors import RefineEvalError as RefineEvalError
    from refine_eval.errors import RunError as RunError
    from refine_eval.errors import StageError as StageError
    from refine_eval.errors import StoreError as StoreError
    from refine_eval.errors import TaskError as TaskError
    from refine_eval.errors import UsageError as UsageError
    from refine_eval.formats import BAD as BAD
    from refine_eval.formats import PLAIN as PLAIN
    from refine_eval.formats import STEP_END as STEP_END
    from refine_eval.formats import PromptForm as PromptForm
    from refine_eval.formats import Prompts as Prompts
    from refine_eval.formats import as_messages as as_messages
    from refine_eval.formats import continued as continued
    from refine_eval.formats import cut_at_stops as cut_at_stops
    from refine_eval.formats import global_prompt as global_prompt
    from refine_eval.formats import join_steps as join_steps
    from refine_eval.formats import local_prompt as local_prompt
    from refine_eval.formats import marked_prompt as marked_prompt
    from refine_eval.formats import one_line as one_line
    from refine_eval.formats import prefill_of as prefill_of
    from refine_eval.formats import prompt_text as prompt_text
    from refine_eval.formats import sample_steps as sample_steps
    from refine_eval.formats import sample_text as sample_text
    from refine_eval.formats import split_steps as split_steps
    from refine_eval.formats import student_prompt as student_prompt
    from refine_eval.models.cards import prompt_form as prompt_form
    from refine_eval.models.sources import ModelSource as ModelSource
    from refine_eval.models.sources import model_identity as model_identity
    from refine_eval.models.sources import resolve_model as resolve_model
    from refine_eval.plugin.benchmark import Benchmark as Benchmark
    from refine_eval.plugin.benchmark import Documents as Documents
    from refine_eval.plugin.combining import CombiningCritic as CombiningCritic
    from refine_eval.plugin.components import Component as Component
    from refine_eval.plugin.components import Critic as Critic
    from refine_eval.plugin.components import Engine as Engine
    from refine_eval.plugin.components import NoOptions as NoOptions
    from refine_eval.plugin.components import Refiner as Refiner
    from refine_eval.plugin.components import Selector as Selector
    from refine_eval.plugin.components import Splitter as Splitter
    from refine_eval.plugin.components import Trainer as Trainer
    from refine_eval.plugin.fields import check_options as check_options
    from refine_eval.plugin.fields import option as option
    from refine_eval.plugin.hookspecs import hookimpl as hookimpl
    from refine_eval.plugin.runtime import ComputeSettings as ComputeSettings
    from refine_eval.plugin.runtime import EngineRuntime as EngineRuntime
    from refine_eval.plugin.runtime import Grader as Grader
    from refine_eval.plugin.runtime import Runtime as Runtime
    from refine_eval.plugin.templates import PromptTemplate as PromptTemplate
    from refine_eval.plugin.templates import system_text as system_text
    from refine_eval.results.critic_weights import CriticWeights as CriticWeights
    from refine_eval.results.ledger import Row as Row
    from refine_eval.runs.library import Run as Run
    from refine_eval.runs.library import evaluate as evaluate
    from refine_eval.runs.library import load_run as load_run
    from refine_eval.training_rows import IGNORE as IGNORE
    from refine_eval.training_rows import Example as Example
    from refine_eval.training_rows import LabelledSample as LabelledSample
    from refine_eval.training_rows import QuestionSamples as QuestionSamples
    from refine_eval.training_rows import Sample as Sample
    from refine_eval.training_rows import TrainingData as TrainingData
else:
    __getattr__, __dir__ = lazily(__name__, _HOMES)
