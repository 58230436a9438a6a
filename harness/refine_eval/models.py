"""Model folders: found, checked, identified and loaded; shared by engines and trained critics.

A model is a name on the Hugging Face hub, a local folder, or a GGUF file (or a folder with just that). A folder may
hold a LoRA adapter, which is merged into its base when it is loaded. Weights are read as safetensors or GGUF only, and
no code that comes with a model is ever run.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from refine_eval import adapters
from refine_eval.errors import ModelError, first_line, missing_extra

_SAFE_FILES = ("*.safetensors", "*.json", "*.model", "*.txt")
_PICKLED = ("*.bin", "*.pt", "*.pth", "*.ckpt", "*.pkl")
_CONTENT = (
    *("config.json", adapters.ADAPTER, "generation_config.json", "tokenizer.json", "tokenizer_config.json"),
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


@dataclass(frozen=True, slots=True, kw_only=True)
class LoadedModel:
    """A model in evaluation mode on its device, with its tokenizer."""

    source: ModelSource
    model: Any
    tokenizer: Any
    device: str
    dtype: str

    @property
    def context(self) -> int | None:
        """The most tokens that the model can read; None where its configuration does not say."""
        length = getattr(self.model.config.get_text_config(), "max_position_embeddings", None)
        return int(length) if length else None


def resolve_model(name: str, revision: str | None = None) -> ModelSource:
    """The files of a model, fetched from the hub where `name` is neither a folder nor a file.

    A LoRA adapter comes with its base. ModelError where there is no such model, where the hub cannot be reached, and
    where the weights are only pickled, which could run any code when read.
    """
    return _resolve(name, revision, above=())


def _resolve(name: str, revision: str | None, above: tuple[Path, ...]) -> ModelSource:
    path = Path(name).expanduser()
    if path.is_file():
        if path.suffix != ".gguf":
            raise ModelError(f"{name} is not a GGUF file; pass a model folder, a .gguf file or a hub name.")
        return ModelSource(name=name, folder=path.parent, gguf=path.name)
    if path.is_dir():
        return _checked_folder(ModelSource(name=name, folder=path), above)
    if not re.fullmatch(r"[\w.-]+(/[\w.-]+)?", name) or name.startswith(".") or path.suffix == ".gguf":
        raise ModelError(f"There is no model folder or file {name}; check the path.")
    return _checked_folder(_from_hub(name, revision), above)


def resolve_adapter(folder: str) -> ModelSource:
    """The files of a LoRA adapter in a local folder, for an engine that has its base; ModelError without the files.

    An adapter that was trained on top of another one is refused: on the base alone it would be another model.
    """
    path = Path(folder).expanduser()
    adapters.check_files(folder, path)
    if (base := adapters.named_base(folder, path)) and adapters.is_adapter(base):
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
    names = [source.gguf] if source.gguf else _files(source.folder, _CONTENT)
    whole = hashlib.sha256()
    with _hash_cache() as known:
        for name in names:
            whole.update(f"{name}\0{_file_hash(source.folder / name, known)}\n".encode())
    return f"sha256:{whole.hexdigest()[:32]}"


def choose_device(*wishes: str | None) -> str:
    """The first of `wishes` that is not None, "" or "auto", else the best device here: cuda, mps, cpu."""
    for wish in wishes:
        if wish and wish != "auto":
            return wish
    import torch

    if torch.cuda.is_available():
        return "cuda"
    return "mps" if torch.backends.mps.is_available() else "cpu"


def choose_dtype(device: str, *wishes: str | None) -> str:
    """The first of `wishes` that is not None, "" or "auto", else bfloat16 on a GPU that has it, or float32.

    ModelError for a name that is not one of float32, bfloat16, float16.
    """
    for wish in wishes:
        if wish and wish != "auto":
            if wish not in ("float32", "bfloat16", "float16"):
                raise ModelError(f"dtype {wish!r} is not known; use auto, float32, bfloat16 or float16.")
            return wish
    import torch

    with_bfloat16 = device.startswith("mps") or (device.startswith("cuda") and torch.cuda.is_bf16_supported())
    return "bfloat16" if with_bfloat16 else "float32"


def load_model(source: ModelSource, auto_class: str, device: str, dtype: str) -> LoadedModel:
    """The model and its tokenizer; `auto_class` is the name of a transformers class, "AutoModelForCausalLM".

    ModelError where the files do not make such a model: broken, another architecture, weights missing.
    """
    tokenizer = read_tokenizer(source)
    model, missing = read_model(source, auto_class, dtype)
    if missing:
        raise ModelError(
            f"The model {source.name} has no weights for {min(missing)}"
            f"{f' and {len(missing) - 1} more' if len(missing) > 1 else ''}, so it cannot serve as "
            f"{auto_class.removeprefix('AutoModelFor')}; pass a model that was trained for it."
        )
    with _loading(source):
        model = model.to(device).eval().requires_grad_(False)
    return LoadedModel(source=source, model=model, tokenizer=tokenizer, device=device, dtype=dtype)


def read_tokenizer(source: ModelSource) -> Any:
    """The tokenizer beside a model's weights; an adapter that brings none has its base's."""
    import transformers

    if source.base and not (source.folder / "tokenizer_config.json").is_file():
        return read_tokenizer(source.base)
    with _loading(source):
        return transformers.AutoTokenizer.from_pretrained(source.folder, **_reading(source))


def read_model(source: ModelSource, auto_class: str, dtype: str, **config: Any) -> tuple[Any, set[str]]:
    """The model, and which of its weights are in no file and therefore new; `config` changes its configuration.

    Adapters are merged in float32, whatever the dtype: a bfloat16 model would round each change before it is added.
    """
    import torch
    import transformers

    if source.base:
        if "TokenClassification" in auto_class and (labels := adapters.labels(source)):
            config = {"num_labels": labels, **config}
        model, missing = read_model(source.base, auto_class, "float32", **config)
        with _loading(source):
            model, missing = adapters.merge(model, source, source.base, missing)
        for parameter in model.parameters():  # not `model.to`: buffers such as rotary frequencies stay as they are
            parameter.data = parameter.data.to(getattr(torch, dtype))
        model.config.dtype = getattr(torch, dtype)
        return model, missing
    with _loading(source):
        model, report = getattr(transformers, auto_class).from_pretrained(
            source.folder,
            dtype=getattr(torch, dtype),
            output_loading_info=True,
            **({} if source.gguf else {"use_safetensors": True}),
            **_reading(source),
            **config,
        )
    return _without_quantization(model) if source.gguf else model, set(report["missing_keys"])


def _reading(source: ModelSource) -> dict[str, Any]:
    """How transformers reads a model's files."""
    options: dict[str, Any] = {"trust_remote_code": False, "local_files_only": True}
    if source.gguf:
        try:
            import gguf  # noqa: F401
        except ImportError as error:
            raise ModelError(missing_extra("gguf", "gguf")) from error
        options["gguf_file"] = source.gguf
    return options


