"""Few-shot examples: those of lm-eval, but never one that holds the problem's own answer."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict
from random import Random
from typing import Any

from lm_eval.api.samplers import FirstNSampler

from refine_eval.errors import TaskError
from refine_eval.formats import one_line
from refine_eval.tasks.prompting import Prompting, rendered

Doc = Mapping[str, Any]


class FewshotGuard:
    """Stands between a task and its sampler of examples, on every way to a prompt.

    lm-eval leaves the problem out only where examples come from the test split by name, and only a document that is
    equal in every field; other splits, and a split that lm-eval falls back to, may hold the same question. Where no
    example is the problem itself, all are as lm-eval drew them.
    """

    def __init__(self, task: Any, task_name: str, seed: int) -> None:
        """`task` is lm-eval's; its `fewshot_context` is this guard's from now on."""
        self._task, self._task_name, self._seed = task, task_name, seed
        self._doc: Doc | None = None
        self._may_be_drawn = False
        self._keys: dict[int, tuple[Doc, frozenset[str]]] = {}
        self._context = task.fewshot_context
        task.fewshot_context = self._guarded_context
        sampler = getattr(task, "sampler", None)
        if sampler is not None:
            self._sampler, self._sample = sampler, sampler.sample
            sampler.sample = self._guarded_sample

    def prompt(self, doc: Doc, prompting: Prompting) -> str:
        """The prompt of a document that examples may be drawn from too, such as one of the training split."""
        self._may_be_drawn = True
        shots, prefix = self._task.get_config("num_fewshot") or 0, self._task.doc_to_prefix(doc)
        try:
            found: str = self._task.fewshot_context(
                doc, shots, **asdict(prompting), chat_template=rendered, gen_prefix=prefix
            )
            return found
        finally:
            self._may_be_drawn = False

    def _guarded_context(self, doc: Doc, *arguments: Any, **named: Any) -> Any:
        self._doc = doc
        try:
            return self._context(doc, *arguments, **named)
        finally:
            self._doc = None

    def _guarded_sample(self, n: int, eval_doc: Doc | None = None, **named: Any) -> Sequence[Doc]:
        doc = self._doc
        if self._may_be_drawn:
            eval_doc = doc  # lm-eval leaves it out, and draws one more for it
        try:
            found: list[Doc] = list(self._sample(n, eval_doc=eval_doc, **named))
        except (ValueError, AssertionError) as error:  # lm-eval's, where there are fewer than it draws
            raise self._too_few(n, len(self._sampler.fewshot_docs())) from error
        if doc is None or not any(self._is_same(example, doc) for example in found):
            return found
        kept = [example for example in found if not self._is_same(example, doc)]
        others = [e for e in self._sampler.fewshot_docs() if e not in kept and not self._is_same(e, doc)]
        missing = n - len(kept)
        if len(others) < missing:
            raise self._too_few(n, len(kept) + len(others))
        if isinstance(self._sampler, FirstNSampler):
            return [*kept, *others[:missing]]
        # A generator of its own, so that the examples of later problems are the ones that lm-eval draws.
        instead = iter(Random(f"{self._seed} {sorted(self._key(doc))}").sample(others, missing))
        return [next(instead) if self._is_same(example, doc) else example for example in found]

    def _too_few(self, wanted: int, there: int) -> TaskError:
        return TaskError(
            f"Task {self._task_name!r} cannot show {wanted} few-shot examples: it has {there}, and the problem itself "
            "is never one of them; lower --num-fewshot."
        )

    def _is_same(self, example: Doc, doc: Doc) -> bool:
        """Whether an example asks what the problem asks."""
        return example == doc or not self._key(example).isdisjoint(self._key(doc))

    def _key(self, doc: Doc) -> frozenset[str]:
        """What a document asks: what the task shows of it, as a problem and as an example."""
        known = self._keys.get(id(doc))
        if known is not None and known[0] is doc:
            return known[1]
        texts = set()
        for template in {None, self._task.fewshot_cfg.doc_to_text}:
            try:
                text = self._task.doc_to_text(doc, template)
            except Exception:  # written examples need not have the fields of a problem
                continue
            if isinstance(text, str) and text.strip():
                texts.add(one_line(text).casefold())
        self._keys[id(doc)] = (doc, frozenset(texts))  # the document is kept, so that its id stays its own
        return self._keys[id(doc)][1]
