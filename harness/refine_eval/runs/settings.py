"""What decides a run: which task and which student, how to refine, and where the record goes."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from refine_eval.data import Dtype
from refine_eval.errors import UsageError
from refine_eval.files import folder_name
from refine_eval.plugin.fields import check_settings, option
from refine_eval.plugin.templates import system_text
from refine_eval.terminal import shown

DATA_DIR_VARIABLE = "REFINE_EVAL_DATA"
_LONGEST_NAME = 200  # of the 255 that a folder's may have: the writer and several tasks add to it

LABELLED = "labelled"
"""The task of problems that come from files of labelled solutions; no student is bundled for it."""

OWN_TEMPLATE = "true"
"""`apply_chat_template` of a model's own template, which has no name."""

PLAIN_PROMPTS = "false"
"""`apply_chat_template` where plain prompts are asked for, whatever the model's card says."""

CHAT_SETTINGS = (
    "apply_chat_template",
    "system_instruction",
    "fewshot_as_multiturn",
    "enable_thinking",
    "think_end_token",
    "gen_kwargs",
)
"""Settings that stand in records only where they were given, so that older records are of the same settings."""


@dataclass(frozen=True, kw_only=True)
class SessionSettings:
    """Which task, which student, and how.

    `model_options` are values for the engine's Options; without `pretrained` a task's bundled student is used where
    it has one. `workers` replicas of the engine, and of `replicable` critics, run as Ray actors, on the cluster at
    `ray_address` or here; they change no outcome and no key. The store is kept under `results`.
    """

    task: str = option(
        "apples", "Task name, or TASK:SPLIT for another split than the test problems. See: refine-eval tasks list"
    )
    num_fewshot: int | None = option(
        None, "Few-shot examples.", min=0, flags=("--num-fewshot", "--num_fewshot"), shown="the task's"
    )
    max_gen_toks: int | None = option(
        None,
        "Longest solution, in tokens.",
        min=1,
        flags=("--max-gen-toks", "--max_gen_toks"),
        shown="the task's, or 256",
    )
    filter: str | None = option(
        None, "The task's answer filter that decides right and wrong.", shown="flexible-extract where there is one"
    )
    metric: str | None = option(
        None,
        "The task's metric that decides right and wrong.",
        shown="the task's first, or math_verify where it has that",
    )
    correct_above: float | None = option(
        None,
        "Score from which a text counts as right, for a metric that is no yes or no.",
        min=-(10**9),
        max=10**9,
        flags=("--correct-above", "--correct_above"),
        shown="only a yes or no decides",
    )
    steps: str | None = option(
        None, "Splitter that cuts texts into steps. See: refine-eval plugins list", shown="the task's, or lines"
    )
    judge_thoughts: bool = option(False, "Thoughts are cut into steps, which critics judge, like the texts after them.")
    data_dir: Path | None = option(
        None,
        "Folder with local data files instead of the hub.",
        flags=("--data-dir", "--data_dir"),
        shown=f"${DATA_DIR_VARIABLE}",
    )
    apply_chat_template: str | None = option(
        None,
        "Prompts are messages, rendered with the model's chat template: its own, or of several the one of this name; "
        "or false: plain texts.",
        flags=("--apply-chat-template", "--apply_chat_template"),
        bare=OWN_TEMPLATE,
        metavar="[NAME]",
        shown="as the model was trained here; else plain",
    )
    system_instruction: str | None = option(
        None,
        "What the system message says, or stands before a plain prompt: a text, or a file that holds it.",
        flags=("--system-instruction", "--system_instruction"),
        metavar="TEXT|FILE",
    )
    fewshot_as_multiturn: bool | None = option(
        None,
        "Few-shot examples as turns of their own, or false: all in the question's message.",
        flags=("--fewshot-as-multiturn", "--fewshot_as_multiturn"),
        bare="true",
        metavar="[BOOLEAN]",
        shown="true with messages",
    )
    enable_thinking: bool | None = option(
        None,
        "Asks the chat template for a thought before the answer, or for none.",
        flags=("--enable-thinking", "--enable_thinking"),
        bare="true",
        metavar="[BOOLEAN]",
        shown="the template's",
    )
    think_end_token: str | None = option(
        None,
        "What ends the model's thoughts; what stands after the last one is graded and cut into steps.",
        flags=("--think-end-token", "--think_end_token"),
        shown="the chat template's",
    )
    gen_kwargs: str | None = option(
        None,
        'How drafts are written, as in lm-eval: temperature=0.7,top_p=0.9,until=["Question:"] or JSON; also '
        "max_gen_toks and do_sample.",
        flags=("--gen-kwargs", "--gen_kwargs"),
        shown="the task's, greedy",
    )
    model: str = option("transformers", "Engine of the student. See: refine-eval plugins list")
    model_options: Mapping[str, Any] = option(
        {},
        "The engine's options, name=value,name=value: pretrained=FOLDER or a hub name.",
        flags=("--model-args", "--model_args"),
        shown="the task's bundled student",
    )
    seed: int = option(0, "Seed of everything that is sampled.", min=0)
    batch_size: int | None = option(
        None,
        "Sequences at once.",
        min=1,
        max=65_536,
        flags=("--batch-size", "--batch_size"),
        shown="chosen, halved when memory runs out",
    )
    device: str = option("auto", "cpu, cuda, cuda:1, mps or auto.")
    dtype: Dtype = option("auto", "What models compute in.")
    workers: int | None = option(
        None,
        "Replicas of the engine and of trained critics as Ray actors, here or with --ray-address on a cluster.",
        min=1,
    )
    ray_address: str | None = option(
        None,
        "HOST:PORT of a Ray cluster that this machine is part of, or auto.",
        flags=("--ray-address", "--ray_address"),
        shown="Ray on this machine",
        metavar="ADDRESS",
    )
    results: Path = option(
        Path("results"),
        "Where run records and the store are kept.",
        flags=("--results", "--output-path", "--output_path"),
    )

    def __post_init__(self) -> None:
        """UsageError for a value that does not fit, and for what messages alone have where there are none."""
        check_settings(self)
        if self.think_end_token == "":
            raise UsageError("--think-end-token is empty; name what ends the model's thoughts, such as </think>.")
        if self.apply_chat_template == "":
            object.__setattr__(self, "apply_chat_template", PLAIN_PROMPTS)

    @property
    def messages(self) -> bool:
        """Whether the prompts are to be messages."""
        return self.apply_chat_template not in (None, PLAIN_PROMPTS)

    @property
    def steps_choice(self) -> dict[str, str]:
        """The splitter for records, where one was chosen."""
        return {"steps": self.steps} if self.steps else {}

    @property
    def chat_choices(self) -> dict[str, Any]:
        """What was chosen of `CHAT_SETTINGS`, for records; the system text as it is read."""
        chosen = {name: getattr(self, name) for name in CHAT_SETTINGS if getattr(self, name) is not None}
        if not self.messages:
            chosen.pop("apply_chat_template", None)
        return chosen | ({"system_instruction": text} if (text := system_text(self.system_instruction)) else {})


