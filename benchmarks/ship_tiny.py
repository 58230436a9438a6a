"""Puts the models that the recipe `tiny` made where the packages ship them.

    refine-eval recipe run tiny --work WORK && python benchmarks/ship_tiny.py WORK

`--check` copies nothing and fails where a shipped file is not, byte for byte, the one in WORK: on one machine the
recipe gives the same models every time. Only how long a training took, and how much was stored before, may differ.
"""

import argparse
import re
import shutil
import sys
from pathlib import Path

from refine_eval.errors import RefineEvalError, StageError
from refine_eval.stages.folder import read_folder, stage_of

ROOT = Path(__file__).resolve().parents[1]
PLACES = {
    "student": ROOT / "benchmarks/refine_eval_benchmarks/models/student",
    "orm": ROOT / "plugins/orm/refine_eval_orm/models/orm",
    "sorm": ROOT / "plugins/sorm/refine_eval_sorm/models/sorm",
    "global": ROOT / "plugins/refiners/refine_eval_refiners/models/global",
    "local": ROOT / "plugins/refiners/refine_eval_refiners/models/local",
}
"""By the recipe's stage."""
OF_THE_TRAINING = ("stage.yaml", "training.json")
"""Files of the work folder that are not shipped; they name its paths."""
MAY_DIFFER = re.compile(rb"^- seconds: .*\n?|, generated_now \d+", re.MULTILINE)
"""Figures that older model cards have, and that are others each time."""
CARD = """---
license: mit
library_name: transformers
tags: [glore, refine-eval, synthetic]
---

# apples: tiny {name}

Trained on the synthetic world "apples" that refine-eval bundles (`refine_eval_benchmarks/apples.py`), so that the whole
GLoRe method (Havrilla et al., ICML 2024, arXiv 2402.10963) runs offline in seconds. Made from nothing by

    refine-eval recipe run tiny --work WORK && python benchmarks/ship_tiny.py WORK

docs/findings.md has its figures. The stage.yaml and training.json spoken of below stay in WORK.

## Not good for

Anything but this world. It knows about a hundred tokens; any other word becomes `<unk>`, and `config.json` says
`"refine_eval_task": "apples"` so that the harness can refuse such text. Its figures say how this small world behaves,
not how large language models do.

"""


def shipped_files(work: Path, name: str) -> dict[str, bytes]:
    """A model's files as they ship, by name; StageError where the stage is not finished, was edited, or is another."""
    folder = read_folder(work / name, stage_of(work / name))
    files = {file: (work / name / file).read_bytes() for file in folder.files if file not in OF_THE_TRAINING}
    if "model.safetensors" not in files:
        raise StageError(f"{work / name} holds no model of the recipe tiny; name the folder that it worked in.")
    files["README.md"] = CARD.format(name=name).encode() + files["README.md"]
    return files


def stale(place: Path, wanted: dict[str, bytes]) -> list[Path]:
    """The files in a place that are missing, differ, or should not be there."""
    there = {path.name: path.read_bytes() for path in place.glob("*") if path.is_file()}

    def told(files: dict[str, bytes], name: str) -> bytes | None:
        return MAY_DIFFER.sub(b"", files[name]) if name == "README.md" and name in files else files.get(name)

    return [place / name for name in sorted({*there, *wanted}) if told(there, name) != told(wanted, name)]


def main() -> None:
    """Copies, or checks."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("work", type=Path, help="the recipe's work folder")
    parser.add_argument("--check", action="store_true")
    given = parser.parse_args()
    try:
        wanted = {place: shipped_files(given.work, name) for name, place in PLACES.items()}
    except RefineEvalError as error:
        sys.exit(str(error))
    if given.check:
        different = [str(file.relative_to(ROOT)) for place, files in wanted.items() for file in stale(place, files)]
        if different:
            sys.exit(f"Not as in {given.work}: {', '.join(different)}.")
        return
    for place, files in wanted.items():
        shutil.rmtree(place, ignore_errors=True)
        place.mkdir(parents=True)
        for file, content in files.items():
            (place / file).write_bytes(content)


if __name__ == "__main__":
    main()
