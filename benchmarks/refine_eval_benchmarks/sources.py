"""Where the documents come from: the hub, or local files in the data sets' original formats.

    DIR/gsm8k/{train,test}.jsonl             https://github.com/openai/grade-school-math
    DIR/svamp/SVAMP.json                     https://github.com/arkilpatel/SVAMP
    DIR/svamp/train_mawps_asdiv-a.csv        the same, under data/mawps-asdiv-a_svamp/train.csv
    DIR/hendrycks_math/SUBSET/test.jsonl     see refine_eval_benchmarks.documents

DIR is what `--data-dir` or REFINE_EVAL_DATA names. The functions `gsm8k`, `svamp`, `minerva_math` and `apples`
are what the task files call, so that `lm_eval run --include_path ... --tasks svamp` reads REFINE_EVAL_DATA too.
"""

import csv
import functools
import io
import json
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from refine_eval import Documents, TaskError
from refine_eval_benchmarks import apples as apples_world
from refine_eval_benchmarks import svamp as svamp_texts
from refine_eval_benchmarks.lm_eval_tasks import MATH_SUBSETS, all_of_math

DATA = "REFINE_EVAL_DATA"

GSM8K_HOME = "https://github.com/openai/grade-school-math"
SVAMP_HOME = "https://github.com/arkilpatel/SVAMP"

APPLES_TRAIN = 2_000
"""Training problems that the lm-eval task of apples has: for few-shot examples; trainers ask for more themselves."""


def gsm8k_local(folder: Path) -> Documents:
    """GSM8K's two splits from `folder`/gsm8k; TaskError where they are not there or cannot be read."""
    return {split: list(_gsm8k_split(folder / "gsm8k" / f"{split}.jsonl")) for split in ("train", "test")}


def _gsm8k_split(path: Path) -> Iterator[dict[str, str]]:
    for number, line in enumerate(_text(path, GSM8K_HOME).split("\n"), 1):
        if not line.strip():
            continue
        try:
            record = json.loads(line)
            found = {name: record[name] for name in ("question", "answer")}
            if not all(isinstance(text, str) and text.encode() for text in found.values()):
                raise ValueError("question and answer must be texts that are not empty")
            yield found
        except (ValueError, KeyError, TypeError, RecursionError) as error:
            raise TaskError(f"{path}, line {number} is not a GSM8K problem ({_reason(error)}).") from error


def svamp_local(folder: Path) -> Documents:
    """SVAMP's 1,000 problems as "test", MAWPS and ASDiv-A as "train", from `folder`/svamp.

    Without the csv "train" is empty (see `refine_eval_benchmarks.fewshot`); without SVAMP.json a TaskError.
    """
    path = folder / "svamp" / "SVAMP.json"
    text = _text(path, SVAMP_HOME)
    try:
        records = json.loads(text)
    except json.JSONDecodeError as error:
        raise TaskError(f"{path}, line {error.lineno} is not JSON ({error.msg}).") from error
    except RecursionError as error:
        raise TaskError(f"{path} is not JSON that can be read (it is nested too deeply).") from error
    if not isinstance(records, list):
        raise TaskError(f"{path}, line 1 does not begin a list of problems.")
    test = _svamp_test(records, str(path))
    training = folder / "svamp" / "train_mawps_asdiv-a.csv"
    return {"train": _svamp_train(training, test) if training.is_file() else [], "test": test}


def _svamp_test(records: list[Any], source: str) -> list[dict[str, str]]:
    documents = []
    for number, record in enumerate(records, 1):
        try:
            documents.append(svamp_texts.test_document(record))
        except (ValueError, KeyError, TypeError, ZeroDivisionError) as error:
            raise TaskError(f"{source}, problem {number} is not a SVAMP problem ({_reason(error)}).") from error
    return documents


def _svamp_train(path: Path, test: list[dict[str, str]]) -> list[dict[str, str]]:
    documents = []
    reader = csv.DictReader(io.StringIO(_text(path, SVAMP_HOME), newline=""), strict=True)
    line = 1
    try:
        line += reader.fieldnames is not None
        for row in reader:
            document = svamp_texts.training_document(row)
            if document is not None:
                documents.append({"id": f"train-{line}", **document})
            line = reader.line_num + 1
    except (ValueError, LookupError, TypeError, AttributeError, ZeroDivisionError, csv.Error) as error:
        raise TaskError(
            f"{path}, line {line} is not a row of Question, Numbers, Equation, Answer ({_reason(error)})."
        ) from error
    return svamp_texts.without_overlap(documents, test)


