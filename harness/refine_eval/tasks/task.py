"""One lm-eval task: its problems, the answers in texts, and grades; gold answers stay inside.

Every candidate is graded by the same task's filters and metric, so that all rows of a table are comparable
with each other and with published lm-eval figures.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from lm_eval.api.instance import Instance

from refine_eval.data import PREFERRED_FILTER, AnswerGroup, Candidate, Problem, Sampling, Trace
from refine_eval.errors import TaskError, first_line, missing_extra, suggestion
from refine_eval.plugin.benchmark import Benchmark
from refine_eval.plugin.benchmark_contract import exact_first_bad_step
from refine_eval.tasks.answers import Found, grouped
from refine_eval.tasks.bounds import anchor_metrics, is_read
from refine_eval.tasks.equivalence import MathVerify
from refine_eval.tasks.extraction import Extraction
from refine_eval.tasks.fewshot import FewshotGuard
from refine_eval.tasks.gold import unreadable
from refine_eval.tasks.loading import load
from refine_eval.tasks.metrics import Metric
from refine_eval.tasks.probes import metrics_seen
from refine_eval.tasks.prompting import Prompting, drawn_as, read_prompt, stays_greedy, written_as
from refine_eval.tasks.questions import Questions
from refine_eval.tasks.repeats import numbered, own_drawing, texts_read
from refine_eval.tasks.splits import SPLITS, benchmark_of, task_and_split

FEWSHOT_SEED = 1234  # lm-eval's own default, so that few-shot prompts are the same as on its command line
DEFAULT_MAX_TOKENS = 256  # what lm-eval's models generate where a task sets no limit
_GRADES_KEPT = 100_000  # a run's are kept; hundreds of thousands of training samples are not


class LmEvalTask:
    """One lm-eval task of a run: its problems' prompts, answers in texts, and grades.

    Implements `refine_eval.runs.runtime.Tasks`. Gold answers stay inside.
    """

    def __init__(
        self,
        name: str,
        benchmarks: Mapping[str, Benchmark],
        *,
        data_dir: Path | None = None,
        num_fewshot: int | None = None,
        filter_name: str | None = None,
        metric: str | None = None,
        correct_above: float | None = None,
        max_gen_toks: int | None = None,
        prompting: Prompting | None = None,
        gen_kwargs: str | None = None,
        note: Callable[[str], None] | None = None,
    ) -> None:
        """Loads the task. Raises TaskError for an unknown task, filter or metric, or data that are not available.

        `note` is told what a user should know of the task: lm-eval's warnings, gold answers that cannot be read. Each
        is said once.
        """
        self.name = name
        self.benchmark = benchmark_of(name, benchmarks)
        self._note, self._noted = note, set[str]()
        base, self._split = task_and_split(name)
        self.task = load(base, benchmarks, data_dir, self.note)
        _check_generates(name, self.task)
        if self._split is not None:
            self._evaluate_on(self._split)
        anchor_metrics(self.task)
        if num_fewshot is not None:
            self.task.set_config(key="num_fewshot", value=num_fewshot)
        elif self.task.get_config("num_fewshot") is None:
            self.task.set_config(key="num_fewshot", value=0)
        self.prompting = prompting or Prompting()
        self._written = written_as(gen_kwargs)
        if self._written:
            self.task.set_config(key="generation_kwargs", value=self._written, update=True)
            if greedy := stays_greedy(self.task.config.generation_kwargs, self._written):
                self.note(greedy)
        self.task.set_fewshot_seed(seed=FEWSHOT_SEED)
        self._fewshot = FewshotGuard(self.task, name, FEWSHOT_SEED)
        self.repeats, self.drawing = int(self.task.config.repeats), own_drawing(self.task, self._written)
        self.texts_read = texts_read(self.task._filters)
        self.filters: list[str] = [ensemble.name for ensemble in self.task._filters]
        if filter_name is not None and filter_name not in self.filters:
            raise TaskError(
                f"Task {name!r} has no filter {filter_name!r}.{suggestion(filter_name, self.filters)} "
                f"It has: {', '.join(self.filters)}."
            )
        self.filter = filter_name or (PREFERRED_FILTER if PREFERRED_FILTER in self.filters else self.filters[0])
        seen = metrics_seen(self.task, self._filtered, self.filter)
        self.metric = Metric(self.task, name, metric, correct_above, seen)
        for value in seen.get(self.metric.name, ()):
            self.metric.is_right({self.metric.name: value})  # a score that is no yes or no is refused here
        ensemble = self.task._filters[self.filters.index(self.filter)]
        self._extraction = Extraction(self.task, ensemble, self.metric.name, lambda text: self._math_verify.find(text))
        self._questions = Questions(self.task)
        self._math: MathVerify | None = None
        self._max_gen_toks = max_gen_toks
        self._docs: dict[str, dict[str, Any]] = {}
        self._base_sampling: Sampling | None = None
        self._graded: dict[tuple[str, str], dict[str, bool]] = {}

    def note(self, text: str) -> None:
        """Tells the user something about the task, once."""
        if self._note is not None and text not in self._noted:
            self._noted.add(text)
            self._note(text)

    def grading(self) -> dict[str, str]:
        """How the task is graded, in words."""
        splits = [split for split in SPLITS if self.has(split)]
        if not self._extraction.is_mathematical:
            equal = "numbers by value, other answers as text"
        elif MathVerify.is_installed():
            equal = "by math-verify"
        else:
            equal = "numbers by value, other answers as text (math-verify is not installed)"
        sampling = self._sampling_of(self.task.config.generation_kwargs or {})
        return {
            "task": self.name,
            "splits": ", ".join(splits),
            "few-shot examples": str(self.task.get_config("num_fewshot")),
            "longest solution": f"{sampling.max_tokens:,} tokens",
            "steps": self.benchmark.steps if self.benchmark else "lines",
            "stops at": ", ".join(map(repr, sampling.stop)) or "the model's own end",
            "filters": _marked(self.filters, self.filter),
            "metrics": _marked(self.metric.names, self.metric.name),
            "right": self.metric.label,
            "equal answers": equal,
        }

    def close(self) -> None:
        """Ends what the comparison of answers started."""
        if self._math is not None:
            self._math.close()

    def problems(self, requests: Sequence[Instance]) -> list[Problem]:
        """lm-eval's requests as problems; the documents with their gold answers stay here."""
        problems = [self._problem(*each) for each in zip(requests, numbered(requests), strict=True)]
        self._check_gold([problem for problem in problems if problem.repeat == 0])
        return problems

    def _problem(self, request: Instance, repeat: int) -> Problem:
        prompt, arguments = request.args
        problem_id = Problem.id_of(f"{self.name}/{request.doc_id}", repeat)
        return self._make(problem_id, request.doc, prompt, arguments, repeat)

    def _make(
        self, problem_id: str, doc: dict[str, Any], prompt: str, arguments: Mapping[str, Any], repeat: int = 0
    ) -> Problem:
        self._docs[problem_id] = doc
        if self._base_sampling is None:
            self._base_sampling = self._sampling_of(arguments)
        question = self._questions.of(doc)
        return Problem(id=problem_id, task=self.name, question=question, prompt=read_prompt(prompt), repeat=repeat)

    def _sampling_of(self, arguments: Mapping[str, Any]) -> Sampling:
        until = arguments.get("until") or []
        own = (self.benchmark and self.benchmark.max_gen_toks) or DEFAULT_MAX_TOKENS
        return Sampling(
            max_tokens=self._max_gen_toks or int(arguments.get("max_gen_toks", own)),
            stop=tuple([until] if isinstance(until, str) else until),
            **drawn_as(arguments, self._written),
        )

    def _check_gold(self, problems: Sequence[Problem]) -> None:
        """Says how many gold answers cannot be read: no text can be right there, whatever a model writes."""
        if self._note is None or getattr(self.task, "UNSAFE_CODE", False):
            return
        docs = ((problem.id, self._docs[problem.id]) for problem in problems)
        golds = ((problem_id, self.task.doc_to_target(doc), doc) for problem_id, doc in docs)
        tried, bad = unreadable(golds, self._is_right)
        if bad:
            self.note(
                f"{len(bad):,} of {tried:,} gold answers of task {self.name!r} cannot be read by its filter "
                f"{self.filter!r} and metric {self.metric.name!r} (first: {bad[0]}): no text that ends in such an "
                "answer is graded as right."
            )

    def has(self, split: str) -> bool:
        """Whether the task has this split."""
        return bool(getattr(self.task, f"has_{SPLITS[split]}_docs")())

    def questions(self, split: str, limit: int | None = None) -> list[Problem]:
        """The problems of a split ("train", "validation" or "test"), prompts as in a run; gold answers stay here.

        TaskError where the task has no such split or no data of it, and where a document has no gold answer.
        """
        if self._split is not None and split != "test":
            base, _ = task_and_split(self.name)
            raise TaskError(f"{self.name} names a split already; write {base} and --split {split}.")
        if split not in SPLITS or not self.has(split):
            raise self._no_split(split)
        if split == "train" and self._trains_on_its_test_data():
            raise TaskError(
                f"Task {self.name!r} has no training data: what it calls its training split are its test problems, and "
                "no model may be trained on those; name another task."
            )
        docs = list(getattr(self.task, f"{SPLITS[split]}_docs")())[:limit]
        if not docs:
            source = f" ({self.benchmark.data})" if self.benchmark else ""
            raise TaskError(
                f"The split {split!r} of task {self.name!r} is empty here; name a folder that has its file{source} "
                "with --data-dir or REFINE_EVAL_DATA."
            )
        arguments = self.task.config.generation_kwargs or {}
        problems = []
        for number, doc in enumerate(docs):
            gold = self.task.doc_to_target(doc)
            if gold is None or gold == [] or not str(gold).strip():
                raise TaskError(f"Document {number} of the split {split!r} of task {self.name!r} has no gold answer.")
            prompt = self._fewshot.prompt(doc, self.prompting)
            problems.append(self._make(f"{self.name}:{split}/{number}", doc, prompt, arguments))
        return problems

    def _no_split(self, split: str) -> TaskError:
        having = ", ".join(name for name in SPLITS if self.has(name))
        return TaskError(f"Task {task_and_split(self.name)[0]!r} has no split {split!r}; it has: {having}.")

    def _evaluate_on(self, split: str) -> None:
        """Has lm-eval take another split for the test problems; TaskError where there is none, or it is the same."""
        config, named = self.task.config, f"{SPLITS[split]}_split"
        if not self.has(split):
            raise self._no_split(split)
        if getattr(config, named) == (config.test_split or config.validation_split):
            base, _ = task_and_split(self.name)
            raise TaskError(f"The problems of {self.name} are those that {base} runs anyway; write --tasks {base}.")
        self.task.set_config(key="test_split", value=getattr(config, named))

    def _trains_on_its_test_data(self) -> bool:
        """So it is where a data set has one split, which the task then names for everything."""
        config = self.task.config
        return bool(config.training_split == (config.test_split or config.validation_split))

    def sampling(self, problem: Problem) -> Sampling:
        """The task's length limit and stop strings; greedy where `gen_kwargs` said nothing else."""
        assert self._base_sampling is not None, "no problem was made yet"
        return replace(self._base_sampling)

    def answers(self, problem: Problem, texts: Sequence[str]) -> list[str | None]:
        """What the run's filter finds in each text, normalised: "1,200.0" and "$1200." are both "1200"."""
        return [found.value if found else None for found in self._found(problem, texts)]

    def answer_groups(self, problems: Sequence[Problem], texts: Sequence[Sequence[str]]) -> list[list[AnswerGroup]]:
        """For each problem its texts by their answers, equal as the task compares them."""
        found = [self._found(problem, some) for problem, some in zip(problems, texts, strict=True)]
        lists = [[answer.value for answer in each if answer] for each in found]
        if self._extraction.is_mathematical and any(len(set(values)) > 1 for values in lists):
            numbers = self._math_classes(lists)
        else:
            numbers = [[values.index(value) for value in values] for values in lists]
        result = []
        for each, classes in zip(found, numbers, strict=True):
            rest = iter(classes)
            result.append(grouped(each, [next(rest) if answer else -1 for answer in each]))
        return result

    def _math_classes(self, lists: Sequence[Sequence[str]]) -> list[list[int]]:
        if not MathVerify.is_installed():
            self.note(
                f"Answers of task {self.name!r} are compared as numbers and as text, so 1/2 and 0.5 are two. "
                f"{missing_extra('math-verify', 'math')}"
            )
            return [[values.index(value) for value in values] for values in lists]
        return self._math_verify.classes(lists)

    @property
    def _math_verify(self) -> MathVerify:
        self._math = self._math or MathVerify()
        return self._math

    def _found(self, problem: Problem, texts: Sequence[str]) -> list[Found | None]:
        doc = self._docs[problem.id]
        return [
            self._extraction.find(doc, text, self._filtered(doc, text)[self.filter]) if is_read(text) else None
            for text in texts
        ]

    def is_correct(self, candidate: Candidate) -> bool:
        """The task's metric under the run's filter."""
        return self.grade(candidate.problem.id, candidate.solution.text)[self.filter]

    def grade(self, problem_id: str, text: str) -> dict[str, bool]:
        """Whether a text is right by the run's metric, under each of the task's filters; one that is not read is wrong.

        TaskError where the metric gives no yes or no, or fails.
        """
        if not is_read(text):
            return dict.fromkeys(self.filters, False)
        if (problem_id, text) not in self._graded:
            if len(self._graded) >= _GRADES_KEPT:
                self._graded.clear()
            self._graded[problem_id, text] = self._grade(self._docs[problem_id], text, self.filters)
        return self._graded[problem_id, text]

    def _is_right(self, doc: dict[str, Any], text: str) -> bool:
        with contextlib.suppress(TaskError):  # of a text of ours that the task's own code cannot take
            return self._grade(doc, text, (self.filter,))[self.filter]
        return False

    def _grade(self, doc: dict[str, Any], text: str, filters: Sequence[str]) -> dict[str, bool]:
        filtered = self._filtered(doc, text)
        try:
            values = {name: self.task.process_results(doc, [filtered[name]]) for name in filters}
        except Exception as error:  # whatever a task's own code raises
            raise TaskError(
                f"Task {self.name!r} cannot grade the text {text[:60]!r} ({type(error).__name__}: "
                f"{first_line(error)}); see that the task, its data and lm-eval fit each other."
            ) from error
        return {name: self.metric.is_right(each) for name, each in values.items()}

    def first_bad_step(self, candidate: Candidate) -> int | None:
        """The exact first wrong step; TaskError where the task has no step truth."""
        if self.benchmark is None or self.benchmark.first_bad_step is None:
            raise TaskError(
                f"Task {self.name!r} has no exact truth of steps, so no oracle can say where the first wrong one is; "
                f"name a critic that needs none."
            )
        gold = str(self.task.doc_to_target(self._docs[candidate.problem.id]))
        return exact_first_bad_step(self.benchmark, gold, candidate.solution.steps)

    def gold_text(self, problem: Problem) -> str:
        """The task's own solution, for training on."""
        return str(self.task.doc_to_target(self._docs[problem.id])).strip()

    def graded(self, trace: Trace) -> Trace:
        """The trace with the grades of all its candidates."""
        grades = {c.id: self.grade(trace.problem.id, c.solution.text) for c in trace.candidates}
        return replace(trace, correct=grades)

    def _filtered(self, doc: dict[str, Any], text: str) -> dict[str, Any]:
        """What each filter makes of a text: a string where the filter ends with take_first, else a list."""
        instance = Instance(
            "generate_until", doc, ("", {}), 0, metadata=(self.name, 0, 1), resps=[text] * self.texts_read
        )
        for ensemble in self.task._filters:
            ensemble.apply([instance])
        return dict(instance.filtered_resps)


def _marked(names: Sequence[str], decides: str) -> str:
    return ", ".join(f"{name} (decides)" if name == decides else name for name in names)


def _check_generates(name: str, task: Any) -> None:
    """TaskError for a task that asks for no text."""
    if task.OUTPUT_TYPE != "generate_until":
        raise TaskError(
            f"Task {name!r} is scored by the likelihood of given texts ({task.OUTPUT_TYPE}), and refine-eval refines "
            "texts that a model writes; choose a task that generates."
        )
