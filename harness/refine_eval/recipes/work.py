"""A recipe's work folder: what is there, what is stale and why, and that only one `recipe run` works in it.

    WORK/STAGE              a stage's output
    WORK/results            the store, and the records of the stages that run
    WORK/logs/STAGE.log     what a stage's process printed
    WORK/recipe.yaml        of each stage that was made: its key, the digests of its output and of what it read, the
                            seconds it took, its command, the models it read and the version that made it

A stage is ready if its key is that of its output: a hash of what it says and of the outputs it reads, in which no path
into the work folder stands; and if the models outside that folder that it names have the content that it read. What
another version of refine-eval made is kept, and said. Other things outside that are replaced in their place (the data
of a task, a folder that a stage reads) are not seen: remove the stage's folder to make it again.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

import yaml

import refine_eval
from refine_eval.errors import StageError, UsageError
from refine_eval.files import BusyError, expanded, locked, replace_file
from refine_eval.models.sources import own_identity
from refine_eval.reading import from_yaml, read_bytes
from refine_eval.recipes.files import Stage
from refine_eval.recipes.suites import read_suite
from refine_eval.results.records import read_run
from refine_eval.runs.store import content_key
from refine_eval.stages.folder import INFO, read_folder, stage_of

READY = "ready"
MISSING = "missing"
_NEVER_MADE = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class StageRecord:
    """What `recipe.yaml` says of a stage. `digest` is empty while it is made and where that failed."""

    key: str = _NEVER_MADE
    digest: str = _NEVER_MADE
    inputs: Mapping[str, str] = field(default_factory=dict)
    seconds: float = 0.0
    """What it took; while it is not finished, what was spent on it so far."""
    command: str = ""
    replaces: str = ""
    """While it is made: the digest of what lay at its place before."""
    models: Mapping[str, str] = field(default_factory=dict)
    """The content of the models outside the work folder that it names, by the names of their folders."""
    version: str = ""
    """The refine-eval that made it; empty for one that did not say so yet."""

    def __post_init__(self) -> None:
        """ValueError for a value of another type: it was read from a file."""
        texts = (self.key, self.digest, self.command, self.replaces, self.version)
        if not all(isinstance(text, str) for text in texts) or not all(
            isinstance(found, Mapping) for found in (self.inputs, self.models)
        ):
            raise ValueError("a stage's entry has a value of another type")
        if not isinstance(self.seconds, float | int) or not 0 <= self.seconds < float("inf"):
            raise ValueError("the seconds of a stage are no time")


class WorkFolder:
    """The work folder of a recipe; nothing is written before a stage is made."""

    def __init__(self, folder: Path, stages: Sequence[Stage]) -> None:
        if "," in str(folder):
            raise UsageError(f"--work {folder} has a comma, at which --model-args would part it; name another folder.")
        self.folder = folder
        self.stages = {stage.name: stage for stage in stages}
        self.made = self._read()

    def path_of(self, stage: Stage) -> Path:
        """Where a stage's output is; of a run the record, or the folder of its records where it leaves several."""
        if stage.command != "run":
            return self.folder / stage.name
        runs = self.results / "runs"
        return runs / stage.records[0] if len(stage.records) == 1 else runs

    def places(self, stage: Stage) -> dict[str, str]:
        """Where the outputs are that a stage reads."""
        return {need: str(self.path_of(self.stages[need])) for need in stage.needs}

    @property
    def results(self) -> Path:
        """The results folder of all stages: one store."""
        return self.folder / "results"

    def log(self, stage: Stage) -> Path:
        """Where a stage's output on the terminal goes."""
        return self.folder / "logs" / f"{stage.name}.log"

    def digest(self, stage: Stage) -> str | None:
        """A hash of a stage's output; None where there is none, StageError where it is not as it was made."""
        if stage.command == "run":
            return self._digest_of_records(stage)
        place = self.path_of(stage)
        if not (place / INFO).is_file():
            return None
        advice = f"remove {place}, and the same command makes it again"
        return read_folder(place, " ".join(stage.do), advice).digest

    def _digest_of_records(self, stage: Stage) -> str | None:
        """Of the traces: times are in a record too, but not in them."""
        found = []
        for name in stage.records:
            folder = self.results / "runs" / name
            if not folder.is_dir():
                return None
            read_run(folder)
            try:
                with (folder / "traces.jsonl").open("rb") as file:
                    found.append(hashlib.file_digest(file, "sha256").hexdigest())
            except OSError as error:
                raise StageError(f"{folder} lost its traces ({error}); remove it to make it again.") from error
        return content_key(found).hex()

    def digests(self, stages: Sequence[Stage]) -> dict[str, str]:
        """The digests of the outputs that are there; StageError where one was edited or replaced since it was made."""
        found = {}
        for stage in stages:
            self._check_kind(stage)
            made = self._with_output_of_an_orphan(stage)
            # Whatever else lies where a stage never finished is not taken for its output, edited or not.
            digest = self.digest(stage) if made.digest else None
            if digest and digest != made.digest:
                raise StageError(
                    f"{self.path_of(stage)} was replaced or edited since the recipe made it; remove it to make it "
                    "again, or name another --work."
                )
            if digest:
                found[stage.name] = digest
        return found

    def _with_output_of_an_orphan(self, stage: Stage) -> StageRecord:
        """What is known of a stage; one that outlived a killed recipe finished an output that nobody recorded."""
        made = self.made.get(stage.name, StageRecord())
        # Outputs appear whole, but for records, which grow; those are made again from the store.
        if made.key and not made.digest and stage.command != "run" and (found := self._lying(stage)) != made.replaces:
            made = self.made[stage.name] = replace(made, digest=found, replaces="")
        return made

    def _lying(self, stage: Stage) -> str:
        """The digest of whatever lies at a stage's place; empty where there is nothing whole."""
        try:
            return self.digest(stage) or ""
        except StageError:
            return ""

    def _check_kind(self, stage: Stage) -> None:
        """StageError where the folder holds what the stage does no longer: its command would not replace that."""
        place = self.path_of(stage)
        if stage.command != "run" and (place / INFO).is_file() and stage_of(place) != " ".join(stage.do):
            raise StageError(
                f"{place} is the output of {stage_of(place)!r}, and stage {stage.name!r} does {' '.join(stage.do)!r}; "
                "remove it, or name another --work."
            )

    def state(self, stage: Stage, digests: Mapping[str, str], to_make: Sequence[str] = ()) -> str:
        """ "ready", or why it is to be made: "missing", "stale: ..."; "waits for ..." while that hangs on `to_make`."""
        made = self.made.get(stage.name)
        if stage.name not in digests or made is None:
            return MISSING
        if stage.key({need: made.inputs.get(need, "") for need in stage.needs}) != made.key:
            return f"stale: its settings changed{self._since(made)}"
        # Of one that was removed since, or of a record of before, nothing is known.
        now = self._models(stage) if made.models else {}
        if replaced := [name for name in now if now[name] != made.models.get(name, now[name])]:
            return f"stale: the model {_names(replaced)} was replaced"
        new = [need for need in stage.needs if need not in to_make and digests.get(need) != made.inputs.get(need)]
        if new:
            return f"stale: {_names(new)} {'is' if len(new) == 1 else 'are'} new"
        waiting = [need for need in stage.needs if need in to_make]
        return f"waits for {_names(waiting)}" if waiting else READY

    def kept(self, stages: Sequence[Stage], states: Mapping[str, str]) -> str | None:
        """A sentence on those that are ready and were made by another version of refine-eval; None where none was."""
        others = [
            s.name for s in stages if states[s.name] == READY and self.made[s.name].version != refine_eval.__version__
        ]
        if not others:
            return None
        by = dict.fromkeys(self.made[name].version or "an earlier version" for name in others)
        return (
            f"Note: {_names(others)} {'was' if len(others) == 1 else 'were'} made by refine-eval {', '.join(by)} and "
            f"kept; remove a stage's output to make it again with {refine_eval.__version__}."
        )

    def _since(self, made: StageRecord) -> str:
        if made.version == refine_eval.__version__:
            return ""
        return f", or {refine_eval.__version__} reads them otherwise than {made.version or 'an earlier version'}"

    def _models(self, stage: Stage) -> dict[str, str]:
        """The content of the models outside the work folder that a stage names now."""
        found: dict[str, str] = {}
        words = stage.words(dict.fromkeys(stage.needs, ""))
        of_suite = read_suite(stage.suite).runs.values() if stage.suite else ()
        parts = (part for some in (words, *of_suite) for word in some for part in word.split(","))
        for place in dict.fromkeys(part.rpartition("=")[2] for part in parts):
            path = expanded(place)
            if place and os.path.exists(path) and not path.resolve().is_relative_to(self.folder.resolve()):
                found[path.name] = found.get(path.name, "") + (own_identity(path) or "")
        return {name: content for name, content in found.items() if content}

    def begin(self, stage: Stage, digests: Mapping[str, str], command: str) -> None:
        """Before a stage is made: whatever lies at its place is no longer taken for its output."""
        before = self.made.get(stage.name, StageRecord())
        inputs = {need: digests[need] for need in stage.needs}
        made = StageRecord(
            key=stage.key(inputs),
            inputs=inputs,
            command=command,
            replaces=self._lying(stage),
            models=self._models(stage),
            version=refine_eval.__version__,
        )
        # Of another attempt at the same.
        spent = before.seconds if before.key == made.key and not before.digest else 0.0
        self._save(stage, replace(made, seconds=spent))

    def spend(self, stage: Stage, seconds: float) -> None:
        """Adds to the time of a stage, whether it was stopped or is done."""
        before = self.made[stage.name]
        self._save(stage, replace(before, seconds=round(before.seconds + seconds, 1)))

    def finish(self, stage: Stage) -> str:
        """Takes what a stage left for its output; the digest. StageError where there is nothing."""
        digest = self.digest(stage)
        if digest is None:
            raise StageError(f"Stage {stage.name!r} ended well and left nothing in {self.path_of(stage)}.")
        self._save(stage, replace(self.made[stage.name], digest=digest, replaces=""))
        return digest

    @contextmanager
    def locked(self) -> Iterator[int]:
        """One `recipe run` at a time; yields the lock's file, for its stages' processes to hold as well."""
        with ExitStack() as stack:
            try:
                self.folder.mkdir(parents=True, exist_ok=True)
                held = stack.enter_context(locked(self.folder / ".lock", wait_s=0))
            except BusyError as error:
                raise StageError(
                    f"Another `recipe run` works in {self.folder}, or a stage that outlived one; wait for its end, or "
                    "name another --work."
                ) from error
            except OSError as error:
                raise StageError(
                    f"{self.folder} cannot be written ({error}); name another folder with --work."
                ) from error
            self.made = self._read()
            yield held

    def _read(self) -> dict[str, StageRecord]:
        path = self.folder / "recipe.yaml"
        try:
            found = from_yaml(read_bytes(path), written_here=True)["stages"] if path.exists() else {}
            if any("do" in made for made in found.values()):
                raise StageError(
                    f"{path} is a recipe, and in its place the work folder keeps what it knows of its stages; name "
                    "another --work, or the recipe."
                )
            return {str(name): StageRecord(**made) for name, made in found.items()}
        except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
            raise StageError(
                f"{path} cannot be read ({' '.join(str(error).split())[:120]}); move it away to make every stage "
                "again, from what is stored."
            ) from error

    def _save(self, stage: Stage, made: StageRecord) -> None:
        self.made[stage.name] = made
        path = self.folder / "recipe.yaml"
        info: dict[str, Any] = {"stages": {name: asdict(one) for name, one in self.made.items()}}
        try:
            replace_file(path, yaml.safe_dump(info, sort_keys=False, allow_unicode=True).encode())
        except OSError as error:
            raise StageError(
                f"{path} cannot be written ({error}); free some space and run the same command again."
            ) from error


def _names(names: Sequence[str]) -> str:
    return " and ".join(f"`{name}`" for name in names)
