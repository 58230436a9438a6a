"""The base classes that plugins subclass: Critic, Refiner, Selector, Engine, Splitter, Trainer.

The contract, which `refine-eval plugins check NAME` tests: `__init__` is cheap, `open` loads, `close` frees (and
may be called twice); one output per input, in order; the result for one input does not depend on the others in
the batch; an empty batch gives an empty list.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any, ClassVar, Literal

from refine_eval.data import (
    Candidate,
    ChatForm,
    Critique,
    Generation,
    Request,
    ScoredCandidate,
    Solution,
    Thinking,
)
from refine_eval.formats import PLAIN, PromptForm
from refine_eval.plugin.fields import check_options
from refine_eval.plugin.fingerprint import source_hash
from refine_eval.plugin.runtime import EngineRuntime, Runtime
from refine_eval.training_rows import Example, TrainingData


@dataclass(frozen=True, kw_only=True)
class NoOptions:
    """Options of a component that has none."""


class Component:
    """What critics, refiners, selectors and engines have in common.

    Class attributes: `name` (how users call it), `Options` (a frozen keyword-only dataclass; each field becomes
    a command-line option, see `refine_eval.plugin.options`), `needs_gold` (True: it sees the gold answers, and every
    table marks its rows; where an option decides it, `__init__` sets it). The first line of the docstring is what
    `refine-eval plugins list` shows.
    """

    kind: ClassVar[str]
    name: ClassVar[str]
    Options: ClassVar[type[Any]] = NoOptions
    needs_gold: bool = False
    model_parameters: int | None = None
    """How many parameters of the model that an engine or a critic has opened multiply with each token: those of its
    layers, without embeddings and output layer; None where there is no model, or it is not known. For FLOPs: 2 a
    parameter and token read or written (Kaplan et al. 2020, arXiv 2001.08361, section 2.1)."""

    def __init__(self, options: Any = None) -> None:
        self.options = self.Options() if options is None else options
        check_options(self.options)

    @property
    def keep_loaded(self) -> bool:
        """Whether a run keeps it open until its end, because it is slow to open; else stages take turns."""
        return False

    def open(self, runtime: Runtime) -> None:
        """Loads what the component needs. Called once before the first batch."""
        self.runtime = runtime

    def close(self) -> None:
        """Frees what `open` loaded. May be called twice."""

    def identity(self) -> str:
        """What the component's output depends on besides its input: the key under which outputs are stored.

        By default the name, the options and a hash of all modules of the class's package, so that an edited plugin is
        not served its old scores. Called after `open`. Override it to add the hash of a model.
        """
        modules = [kind.__module__ for kind in type(self).__mro__ if issubclass(kind, Component)]
        return f"{self.kind}:{self.name} {sorted(asdict(self.options).items())} {source_hash(*modules)}"


class Critic(Component):
    """Judges candidates: how good as a whole, how good up to each step, where the first bad step is."""

    kind = "critic"

    stored: ClassVar[bool] = True
    """False: scores are too cheap to be worth storing, or depend on more than `identity` says."""
    replicable: ClassVar[bool] = False
    """True: it is content with an EngineRuntime, as it asks nobody for texts, so `--workers` can run copies of it."""

    def critique(self, batch: Sequence[Candidate]) -> list[Critique]:
        """One critique per candidate, in order.

        For one that it cannot judge, though it may others: `Critique.without_score(candidate, why)`. An exception ends
        the run.
        """
        raise NotImplementedError


class Refiner(Component):
    """Writes new solutions from judged ones."""

    kind = "refiner"

    sees_group: ClassVar[bool] = False
    """True: it reads all candidates that a problem has so far, as `ScoredCandidate.group`: the draft, those of earlier
    rounds, and in this round those of the refiners that are named before it."""

    def refine(self, batch: Sequence[ScoredCandidate]) -> list[list[Solution]]:
        """For each judged candidate its refinements, best guess first; an empty list where there is nothing to refine.

        For one that it cannot refine, though it may others: `[Solution.without_text(why)]`, which is counted. An
        exception ends the run.
        """
        raise NotImplementedError


class Selector(Component):
    """Chooses one of a problem's candidates."""

    kind = "selector"

    always_reported: ClassVar[bool] = False
    """True: gets a row in every table, also where it is not the selector asked for (bounds and baselines)."""
    decides_on_draft_alone: ClassVar[bool] = False
    """True: decides on the draft alone whether to keep it, so where it does, no refinement need be paid for."""

    def select(self, batch: Sequence[Sequence[ScoredCandidate]]) -> Sequence[int | None]:
        """For each problem the index of the chosen candidate; index 0 is the draft.

        None: it cannot tell. That is counted, and the candidate that the choose critic scores highest is taken, of
        equals the first.
        """
        raise NotImplementedError