@dataclass(frozen=True, kw_only=True)
class RunSettings(SessionSettings):
    """All that decides a run's outcome, and where it goes.

    `when`, `where`, `choose` name critics, `refiners` and `selectors` the other components (the first selector
    makes the choice). `options[(kind, name)]` are values for that component's Options. `command` is what to type to
    run it again.
    """

    limit: int | None = option(None, "Only the first N problems of each task.", min=1, flags=("--limit", "-L"))
    drafts: int | None = option(
        None, "Drafts of each problem; each goes its whole way.", min=1, max=1000, shown="1, or the task's repeats"
    )
    draft_temperature: float | None = option(
        None,
        "Temperature of the drafts.",
        min=0,
        max=100,
        shown="of --gen-kwargs or a task with repeats; else greedy",
    )
    draft_top_p: float | None = option(
        None,
        "Draw drafts from the likeliest tokens of this probability.",
        above=0,
        max=1,
        shown="of --gen-kwargs, else 1",
    )
    curves: bool = option(
        False, "Also show what 1, 2, 4, ... of a refiner's samples are worth: pass@k, best-of-k, maj@k, weighted maj@k."
    )
    when: str = option("orm", "Critic that says whether to refine a draft.", shown="--critic, or {}")
    where: str = option("sorm", "Critic that finds the first bad step.", shown="--critic, or {}")
    choose: str = option("orm", "Critic whose scores the selector reads.", shown="--critic, or {}")
    refiners: tuple[str, ...] = option(
        ("local", "global"), "Refiner; may be given more than once.", flags=("--refiner",), shown="{}"
    )
    selectors: tuple[str, ...] = option(
        ("rerank",),
        "Selector; the first makes the choice, more get rows of their own.",
        flags=("--selector",),
        shown="{}",
    )
    refine_below: float | None = option(
        None, "Refine only drafts that the when critic scores below this.", min=0, max=1, shown="refine all"
    )
    tune_on: str | None = option(
        None,
        "Choose thresholds by the right answers of this run, of other problems: a run record's folder or name.",
        metavar="RUN",
    )
    tune: tuple[str, ...] = option(
        (),
        "A threshold to choose with --tune-on, such as refine-below or gate-threshold; may be given more than once.",
        metavar="THRESHOLD",
        shown="refine-below, and the first selector's",
    )
    rounds: int = option(1, "Rounds of critique and refine; each begins from the last round's choice.", min=1)
    until_accepted: int | None = option(
        None,
        "Refine a problem until the when critic accepts, by --refine-below, the choices of so many rounds in a row.",
        min=1,
        shown="refine in every round",
    )
    name: str | None = option(
        None, "Name of the run record; with several tasks, -TASK is added.", shown="made from the settings"
    )
    overwrite: bool = option(False, "Replace the record of another run that has this --name.")
    options: Mapping[tuple[str, str], Mapping[str, Any]] = field(default_factory=dict)
    command: str = ""

    def __post_init__(self) -> None:
        """UsageError for a value that does not fit, and for a name that no folder can have."""
        super().__post_init__()
        if self.until_accepted and self.refine_below is None and self.tune_on is None:
            raise UsageError("--until-accepted needs --refine-below, the score from which the when critic accepts.")
        if self.until_accepted and self.until_accepted > self.rounds:
            raise UsageError(
                f"--until-accepted {self.until_accepted} is out of reach in {self.rounds} rounds; raise --rounds."
            )
        if self.name and self.name != folder_name(self.name):
            raise UsageError(
                f"--name {shown(self.name)} cannot name a folder; letters, digits and . _ + - can: "
                f"{shown(folder_name(self.name))}."
            )
        if self.tune and self.tune_on is None:
            raise UsageError("--tune names a threshold, and --tune-on says on which problems to tune it: give both.")
        if self.name and len(self.name) > _LONGEST_NAME:
            raise UsageError(f"--name has {len(self.name)} characters, and may have {_LONGEST_NAME}; shorten it.")


def data_folder(given: Path | None) -> Path | None:
    """The folder with local data files: the one given, else that of REFINE_EVAL_DATA; None: the hub."""
    folder = os.environ.get(DATA_DIR_VARIABLE)
    return given or (Path(folder) if folder else None)
