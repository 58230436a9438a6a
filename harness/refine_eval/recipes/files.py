"""Reads a recipe; whatever is wrong in it is one sentence before anything runs."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from string import Template
from typing import Any, NamedTuple

from refine_eval.errors import RefineEvalError, UsageError, suggestion
from refine_eval.plugin.pairs import as_text
from refine_eval.recipes.figures import Figures, read_figures
from refine_eval.recipes.suites import merged, option_words, read_suite, read_yaml
from refine_eval.runs.settings import RunSettings
from refine_eval.runs.store import content_key
from refine_eval.terminal import shown

_KEYS = ("description", "with", "jobs", "threads", "every", "stages", "assume")
_COMMANDS = ("collect", "label", "train", "run")
_SET_BY_THE_RECIPE = ("out", "results", "output-path", "json", "quiet", "help")
_STAGE_NAME = re.compile(r"[A-Za-z][A-Za-z0-9_-]*")
_VALUE_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
_NOT_STAGES = ("logs", "results")
"""Folders of a work folder that are no stage's."""


class Parsed(NamedTuple):
    """What the command line makes of a stage's words: parameters, for `run` its runs, and whose outputs are read."""

    params: Mapping[str, Any]
    runs: Sequence[RunSettings] = ()
    reads: tuple[str, ...] = ()


Parse = Callable[[str, list[str], Mapping[str, Any]], Parsed]
"""Reads the words of a command as the command line does: (command, words after it, the options that they were made
of); RefineEvalError if it refuses."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Stage:
    """One stage: what it does, its options with `$name` still in them, and the stages whose outputs it names."""

    name: str
    do: tuple[str, ...]
    on: tuple[Any, ...]
    options: Mapping[str, Any]
    values: Mapping[str, Any]
    needs: tuple[str, ...]
    suite: Path | None
    parsed: Parsed

    @property
    def command(self) -> str:
        """collect, label, train or run."""
        return self.do[0]

    @property
    def records(self) -> tuple[str, ...]:
        """Names of the run records that it leaves."""
        return tuple(str(settings.name) for settings in self.parsed.runs)

    def words(self, places: Mapping[str, str]) -> list[str]:
        """What is typed after the command, with `places` for the outputs of other stages; without its own output."""
        names = {**self.values, **places}
        options = {name: _filled(value, names) for name, value in self.options.items()}
        on = [str(_filled(item, names)) for item in self.on]
        return [*self.do[1:], *on, *option_words(f"stage {self.name!r}", options)]

    def key(self, digests: Mapping[str, str]) -> str:
        """A hash of all that the stage says and of the outputs it reads; not of where they lie, nor of `workers`."""
        suite = dict(read_suite(self.suite).runs) if self.suite else None
        telling = replace(self, options={name: value for name, value in self.options.items() if name != "workers"})
        return content_key(self.command, telling.words(digests), suite).hex()


@dataclass(frozen=True, slots=True, kw_only=True)
class Recipe:
    """A recipe as read and checked; its stages in order."""

    path: Path
    description: str
    jobs: int
    threads: int | None
    stages: tuple[Stage, ...]
    figures: Figures

    def wanted(self, only: Sequence[str]) -> tuple[Stage, ...]:
        """The stages `only` with all that they need, or all stages; UsageError for a name that there is not."""
        known = {stage.name: stage for stage in self.stages}
        found: set[str] = set()
        open_names = list(only or known)
        while open_names:
            name = open_names.pop()
            if name not in known:
                raise UsageError(f"{self.path} has no stage {name!r}.{suggestion(name, known)} See: --dry-run")
            found.add(name)
            open_names += set(known[name].needs) - found
        return tuple(stage for stage in self.stages if stage.name in found)


def describe(path: Path) -> str:
    """A recipe's description; UsageError where the file is none."""
    return str(_read(path).get("description", ""))


def read_recipe(path: Path, given: Mapping[str, str], parse: Parse) -> Recipe:
    """The recipe in a YAML file with the values `given` beside it; UsageError, with the place, where it cannot run."""
    parts = _read(path)
    values = _values(path, parts.get("with") or {}, given)
    every = _every(path, parts.get("every") or {}, parts["stages"])
    for name in parts["stages"]:
        _check_name(path, name, values)
    stages: list[Stage] = []
    for name, own in parts["stages"].items():
        try:
            stages.append(_stage(path, str(name), own, every, values, stages, [str(n) for n in parts["stages"]], parse))
        except UsageError as error:
            raise UsageError(f"{path}, stage {name!r}: {error}") from error
        except RefineEvalError as error:
            raise type(error)(f"{path}, stage {name!r}: {error}") from error
    return Recipe(
        path=path,
        description=str(parts.get("description", "")),
        jobs=_count(path, "jobs", parts.get("jobs")) or 1,
        threads=_count(path, "threads", parts.get("threads")),
        stages=tuple(stages),
        figures=read_figures(path, parts.get("assume") or {}),
    )


