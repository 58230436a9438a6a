"""lm-eval tasks made in a folder: a YAML file, functions beside it, and documents."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

from refine_eval.plugin.benchmark import Benchmark
from refine_eval.tasks.task import LmEvalTask

NUMBER = """
metric_list: [{metric: exact_match, aggregation: mean, higher_is_better: true}]
filter_list:
  - name: last
    filter:
      - {function: regex, regex_pattern: "(-?[0-9.,]+)", group_select: -1}
      - {function: take_first}
"""
"""The last number in a text, compared as it is spelt."""

_HEAD = """
task: made
output_type: generate_until
test_split: test
doc_to_text: "Question: {{question}}\\nAnswer:"
doc_to_target: "{{answer}}"
generation_kwargs: {until: ["\\n\\n"], do_sample: false}
"""


def benchmark(folder: Path, yaml: str, splits: dict[str, list[dict[str, Any]]], functions: str = "") -> Benchmark:
    """A benchmark called "made"; keys in `yaml` replace those of a plain task of questions and answers."""
    folder.mkdir(exist_ok=True)
    given = {line.partition(":")[0] for line in yaml.splitlines() if line[:1].isalpha()}
    head = [line for line in _HEAD.splitlines() if line.partition(":")[0] not in given]
    (folder / "made.yaml").write_text("\n".join([*head, yaml]), encoding="utf-8")
    (folder / "made_functions.py").write_text(functions, encoding="utf-8")
    return Benchmark(
        name="made", description="made", data="made", yaml=folder / "made.yaml", local_data=lambda _: splits
    )


def made_task(
    folder: Path,
    yaml: str = NUMBER,
    test: list[dict[str, Any]] | None = None,
    functions: str = "",
    splits: dict[str, list[dict[str, Any]]] | None = None,
    note: Callable[[str], None] | None = None,
    **options: Any,
) -> LmEvalTask:
    """The task, loaded; its test problems ask for 1, 2 and 3 where `test` says nothing else."""
    documents = test or [{"question": f"What comes before {n + 1}?", "answer": str(n)} for n in (1, 2, 3)]
    made = benchmark(folder, yaml, {"test": documents, **(splits or {})}, functions)
    return LmEvalTask("made", {"made": made}, data_dir=folder, note=note, **options)
