"""Which of the paper's claims hold: docs/findings.md and its plots, from the committed run records only.

    python benchmarks/findings            writes the page
    python benchmarks/findings --check    exits with 1 if the page is not what it would write

A size's records are results/published/PREFIX-NAME with NAME = glore (all else needs it), best-of-3, where-orm,
oracle-steps, calculator, control, and ablation-ANY-glore; what is not there is "not tested".
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from findings.page import COMMAND, page
from findings.records import Size, read_size
from findings.untrained import untrained
from refine_eval.errors import RefineEvalError, RunError

SMOLLM2 = "refine-eval recipe run smollm2 --work DIR --set seed=N --set base=SmolLM2-135M-Instruct.Q4_1.gguf"

SIZES = (
    Size(
        key="tiny",
        title="tiny: apples, a student of 0.14 M parameters",
        prefixes=("tiny-0", "tiny-1", "tiny-2"),
        make="refine-eval recipe run tiny --work DIR --set seed=N",
    ),
    Size(
        key="tiny-early",
        title="tiny, the student before expert iteration",
        prefixes=("tiny-0-early", "tiny-1-early", "tiny-2-early"),
        make="refine-eval recipe run tiny --work DIR --set seed=N",
    ),
    Size(
        key="smollm2-svamp",
        title="SmolLM2-135M on SVAMP",
        prefixes=("smollm2-svamp-0",),
        make=f"{SMOLLM2} --data-dir DATA",
    ),
    Size(
        key="smollm2-gsm8k",
        title="SmolLM2-135M on GSM8K",
        prefixes=("smollm2-gsm8k-0",),
        make=f"{SMOLLM2} --set task=gsm8k_zero_shot --set questions=500 --set sft_steps=150 --set student_steps=200 "
        "--set steps=50 --set name=smollm2-gsm8k",
    ),
    Size(
        key="untrained",
        title="Qwen2.5-Coder-0.5B-Instruct on GSM8K, nothing trained",
        prefixes=("untrained",),
        make="refine-eval run --suite benchmarks/refine_eval_benchmarks/suites/untrained.yaml --limit 400",
        stand_ins={"global": "rewrite", "local": "continue", "sorm": "judge"},
        without=("where-orm", "control"),
    ),
    Size(
        key="llama2-13b",
        title="LLaMA-2 13B on GSM8K (the paper's)",
        prefixes=(),
        make="refine-eval recipe run llama2-13b --work DIR --set seed=N",
    ),
)


def files(results: Path) -> dict[str, str]:
    """File name -> text: the page and its plots. RunError where records are corrupt or do not fit each other."""
    tested = [read_size(results, size) for size in SIZES]
    text, plots = page(tested, _labels(results / "label-quality.json"), untrained(results))
    return {"findings.md": text, **plots}


def _labels(path: Path) -> Mapping[str, Any] | None:
    try:
        found: Mapping[str, Any] | None = json.loads(path.read_text("utf-8")) if path.is_file() else None
    except (OSError, ValueError) as error:
        raise RunError(
            f"{path} cannot be read ({error}): make it again with benchmarks/findings/label_quality.py."
        ) from error
    return found


def stale(docs: Path, wanted: Mapping[str, str]) -> list[str]:
    """The files that are missing, differ, or should not be there."""
    there = {
        path.name: path.read_bytes() for path in (docs / "findings.md", *docs.glob("findings-*.svg")) if path.is_file()
    }
    return sorted(name for name in {*there, *wanted} if name not in wanted or there.get(name) != wanted[name].encode())


def main() -> None:
    """Writes or checks."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--results", type=Path, default=Path("results"), help="folder of the published records")
    parser.add_argument("--docs", type=Path, default=Path("docs"), help="folder of the page")
    parser.add_argument("--check", action="store_true", help="write nothing; exit with 1 if the page is stale")
    given = parser.parse_args()
    try:
        wanted = files(given.results)
        old = stale(given.docs, wanted)
        if given.check and old:
            raise RunError(f"{', '.join(old)} in {given.docs} is stale; write it anew: {COMMAND}")
    except RefineEvalError as error:
        sys.exit(str(error))
    if given.check:
        print(f"{given.docs / 'findings.md'} is up to date")
        return
    given.docs.mkdir(parents=True, exist_ok=True)
    for name in old:
        if name in wanted:
            (given.docs / name).write_text(wanted[name], "utf-8")
        else:
            (given.docs / name).unlink()
    print(f"wrote {given.docs / 'findings.md'}")


if __name__ == "__main__":
    main()
