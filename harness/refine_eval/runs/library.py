"""The harness as a library: `evaluate` makes a run, `load_run` reads one back; a notebook needs no shell."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from refine_eval.costs import CutOff, LeftOut, ModelUsage
from refine_eval.data import Trace
from refine_eval.errors import RefineEvalError, UsageError
from refine_eval.plugin.making import names_with_members
from refine_eval.plugin.pairs import parse_pairs
from refine_eval.plugin.registry import Registry, registry
from refine_eval.results.curves import Curve, plain_curves
from refine_eval.results.frames import FRAMES
from refine_eval.results.ledger import Row
from refine_eval.results.records import RunRecord, find_run, read_run, read_traces
from refine_eval.results.table import counted, html, label, notes, plain
from refine_eval.results.tables import row_to_json
from refine_eval.runs.command import command_line
from refine_eval.runs.execute import execute
from refine_eval.runs.settings import OWN_TEMPLATE, PLAIN_PROMPTS, RunSettings
from refine_eval.terminal import Progress, strip_control

if TYPE_CHECKING:
    from pandas import DataFrame

OptionsByName = Mapping[str, Mapping[str, Any]]
"""A component's name -> its options: `{"sorm": {"threshold": 0.3}}`."""


class Run:
    """A finished run: its table, its traces and its record. A notebook shows the table; `print(run)` prints it."""

    def __init__(self, record: RunRecord, folder: Path, traces: Sequence[Trace] | None = None) -> None:
        self.record = record
        self.folder = folder
        """The run record: the folder that `load_run` and `refine-eval report` read."""
        self._traces = traces

    @property
    def name(self) -> str:
        """The name of the run record."""
        return self.record.name

    @property
    def settings(self) -> Mapping[str, Any]:
        """What the record's run.yaml says: task, model, components with their options, versions."""
        return self.record.settings

    @property
    def filter(self) -> str:
        """The task's answer filter that decides right and wrong."""
        return self.record.filter

    @property
    def rows(self) -> tuple[Row, ...]:
        """The table: the draft, each refiner alone, and each selector's choice."""
        return self.record.rows

    @property
    def curves(self) -> tuple[Curve, ...]:
        """What k of several samples are worth; none where the run was not asked for it and has one draft a problem."""
        return self.record.curves

    @property
    def left_out(self) -> tuple[LeftOut, ...]:
        """What components could not write, score or refine, though they could others."""
        return self.record.left_out

    @property
    def cut_off(self) -> tuple[CutOff, ...]:
        """How many texts of each stage hit the length limit; nothing where an older record does not say."""
        return self.record.cut_off

    @property
    def usage(self) -> tuple[ModelUsage, ...]:
        """What each model read and wrote; nothing where an older record does not say."""
        return self.record.usage

    @cached_property
    def traces(self) -> tuple[Trace, ...]:
        """All that happened to each problem. Read back from a record, problems have no question and no prompt."""
        return tuple(read_traces(self.folder) if self._traces is None else self._traces)

    def to_pandas(self, of: Literal["rows", "candidates", "critiques", "steps"] = "rows") -> DataFrame:
        """A DataFrame with one row for each row of the table, or for each candidate, critique or step of each problem.

        `accuracy`, `low` and `high` are shares, not per cent. Of steps there is a column of scores for each role of a
        critic. Raises RefineEvalError where pandas is not installed.
        """
        try:
            from pandas import DataFrame
        except ImportError:
            raise RefineEvalError("to_pandas needs the package pandas: pip install pandas") from None
        if of == "rows":
            return DataFrame(list(map(self._row, self.rows)))
        if of not in FRAMES:
            raise UsageError(f"to_pandas makes a table of 'rows', {', '.join(map(repr, FRAMES))}, not of {of!r}.")
        return DataFrame(list(FRAMES[of].rows(self.record, self.traces)), columns=list(FRAMES[of].columns))

    def _row(self, row: Row) -> dict[str, Any]:
        shares = {f"accuracy ({name})": row.accuracy(name) for name in row.correct if name != self.filter}
        kept = {
            k: v for k, v in row_to_json(row).items() if k not in ("name", "kind", "correct", "needs_gold", "tuned")
        }
        return {
            "answer": label(row),
            "problems": kept.pop("problems"),
            "correct": row.correct[self.filter],
            "accuracy": row.accuracy(self.filter),
            **kept,
            **shares,
            "needs_gold": row.needs_gold,
            "tuned": row.tuned,
        }

    @property
    def _title(self) -> str:
        title = f"{self.settings['task']['name']}, {counted(self.rows[0])}, {self.settings['model']['name']}"
        return strip_control(title)

    def __repr__(self) -> str:
        return f"<Run {self.name!r}: {self._title}>"

    def __str__(self) -> str:
        below = [*notes(self.left_out, self.cut_off, self.record.tuning), *plain_curves(self.curves)]
        return "\n".join([self._title, plain(self.rows, self.filter), *below])

    def _repr_html_(self) -> str:
        return html(self.rows, self.filter, self._title, notes(self.left_out, self.cut_off, self.record.tuning))


