"""Puts the models that the recipe `tiny` made where the packages ship them.

    refine-eval recipe run tiny --work WORK && python benchmarks/ship_tiny.py WORK

`--check` copies nothing and fails where a shipped model is not, byte for byte, the one in WORK: on one machine the
recipe gives the same weights every time.
"""

import argparse
import shutil
import sys
from pathlib import Path

from refine_eval.training.folder import read_folder, stage_of

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
    """A model's files as they ship, by name; StageError where the stage is not finished or was edited."""
    folder = read_folder(work / name, stage_of(work / name))
    files = {file: (work / name / file).read_bytes() for file in folder.files if file not in OF_THE_TRAINING}
    files["README.md"] = CARD.format(name=name).encode() + files["README.md"]
    return files


def main() -> None:
    """Copies, or checks."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("work", type=Path, help="the recipe's work folder")
    parser.add_argument("--check", action="store_true")
    given = parser.parse_args()
    different = []
    for name, place in PLACES.items():
        files = shipped_files(given.work, name)
        if given.check:
            weights = place / "model.safetensors"
            if not weights.is_file() or weights.read_bytes() != files["model.safetensors"]:
                different.append(str(place.relative_to(ROOT)))
            continue
        shutil.rmtree(place, ignore_errors=True)
        place.mkdir(parents=True)
        for file, content in files.items():
            (place / file).write_bytes(content)
    if different:
        sys.exit(f"Not the weights of {given.work}: {', '.join(different)}.")


if __name__ == "__main__":
    main()
