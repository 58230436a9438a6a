"""Model folders: found, checked and identified.

A model is a name on the Hugging Face hub, a local folder, or a GGUF file (or a folder with just that). A folder may
hold a LoRA adapter, which comes with the base that it is merged into. Nothing is loaded here (see `loading`).
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from refine_eval.errors import ModelError, first_line
from refine_eval.files import expanded, replace_file
from refine_eval.models.folders import check_model_folder, read_json
from refine_eval.terminal import shortened, shown

ADAPTER = "adapter_config.json"
"""The file that makes a folder one of a LoRA adapter (peft's name)."""

ADAPTER_WEIGHTS = "adapter_model.safetensors"

_TRAINING = "stage.yaml"
"""What `refine-eval train` writes beside the weights (see `stages.folder`): here, which base they are for."""

_LONGEST_PATH = 4_096
_LONGEST_CHAIN = 8
"""Adapters that stand on one another: a person trains one or two, a hostile folder any number."""

_LONGEST_NAME = 500
_HUB_NAME = re.compile(r"[\w.-]+(/[\w.-]+)?")
_SAFE_FILES = ("*.safetensors", "*.json", "*.jinja", "*.model", "*.txt")
_PICKLED = ("*.bin", "*.pt", "*.pth", "*.ckpt", "*.pkl")
_CONTENT = (
    *("config.json", ADAPTER, "generation_config.json", "tokenizer.json", "tokenizer_config.json"),
    *("special_tokens_map.json", "added_tokens.json", "vocab.json", "vocab.txt", "merges.txt"),
    *("*.model", "*.safetensors", "*.safetensors.index.json"),
)
"""The files on which a model's output depends."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelSource:
    """Where a model's files lie. `gguf` is the file's name in `folder`; `commit` is set for models of the hub.

    `base` is set for a LoRA adapter: the model that it is merged into, which may be an adapter itself.
    """

    name: str
    folder: Path
    gguf: str | None = None
    commit: str | None = None
    base: ModelSource | None = None


def resolve_model(name: str, revision: str | None = None) -> ModelSource:
    """The files of a model, fetched from the hub where `name` is neither a folder nor a file.

    A LoRA adapter comes with its base. ModelError where there is no such model, where the hub cannot be reached, and
    where the weights are only pickled, which could run any code when read.
    """
    return _resolve(name, revision, above=())


def _resolve(name: str, revision: str | None, above: tuple[Path, ...]) -> ModelSource:
    path = expanded(name)
    if os.path.isfile(path):
        if path.suffix != ".gguf":
            raise ModelError(f"{name} is not a GGUF file; pass a model folder, a .gguf file or a hub name.")
        return ModelSource(name=name, folder=path.parent, gguf=path.name)
    if os.path.isdir(path):
        return _checked_folder(ModelSource(name=name, folder=path), above)
    if not _may_be_of_hub(name):
        raise ModelError(f"There is no model folder or file {_short(name)}; check the path.")
    return _checked_folder(_from_hub(name, revision), above)


def _may_be_of_hub(name: str) -> bool:
    return bool(_HUB_NAME.fullmatch(name)) and not name.startswith(".") and not name.endswith(".gguf")


def cached_file(name: str, file: str, revision: str | None = None) -> Path | None:
    """A file of a hub's model as it was fetched last; None where it was not, and of no model of the hub.

    Nothing is asked of the hub.
    """
    if os.path.exists(expanded(name)) or not _may_be_of_hub(name):
        return None
    from huggingface_hub import try_to_load_from_cache
    from huggingface_hub.errors import HFValidationError

    try:
        found = try_to_load_from_cache(name, file, revision=revision)
    except HFValidationError:  # a name that the hub cannot have
        return None
    return Path(found) if isinstance(found, str) else None


def fetch_ahead(name: str, file: str, revision: str | None = None) -> None:
    """Fetches a file of a hub's model of which nothing was fetched yet, if it has that file; else asks nothing.

    `resolve_model` fetches it with the others. ModelError as there.
    """
    known = (cached_file(name, each, revision) for each in ("config.json", ADAPTER, file))
    if not os.path.exists(expanded(name)) and _may_be_of_hub(name) and not any(known):
        _from_hub(name, revision, (file,))


def _short(name: str) -> str:
    """A name that a file or a user gives, as part of a sentence: no path is longer."""
    return shortened(name, _LONGEST_NAME)


def resolve_adapter(folder: str) -> ModelSource:
    """The files of a LoRA adapter in a local folder, for an engine that has its base; ModelError without the files.

    An adapter that was trained on top of another one is refused: on the base alone it would be another model.
    """
    path = expanded(folder)
    check_files(folder, path)
    base, identity = named_base(folder, path), identity_of_base(path)
    if base and ("+" in (identity or "") or any(map(is_adapter, _named_places(base, path, identity)))):
        raise ModelError(
            f"The base of the adapter {folder} is the adapter {base}, and only the engine transformers, which merges "
            "both, can serve it; pass --model transformers."
        )
    return ModelSource(name=folder, folder=path)


def without_adapter(source: ModelSource, instead: str) -> ModelSource:
    """The source; ModelError where it is a LoRA adapter and who asks cannot merge. `instead` is what to do then."""
    if source.base:
        raise ModelError(f"{source.name} is a LoRA adapter and not a whole model; {instead}.")
    return source


def model_identity(source: ModelSource) -> str:
    """What a model's output depends on: "name@commit" for the hub, a hash of the files' contents for a folder.

    A merged adapter's has its base's before it, as "base+adapter".
    Hashes are kept by path, size and time of change in the user's cache folder, so that large weights are read
    for this only once.
    """
    if source.base:
        return f"{model_identity(source.base)}+{model_identity(replace(source, base=None))}"
    if source.commit:
        return f"{source.name}@{source.commit}"
    return _content(source.folder, [source.gguf] if source.gguf else _files(source.folder, _CONTENT))


def tokenizer_identity(folder: str) -> str:
    """What the tokenizer in a local folder depends on: a hash of the contents of its files, weights left out."""
    path = expanded(folder)
    return _content(path, [name for name in _files(path, _CONTENT) if ".safetensors" not in name])


def _content(folder: Path, names: Sequence[str]) -> str:
    whole = hashlib.sha256()
    with _hash_cache() as known:
        for name in names:
            whole.update(f"{name}\0{_file_hash(folder / name, known)}\n".encode())
    return f"sha256:{whole.hexdigest()[:32]}"


def _checked_folder(source: ModelSource, above: tuple[Path, ...]) -> ModelSource:
    """The source, if its folder holds a model that may be read; `above` are the adapters that led here."""
    if is_adapter(source.folder):
        return _with_base(source, above)
    folder, config = source.folder, (source.folder / "config.json").is_file()
    ggufs = _files(folder, ["*.gguf"])
    if not config and len(ggufs) == 1:
        return ModelSource(name=source.name, folder=folder, gguf=ggufs[0], commit=source.commit)
    if not config and ggufs:
        raise ModelError(f"{source.name} holds {len(ggufs)} GGUF files; pass the path of one, such as {ggufs[0]}.")
    if not config:
        raise ModelError(f"{source.name} is not a model folder: it holds no config.json and no .gguf file.")
    if _files(folder, ["*.safetensors"]):
        check_model_folder(source.name, folder)
        return source
    pickled = _files(folder, _PICKLED)
    if pickled or source.commit:
        raise ModelError(
            f"{source.name} has weights only as {pickled[0] if pickled else 'pickled files'}, and refine-eval reads "
            "weights only as safetensors; convert them where you trust them: load the model with transformers and "
            "save it with model.save_pretrained(FOLDER)."
        )
    raise ModelError(f"{source.name} holds a config.json but no weights (*.safetensors).")


class _EndlessChain(ModelError):
    """A chain of adapters without end: said as it is, not once for every link."""


def _with_base(adapter: ModelSource, above: tuple[Path, ...]) -> ModelSource:
    """The adapter with its base: what it names, or, where its folder was moved, what it was trained on."""
    check_files(adapter.name, adapter.folder)
    if len(above) >= _LONGEST_CHAIN:
        raise _EndlessChain(
            f"{adapter.name} is the base of {len(above)} adapters, one on another; merge some of them into theirs."
        )
    name, revision = base_of(adapter.name, adapter.folder)
    folder = adapter.folder.resolve()
    if folder in above:
        raise _EndlessChain(f"The adapter {adapter.name} is its own base; correct base_model_name_or_path in {folder}.")
    identity = identity_of_base(adapter.folder)
    failed: ModelError | None = None
    others = []
    for place in _places(name, adapter.folder, identity):
        try:
            base = _resolve(place, revision, (*above, folder))
        except _EndlessChain:
            raise
        except ModelError as error:
            failed = failed or error
            continue
        if identity is None or model_identity(base) == identity:
            return replace(adapter, base=base)
        others.append(place)
    if others:
        raise ModelError(
            f"{others[0]} is not the base on which the LoRA adapter {adapter.name} was trained: it was changed since, "
            f"or is another model; put the base back, or train the adapter again (if you do mean this one, remove "
            f"base_identity from {adapter.folder / _TRAINING})."
        )
    raise ModelError(
        f"The base {_short(name)} of the LoRA adapter {adapter.name} is not available; put it there, or correct "
        f"base_model_name_or_path in {adapter.folder / ADAPTER}: {failed}"
    ) from failed


def _places(name: str, adapter: Path, identity: str | None) -> Iterator[str]:
    """Where an adapter's base may be: as it is named, or beside the adapter by whatever name, known by its identity."""
    named = [place for place in _named_places(name, adapter, identity) if os.path.exists(expanded(place))]
    yield from named or [name]
    if identity:
        for place in sorted(adapter.absolute().parent.iterdir()):
            if own_identity(place) == identity.rpartition("+")[2]:
                yield str(place)


def _named_places(name: str, adapter: Path, identity: str | None) -> list[str]:
    """What an adapter names as its base: as seen from here, and from the adapter's folder."""
    relative = name.startswith(".") or (identity and not Path(name).is_absolute())
    folders = (adapter.resolve(), adapter.absolute()) if relative else ()
    return [name, *dict.fromkeys(os.path.normpath(folder / name) for folder in folders)]


def own_identity(place: Path) -> str | None:
    """The identity of a model folder or GGUF file, of an adapter without its base's; None where there is no model."""
    if place.suffix == ".gguf" and place.is_file():
        return model_identity(ModelSource(name=place.name, folder=place.parent, gguf=place.name))
    if (place / "config.json").is_file() or is_adapter(place):
        return model_identity(ModelSource(name=place.name, folder=place))
    return None


def identity_of_base(adapter: Path) -> str | None:
    """The identity of the folder or file that an adapter was trained on, where refine-eval trained it, else None."""
    import yaml

    try:
        found = yaml.safe_load((adapter / _TRAINING).read_text(encoding="utf-8"))["settings"]["base_identity"]
    except (OSError, ValueError, KeyError, TypeError, RecursionError, yaml.YAMLError):
        return None
    # A model of the hub is known by its commit, and a copy of it in a folder by a hash.
    return found if isinstance(found, str) and "@" not in found else None


def base_for(adapter: Path, base: str) -> str:
    """The base as an adapter's configuration should name it.

    Relative to the adapter's folder where it was typed as a relative path or lies in the same folder, so that both can
    be moved or copied together; a name of the hub and other absolute paths stay as they are.
    """
    path = Path(base)
    if not path.exists():
        return base
    below, here = path.parent.resolve() / path.name, adapter.parent.resolve() / adapter.name
    return os.path.relpath(below, here) if not path.is_absolute() or below.is_relative_to(here.parent) else base


def _from_hub(name: str, revision: str | None, files: Sequence[str] = _SAFE_FILES) -> ModelSource:
    """A model of the hub, downloaded into the usual cache; only the files that will be read."""
    from huggingface_hub import snapshot_download
    from huggingface_hub.errors import HfHubHTTPError, RepositoryNotFoundError, RevisionNotFoundError

    try:
        folder = Path(
            snapshot_download(
                name,
                revision=revision,
                allow_patterns=list(files),
                ignore_patterns=["*/*", "consolidated*"],  # other formats of the same weights
            )
        )
    except RevisionNotFoundError as error:
        raise ModelError(f"The hub's model {name} has no revision {revision!r}.") from error
    except RepositoryNotFoundError as error:
        raise ModelError(
            f"There is no folder {name}, and the hub has no such model or does not show it to you; check the name, "
            "or log in with: hf auth login"
        ) from error
    except (OSError, HfHubHTTPError, ValueError, RuntimeError) as error:
        raise ModelError(
            f"There is no folder {name}, and it cannot be fetched from the hub ({first_line(error)}); pass a "
            "local folder, or try again with a network."
        ) from error
    return ModelSource(name=name, folder=folder, commit=folder.name)


def _files(folder: Path, patterns: Sequence[str]) -> list[str]:
    return sorted({path.name for pattern in patterns for path in folder.glob(pattern) if path.is_file()})


def _file_hash(path: Path, known: dict[str, str]) -> str:
    status = path.stat()
    key = f"{path.resolve()}:{status.st_size}:{status.st_mtime_ns}"
    if key not in known:
        with path.open("rb") as file:
            known[key] = hashlib.file_digest(file, "sha256").hexdigest()
    return known[key]


@contextlib.contextmanager
def _hash_cache() -> Iterator[dict[str, str]]:
    """Hashes of files that were read before. Losing them, or not being able to keep them, only costs time."""
    import platformdirs

    path = Path(platformdirs.user_cache_dir("refine-eval")) / "file-hashes.json"
    try:
        read = json.loads(path.read_text())
    except (OSError, ValueError, RecursionError):
        read = {}
    before: dict[str, str] = read if isinstance(read, dict) else {}
    known = dict(before)
    yield known
    if known != before:
        with contextlib.suppress(OSError):
            path.parent.mkdir(parents=True, exist_ok=True)
            replace_file(path, json.dumps(known).encode())


def is_adapter(folder: Path | str) -> bool:
    """Whether a folder holds a LoRA adapter."""
    return os.path.isfile(expanded(folder) / ADAPTER)


def check_files(name: str, folder: Path) -> None:
    """ModelError where a folder does not hold an adapter's two files."""
    if not is_adapter(folder):
        raise ModelError(f"{name} is not a folder with a LoRA adapter: it holds no {ADAPTER}.")
    if not (folder / ADAPTER_WEIGHTS).is_file():
        raise ModelError(
            f"{name} holds no {ADAPTER_WEIGHTS}, and refine-eval reads weights only as safetensors; save the "
            "adapter again with a recent peft."
        )


def base_of(name: str, folder: Path) -> tuple[str, str | None]:
    """The model that an adapter names as its base, and that model's revision; ModelError where it names none."""
    config = adapter_config(name, folder)
    kind = config.get("peft_type")
    if kind != "LORA":
        raise ModelError(
            f"{name} is an adapter of the kind {shown(kind)}, and only LoRA adapters are read; merge it "
            "into its base with peft and pass the model that comes out."
        )
    base = named_base(name, folder)
    if not base:
        raise ModelError(f"The adapter {name} names no base; write it into its {ADAPTER} as base_model_name_or_path.")
    revision = config.get("revision")
    if not isinstance(revision, str | None):
        raise ModelError(f"The adapter {name} names a revision of its base that is no text; correct its {ADAPTER}.")
    return base, revision


def named_base(name: str, folder: Path) -> str | None:
    """The model that an adapter names as its base, if it does."""
    base = adapter_config(name, folder).get("base_model_name_or_path")
    if base and not (isinstance(base, str) and base.isprintable() and len(base) <= _LONGEST_PATH):
        raise ModelError(f"The adapter {name} names a base that is no path or name; correct its {ADAPTER}.")
    return base or None


def adapter_config(name: str, folder: Path) -> dict[str, Any]:
    """The contents of an adapter's configuration file; ModelError where it cannot be read."""
    return read_json(folder / ADAPTER, f"The adapter {name} cannot be read")