def evaluate(
    task: str,
    *,
    critic: str | None = None,
    when: str | None = None,
    where: str | None = None,
    choose: str | None = None,
    refiner: str | Sequence[str] | None = None,
    selector: str | Sequence[str] | None = None,
    refine_below: float | None = None,
    tune_on: str | None = None,
    tune: str | Sequence[str] | None = None,
    rounds: int | None = None,
    until_accepted: int | None = None,
    limit: int | None = None,
    drafts: int | None = None,
    draft_temperature: float | None = None,
    draft_top_p: float | None = None,
    curves: bool | None = None,
    model: str | None = None,
    model_args: str | Mapping[str, Any] | None = None,
    critic_options: OptionsByName | None = None,
    refiner_options: OptionsByName | None = None,
    selector_options: OptionsByName | None = None,
    num_fewshot: int | None = None,
    apply_chat_template: bool | str | None = None,
    system_instruction: str | None = None,
    fewshot_as_multiturn: bool | None = None,
    enable_thinking: bool | None = None,
    gen_kwargs: str | Mapping[str, Any] | None = None,
    max_gen_toks: int | None = None,
    filter: str | None = None,
    metric: str | None = None,
    correct_above: float | None = None,
    steps: str | None = None,
    think_end_token: str | None = None,
    judge_thoughts: bool | None = None,
    data_dir: str | os.PathLike[str] | None = None,
    seed: int | None = None,
    batch_size: int | None = None,
    device: str | None = None,
    dtype: str | None = None,
    workers: int | None = None,
    ray_address: str | None = None,
    results: str | os.PathLike[str] | None = None,
    name: str | None = None,
    overwrite: bool | None = None,
    quiet: bool = True,
) -> Run:
    """Runs one task as `refine-eval run` does, writes the run record, and returns the run. Raises RefineEvalError.

    What is left out is as the command has it; `refine-eval run --help` explains each. `critic` stands for `when`,
    `where` and `choose` alike. `refiner` and `selector` are a name or several; the first selector makes the run's
    choice. `model` names the engine, and `model_args` gives its options, as a dict or as the command's text:
    `{"pretrained": "HuggingFaceTB/SmolLM2-135M-Instruct"}`. Options of the other components go by their names:
    `critic_options={"sorm": {"threshold": 0.3}}`. `quiet=False` shows progress. A record called
    `name` of another run is replaced only with `overwrite=True`.

    Everything generated and scored is kept in `results`/store.sqlite: the same call again, or another choice among the
    same candidates, generates nothing.
    """
    settings = _settings({k: v for k, v in locals().items() if v is not None and k != "quiet"})
    _check_options_are_used(settings, registry())
    settings = replace(settings, command=command_line(settings, registry()))
    outcome = execute(settings, registry(), Progress(quiet))
    assert outcome.folder is not None, "execute was asked for a record"
    return Run(read_run(outcome.folder), outcome.folder, outcome.traces)


def load_run(run: str | os.PathLike[str], *, results: str | os.PathLike[str] = "results") -> Run:
    """A run record: a folder, or the name of a record in `results`, own or published. RunError where there is none."""
    folder = find_run(run, results)
    return Run(read_run(folder), folder)


def _settings(given: Mapping[str, Any]) -> RunSettings:
    """The settings of a call of `evaluate`; what was not given is RunSettings' own default."""
    of_roles = dict.fromkeys(("when", "where", "choose"), given["critic"]) if "critic" in given else {}
    values = of_roles | {k: v for k, v in given.items() if k in RunSettings.__dataclass_fields__}
    for kind in ("refiner", "selector"):
        if kind in given:
            values[f"{kind}s"] = _tuple(given[kind])
    if "tune" in given:
        values["tune"] = _tuple(given["tune"])
    for place in ("data_dir", "results"):
        if isinstance(given.get(place), str | os.PathLike):
            values[place] = Path(given[place])
    if isinstance(values.get("apply_chat_template"), bool):
        values["apply_chat_template"] = OWN_TEMPLATE if values["apply_chat_template"] else PLAIN_PROMPTS
    if isinstance(values.get("gen_kwargs"), Mapping):
        values["gen_kwargs"] = json.dumps(values["gen_kwargs"])
    model_args = given.get("model_args", {})
    if not isinstance(model_args, str | Mapping):
        raise UsageError(f"model_args is a dict, or a text such as 'pretrained=NAME', not {model_args!r}.")
    values["model_options"] = parse_pairs(model_args) if isinstance(model_args, str) else dict(model_args)
    values["options"] = {
        (kind, name): options
        for kind in ("critic", "refiner", "selector")
        for name, options in _by_name(f"{kind}_options", given.get(f"{kind}_options", {})).items()
    }
    return RunSettings(**values)


def _tuple(given: object) -> object:
    """One name or several as a tuple; what is neither, as it is: the settings refuse it."""
    if isinstance(given, str):
        return (given,)
    return tuple(given) if isinstance(given, Sequence) else given


def _by_name(keyword: str, given: OptionsByName) -> OptionsByName:
    if not isinstance(given, Mapping) or not all(isinstance(options, Mapping) for options in given.values()):
        raise UsageError(f"{keyword} gives options by name, {{'NAME': {{'option': value}}}}, not {given!r}.")
    return given


def _check_options_are_used(settings: RunSettings, registry: Registry) -> None:
    """UsageError for options of a component that takes no part: they would be ignored in silence.

    PluginError for a component that is not there.
    """
    taking_part = {
        "critic": names_with_members((settings.when, settings.where, settings.choose), settings.options, registry),
        "refiner": settings.refiners,
        "selector": settings.selectors,
    }
    for kind, names in taking_part.items():
        for name in names:
            registry.component(kind, name)
    for kind, name in settings.options:
        component = registry.component(kind, name)
        if name not in taking_part[kind] and not getattr(component, "always_reported", False):
            raise UsageError(
                f"{kind}_options names {name!r}, which takes no part in this run: add it as a {kind}, or leave its "
                "options out."
            )