def _text(path: Path, home: str) -> str:
    try:
        return path.read_text(encoding="utf-8-sig")
    except OSError as error:
        raise TaskError(
            f"Cannot read {path} ({error.strerror or error}); put the file from {home} there, or leave out "
            f"--data-dir and {DATA} to take the data from the hub."
        ) from error
    except UnicodeDecodeError as error:
        raise TaskError(f"{path} is not UTF-8 text; put the original file from {home} there.") from error


def _reason(error: Exception) -> str:
    return f"no field {error}" if isinstance(error, KeyError) else str(error)


# What the task files call: lm-eval's `custom_dataset`, given the task's metadata as keywords.


def gsm8k(data_dir: str | None = None, **_: Any) -> dict[str, Any]:
    """GSM8K for lm-eval: from `data_dir` or REFINE_EVAL_DATA, else from the hub."""
    folder = data_dir or os.environ.get(DATA)
    if folder:
        return _datasets(gsm8k_local(Path(folder)))
    hub = _from_hub("openai/gsm8k", "main", needs="gsm8k/train.jsonl and gsm8k/test.jsonl")
    return {split: hub[split] for split in ("train", "test")}


def svamp(data_dir: str | None = None, **_: Any) -> dict[str, Any]:
    """SVAMP for lm-eval: from `data_dir` or REFINE_EVAL_DATA, else from the hub (then "train" is empty)."""
    folder = data_dir or os.environ.get(DATA)
    if folder:
        return _datasets(svamp_local(Path(folder)))
    # The hub's copy splits the 1,000 problems in two; SVAMP itself is a test set.
    hub = _from_hub("ChilleD/SVAMP", None, needs="svamp/SVAMP.json")
    test = _svamp_test([record for split in ("train", "test") for record in hub[split]], "ChilleD/SVAMP")
    return _datasets({"train": [], "test": sorted(test, key=lambda document: int(document["id"].rpartition("-")[2]))})


def minerva_math(data_dir: str | None = None, **_: Any) -> dict[str, Any]:
    """All subsets of MATH for lm-eval: from `data_dir` or REFINE_EVAL_DATA, else from the hub."""
    folder = data_dir or os.environ.get(DATA)
    if folder:
        return _datasets(all_of_math(Path(folder)))
    from datasets import concatenate_datasets

    needs = "hendrycks_math/SUBSET/test.jsonl for each subset"
    hub = [_from_hub("EleutherAI/hendrycks_math", subset, needs=needs) for subset in MATH_SUBSETS.values()]
    return {split: concatenate_datasets([each[split] for each in hub]) for split in ("train", "test")}


def apples(train: int = APPLES_TRAIN, trained_on: str = "train", **_: Any) -> dict[str, Any]:
    """The bundled world for lm-eval, made on the spot; `train` problems of its split `trained_on` to train on."""
    return _datasets(_apples_documents(train, trained_on))


@functools.cache
def _apples_documents(train: int, trained_on: str) -> Documents:
    """The splits' documents, which nobody changes: making them takes a second, and a suite wants them for each run."""
    return {
        "train": apples_world.generate(trained_on, train),
        **{split: apples_world.generate(split) for split in ("validation", "test")},
    }


def _datasets(documents: Documents) -> dict[str, Any]:
    from datasets import Dataset

    return {split: Dataset.from_list(rows) for split, rows in documents.items()}


def _from_hub(name: str, config: str | None, needs: str) -> Any:
    from datasets import load_dataset

    try:
        return load_dataset(name, config)
    # What datasets and huggingface_hub raise without network differs from version to version.
    except Exception as error:
        raise TaskError(
            f"The data set {name} is not available from the hub ({type(error).__name__}); connect to the network, or "
            f"give --data-dir DIR (or set {DATA}=DIR) with {needs} in DIR."
        ) from error