def _read(path: Path) -> dict[str, Any]:
    found = read_yaml(path, "recipe")
    parts = found if isinstance(found, dict) else {}
    unknown = sorted(str(key) for key in parts if key not in _KEYS)
    if unknown:
        raise UsageError(f"{path}: a recipe has no key {unknown[0]!r}.{suggestion(unknown[0], _KEYS)}")
    for key in ("with", "every", "assume"):
        if not isinstance(parts.get(key) or {}, dict):
            raise UsageError(f"{path}: `{key}` is NAME: VALUE pairs, not {shown(parts[key])}.")
    if not parts.get("stages") or not isinstance(parts["stages"], dict):
        raise UsageError(
            f"{path} is not a recipe: it has no stages; a recipe has "
            "`stages: {NAME: {do: COMMAND, OPTION: VALUE, ...}, ...}`."
        )
    return parts


def _values(path: Path, own: Mapping[Any, Any], given: Mapping[str, str]) -> dict[str, Any]:
    """What `$name` stands for: the file's values, and what was set on the command line instead."""
    for name, value in own.items():
        if not isinstance(name, str) or not _VALUE_NAME.fullmatch(name):
            raise UsageError(f"{path}: {name!r} cannot be the name of a value; letters, digits and _ can.")
        if isinstance(value, dict | list):
            raise UsageError(
                f"{path}: the value {name!r} is {shown(value)}, and a value is one text, number, true or null."
            )
    values = {"seed": 0, **own}
    for name in given:
        if name not in values:
            raise UsageError(
                f"{path} has no value {name!r} to set.{suggestion(name, values)} It has: {', '.join(values)}"
            )
    # Everything becomes words in the end, so only what is no text there needs to be told from text.
    return {**values, **{n: {"true": True, "false": False, "null": None}.get(v, v) for n, v in given.items()}}


def _every(path: Path, every: Mapping[Any, Any], stages: Mapping[Any, Any]) -> dict[str, dict[str, Any]]:
    """Options by what they are for, `train` or `train sft`."""
    done = {form for own in stages.values() if isinstance(own, dict) for form in _forms(str(own.get("do")))}
    for do, options in every.items():
        if do not in done:
            raise UsageError(f"{path}: `every` has {do!r}, and no stage does that.{suggestion(str(do), done)}")
        if not isinstance(options or {}, dict):
            raise UsageError(f"{path}: `every` {do} is OPTION: VALUE pairs, not {shown(options)}.")
    return {str(do): merged(options or {}) for do, options in every.items()}


def _forms(do: str) -> tuple[str, ...]:
    """Under what `every` may speak of a stage, the nearer last: `train`, `train sft`."""
    words = do.split()
    return tuple(dict.fromkeys((words[0], " ".join(words)))) if words else ()


def _check_name(path: Path, name: Any, values: Mapping[str, Any]) -> None:
    if not _STAGE_NAME.fullmatch(str(name)) or name in _NOT_STAGES:
        raise UsageError(
            f"{path}: no stage can be called {str(name)!r}; letters, digits, _ and - can be in a name that begins with "
            f"a letter and is not {' or '.join(_NOT_STAGES)}."
        )
    if name in values:
        raise UsageError(f"{path}: {name!r} is both a value and a stage, so ${name} would be either; rename one.")


def _stage(
    path: Path,
    name: str,
    own: Any,
    every: Mapping[str, Mapping[str, Any]],
    values: Mapping[str, Any],
    before: Sequence[Stage],
    all_names: Sequence[str],
    parse: Parse,
) -> Stage:
    if not isinstance(own, dict):
        raise UsageError(f"a stage is `{{do: COMMAND, OPTION: VALUE, ...}}`, not {shown(own)}.")
    own = dict(own)
    do = _do(own.pop("do", None))
    on = own.pop("on", None) or []
    on = on if isinstance(on, list) else [on]
    options = merged(*(every.get(form, {}) for form in _forms(" ".join(do))), own)
    for option in options:
        if option in _SET_BY_THE_RECIPE:
            raise UsageError(f"{option} is set by `recipe run` itself; leave it out.")
    options = {option: value for option, value in options.items() if value is not None}
    needs = _references({"on": on, **options}, values, before, all_names)
    names = {**values, **{need: str(Path("WORK", need)) for need in needs}}
    folders = _filled(on, names)
    if not all(type(item) in (str, int, float) and not str(item).startswith("-") for item in folders):
        raise UsageError(f"`on` is one folder or a list of folders, not {shown(folders)}.")
    given = _filled(options, names)
    options = {option: value for option, value in options.items() if given[option] is not None}
    suite = given["suite"] if do[0] == "run" and options.pop("suite", None) else None
    stage = Stage(
        name=name,
        do=do,
        on=tuple(on),
        options=options,
        values=values,
        needs=needs,
        suite=path.parent / str(suite) if suite else None,
        parsed=Parsed({}),
    )
    parsed = parse(do[0], [*stage.words(names), *output_words(stage, Path("WORK"))], given)
    whole = replace(stage, parsed=parsed)
    _check_inputs(whole, before)
    taken = {record: other.name for other in before for record in other.records}
    for record in whole.records:
        if record in taken:
            raise UsageError(f"its run record {record!r} would replace that of stage {taken[record]!r}; name one anew.")
    return whole