class Engine(Component):
    """Continues prompts: a language model, a server, a file of recorded solutions."""

    kind = "engine"

    accepts_pretrained: ClassVar[bool] = True
    """Whether `Options` has the fields `pretrained` and `revision`, so that refiners' models can be served too."""
    option_name: str = "--model-args pretrained="
    """How the user names this engine's model, for error messages."""
    advice: str = ""
    """One line for people on how the student's model is read, once it is open and whenever it has written; "" where
    there is nothing to say."""
    takes_messages: ClassVar[bool] = False
    """Whether prompts may be messages; where not, a run with such prompts ends with a sentence that says so."""
    can_choose: ClassVar[bool] = False
    """Whether it has `choose`; where not, who asks for it is told so in a sentence."""
    chat: ChatForm | None = None
    """How the user wants messages rendered, set before `open`; None: the problems' prompts are plain texts."""
    thinking: Thinking | None = None
    """How the model thinks where it is read through its chat template, once it is open; None: not, or nobody knows."""
    template_hash: str = ""
    """Of the chat template that renders messages here, once it is open; "" where another renders them, or none."""

    @property
    def own_model(self) -> tuple[str, str | None] | None:
        """Hub name or folder of the model that it runs, and its revision; None where it runs none of files here."""
        if not self.accepts_pretrained or not self.options.pretrained:
            return None
        return self.options.pretrained, self.options.revision

    @property
    def only_messages(self) -> bool:
        """Whether its options say that it reads nothing but messages: problems' prompts are messages then."""
        return False

    def open(self, runtime: EngineRuntime) -> None:
        """Loads the model, or connects to the server. Called once before the first batch."""

    def generate(self, requests: Sequence[Request]) -> Iterator[tuple[int, Generation]]:
        """Yields (index of the request, its generation) as each one is finished, in any order.

        What is yielded is stored at once, so a killed run loses only what was in flight. For one request for which it
        can write nothing, though it may for others, it yields `Generation.without_text(why)`: that is counted, never
        stored, and asked again in the next run. Errors of the whole run are raised as GenerationError or ModelError.
        """
        raise NotImplementedError

    def choose(self, requests: Sequence[Request]) -> Iterator[tuple[int, Generation]]:
        """Yields (index of the request, `Generation.of_choices`) for requests with `choices`, in any order.

        Logarithms are of the model's own probabilities, at temperature 1 and before any setting changes them.
        """
        raise NotImplementedError

    def for_model(self, model: str) -> Engine | None:
        """An engine of this kind for another model, such as a refiner's, not opened yet; None where it has none.

        By default one with `pretrained` set to that model. It may share what this engine has loaded, as an
        adapter of the same base does.
        """
        return type(self)(replace(self.options, pretrained=model, revision=None)) if self.accepts_pretrained else None

    @property
    def label(self) -> str:
        """What progress calls the engine."""
        return self.name

    @property
    def gpus(self) -> int:
        """How many GPUs one copy of this engine takes, where there are any; 0: it does not compute here."""
        return 0

    @property
    def preferred_batch_size(self) -> int:
        """How many texts it takes to keep one copy of this engine busy, once it is open; replicas get no fewer."""
        return 1

    def cache_key_of(self, request: Request) -> str:
        """What the engine's answer to this request depends on besides sampling: part of the store's key.

        A model depends on the prompt alone, and on messages with how they are rendered.
        """
        prompt = request.prompt
        if isinstance(prompt, str):
            return prompt
        form = {**asdict(self.chat or ChatForm()), "template_hash": self.template_hash}
        turns = [[message.role, message.content] for message in prompt]
        # No plain prompt is taken for messages: none begins with a NUL.
        return "\0" + json.dumps([turns, {name: value for name, value in form.items() if value not in (None, "")}])


class Splitter(Component):
    """Cuts solutions into steps. It has no Options: `--steps NAME` is all that users can say."""

    kind = "splitter"

    def split(self, batch: Sequence[str]) -> list[list[str]]:
        """For each text its pieces, in order; joined they are the text again, to the byte.

        A piece of white space alone belongs to the one before it. Texts are whatever a model wrote: a splitter takes
        time in proportion to their length.
        """
        raise NotImplementedError


class Trainer(Component):
    """Makes training examples from the outputs of `refine-eval collect` and `label`; the training loop is shared.

    `head` is "generator" for models that write and "critic" for models that score step ends; `reads` are the stages
    whose outputs its examples are made of, "collect" and "label" (none: it makes its data itself); `needs_base` says
    whether the user must name a model to start from.
    """

    kind = "trainer"
    head: ClassVar[Literal["generator", "critic"]] = "generator"
    reads: ClassVar[tuple[str, ...]] = ("collect",)
    needs_base: ClassVar[bool] = True
    takes_messages: ClassVar[bool] = False
    """Whether its examples are of prompts in its `form`; where not, a training on messages is refused."""
    form: PromptForm = PLAIN
    """How the model is to read its prompts, as the user wants it; set before `examples`."""

    def start(self, base: str | None, seed: int) -> tuple[Any, Any] | None:
        """(model, tokenizer) to train, in float32; None, the default: those of `base`, with a new head if need be."""
        return None

    def examples(self, data: TrainingData, tokenizer: Any, seed: int) -> list[Example]:
        """The rows to train on; StageError where the data cannot teach what the trainer is for."""
        raise NotImplementedError

    def loss(self, model: Any, input_ids: Any, labels: Any, num_items: Any) -> Any:
        """The mean loss of a batch; None, the default: the cross-entropy of the labels.

        `input_ids` and `labels` have the shape (rows, length); `num_items` is the number of labels that count, over all
        devices and all batches of a step.
        """
        return None

    def finish(self, model: Any) -> None:
        """Takes off what `start` added for training alone, before the model is saved; by default nothing."""