@contextlib.contextmanager
def _loading(source: ModelSource) -> Iterator[None]:
    """Quietly, and what goes wrong is a ModelError: transformers, safetensors and gguf raise nearly anything."""
    with quiet_transformers():
        try:
            yield
        except ModelError:
            raise
        except Exception as error:
            raise ModelError(f"Cannot load the model {source.name}: {first_line(error)}") from error


def free_memory(device: str) -> None:
    """Give back what closed models held."""
    import gc

    import torch

    gc.collect()
    if device.startswith("cuda"):
        torch.cuda.empty_cache()


def is_out_of_memory(error: BaseException) -> bool:
    """Whether torch says, in one of its ways, that memory is at an end."""
    import torch

    if isinstance(error, torch.OutOfMemoryError):
        return True
    text = str(error).lower()
    return isinstance(error, RuntimeError) and ("out of memory" in text or "can't allocate memory" in text)


def check_vocabulary(
    tokenizer: Any, config: Any, text: str, problem_id: str, what: str, option: str, ids: Sequence[int] | None = None
) -> None:
    """ModelError where a bundled tiny model is given a word that it does not know; all else passes.

    Bundled models carry the key `refine_eval_task` in their config.json. `what` begins the sentence ("The critic
    sorm"), `option` is what the user may pass instead, and `ids` the text's tokens where they are known already.
    """
    task = getattr(config, "refine_eval_task", None)
    if task is None:
        return
    unknown = tokenizer.unk_token_id
    if ids is None:
        ids = tokenizer(text, add_special_tokens=False).input_ids
    if unknown not in ids:
        return
    encoded = tokenizer(text, add_special_tokens=False, return_offsets_mapping=True)
    start, end = encoded["offset_mapping"][encoded["input_ids"].index(unknown)]
    word = text[start:end].strip() or text[start:end]
    raise ModelError(
        f"{what} knows only the bundled task {task!r} and cannot read the word {word[:40]!r} of problem "
        f"{problem_id}; pass your own with {option}"
    )