def _do(do: Any) -> tuple[str, ...]:
    words = tuple(do.split()) if isinstance(do, str) else ()
    if not words:
        raise UsageError("it needs `do: COMMAND`: collect, label, train NAME or run.")
    if words[0] not in _COMMANDS:
        raise UsageError(
            f"it cannot do {shown(do)}.{suggestion(words[0], _COMMANDS)} "
            "A stage does collect, label, train NAME or run."
        )
    if len(words) != (2 if words[0] == "train" else 1) or words[-1].startswith("-"):
        raise UsageError(f"`do: {do}` must be `do: {'train NAME' if words[0] == 'train' else words[0]}`.")
    return words


def _references(
    options: Mapping[str, Any], values: Mapping[str, Any], before: Sequence[Stage], all_names: Sequence[str]
) -> tuple[str, ...]:
    """The stages whose outputs `options` name."""
    earlier = {other.name: other for other in before}
    found: dict[str, None] = {}
    for option, text in [(option, text) for option, value in options.items() for text in _texts(value)]:
        try:
            named = _Reference(text).get_identifiers()
            _Reference(text).substitute(dict.fromkeys(named, ""))
        except ValueError as error:
            raise UsageError(f"{shown(text)} has a $ that begins no name; write $$ for a dollar.") from error
        for name in named:
            if name in values:
                if values[name] is None and text not in _alone(name):
                    raise UsageError(f"{option} is {shown(text)}, and ${name} is null; give it a value.")
                continue
            if name not in earlier:
                if name in all_names:
                    raise UsageError(f"it names ${name}, which does not come before it; put {name!r} further up.")
                known = [*values, *earlier]
                raise UsageError(f"${name[:60]} is no value and no stage before it.{suggestion(name, known)}")
            if len(earlier[name].records) > 1:
                raise UsageError(f"it names ${name}, which leaves several run records and so is no folder.")
            found[name] = None
    return tuple(found)


def _check_inputs(stage: Stage, before: Sequence[Stage]) -> None:
    """UsageError for an output that the command does not read, and where one that it needs is not among them."""
    made_by = {form: " ".join(other.do) for other in before for form in _alone(other.name)}
    found = [made_by.get(str(item)) for item in stage.on]
    reads = stage.parsed.reads
    for item, made in zip(stage.on, found, strict=True):
        if made and made not in reads:
            wanted = f"what {' and '.join(f'`{each}`' for each in reads)} makes" if reads else "no stage's output"
            raise UsageError(f"`{' '.join(stage.do)}` reads {wanted}, not {item}, which `{made}` makes.")
    lacking = [each for each in reads if each not in found]
    if lacking and None not in found:
        raise UsageError(f"`{' '.join(stage.do)}` needs what `{lacking[0]}` makes, too; name that stage in `on`.")


def output_words(stage: Stage, work: Path) -> list[str]:
    """The options that say where a stage's output goes, and where the generations are stored."""
    store = ["--results", str(work / "results")]
    if stage.suite:
        return [*store, "--suite", str(stage.suite)]
    if stage.command == "run":
        return store if stage.options.get("name") else [*store, "--name", stage.name]
    return ["--out", str(work / stage.name), *(store if stage.command != "train" else [])]


class _Reference(Template):
    """`$name`; in braces a name may have hyphens too, as names of stages may."""

    braceidpattern = r"(?a:[_a-z][_a-z0-9-]*)"


def _alone(name: str) -> tuple[str, str]:
    """The texts that are nothing but `$name`."""
    return f"${name}", f"${{{name}}}"


def _filled(value: Any, names: Mapping[str, Any]) -> Any:
    """`value` with what `$name` stands for, at any depth; a value that is nothing but `$name` keeps its type."""
    if isinstance(value, list):
        return [_filled(item, names) for item in value]
    if isinstance(value, dict):
        return {key: _filled(item, names) for key, item in value.items()}
    if not isinstance(value, str):
        return value
    found = _Reference(value).get_identifiers()
    if len(found) == 1 and value in _alone(found[0]):
        return names[found[0]]
    return _Reference(value).substitute({name: as_text(inner) for name, inner in names.items()})


def _texts(value: Any) -> list[str]:
    if isinstance(value, list | dict):
        return [text for item in (value.values() if isinstance(value, dict) else value) for text in _texts(item)]
    return [value] if isinstance(value, str) else []


def _count(path: Path, name: str, value: Any) -> int | None:
    if value is not None and (type(value) is not int or value < 1):
        raise UsageError(f"{path}: {name} is {shown(value)}, and must be a whole number from 1.")
    return value