@contextlib.contextmanager
def quiet_transformers() -> Iterator[None]:
    """Without transformers' advice and progress bars, as long as it lasts."""
    from transformers.utils import logging

    verbosity, bars = logging.get_verbosity(), logging.is_progress_bar_enabled()
    logging.set_verbosity_error()
    logging.disable_progress_bar()
    try:
        yield
    finally:
        logging.set_verbosity(verbosity)
        if bars:
            logging.enable_progress_bar()


def _checked_folder(source: ModelSource, above: tuple[Path, ...]) -> ModelSource:
    """The source, if its folder holds a model that may be read; `above` are the adapters that led here."""
    if adapters.is_adapter(source.folder):
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
        return source
    pickled = _files(folder, _PICKLED)
    if pickled or source.commit:
        raise ModelError(
            f"{source.name} has weights only as {pickled[0] if pickled else 'pickled files'}, and refine-eval reads "
            "weights only as safetensors; convert them where you trust them: load the model with transformers and "
            "save it with model.save_pretrained(FOLDER)."
        )
    raise ModelError(f"{source.name} holds a config.json but no weights (*.safetensors).")


def _with_base(adapter: ModelSource, above: tuple[Path, ...]) -> ModelSource:
    """The adapter with the model that it names as its base."""
    adapters.check_files(adapter.name, adapter.folder)
    name, revision = adapters.base_of(adapter.name, adapter.folder)
    folder = adapter.folder.resolve()
    if folder in above:
        raise ModelError(f"The adapter {adapter.name} is its own base; correct base_model_name_or_path in {folder}.")
    try:
        base = _resolve(name, revision, (*above, folder))
    except ModelError as error:
        raise ModelError(
            f"The base {name} of the LoRA adapter {adapter.name} cannot be had; put it there, or correct "
            f"base_model_name_or_path in {adapter.folder / adapters.ADAPTER}: {error}"
        ) from error
    return replace(adapter, base=base)


def _from_hub(name: str, revision: str | None) -> ModelSource:
    """A model of the hub, downloaded into the usual cache; only the files that will be read."""
    from huggingface_hub import snapshot_download
    from huggingface_hub.errors import HfHubHTTPError, RepositoryNotFoundError, RevisionNotFoundError

    try:
        folder = Path(
            snapshot_download(
                name,
                revision=revision,
                allow_patterns=list(_SAFE_FILES),
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


def _without_quantization(model: Any) -> Any:
    """The model as if it had never been quantised: GGUF weights are unpacked when they are read."""
    if hasattr(model.config, "quantization_config"):
        del model.config.quantization_config
    model.hf_quantizer = None
    model.is_quantized = False
    return model


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
    except (OSError, ValueError):
        read = {}
    before: dict[str, str] = read if isinstance(read, dict) else {}
    known = dict(before)
    yield known
    if known != before:
        with contextlib.suppress(OSError):
            path.parent.mkdir(parents=True, exist_ok=True)
            partial = path.with_name(f"{path.name}.{id(known)}")
            partial.write_text(json.dumps(known))
            partial.replace(path)
