"""Trained critics: token-classification models that score every step of a solution in one forward pass."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, ClassVar

from refine_eval.components import Critic, Runtime
from refine_eval.data import Candidate, Critique
from refine_eval.errors import ModelError
from refine_eval.formats import STEP_END, student_prompt
from refine_eval.models import (
    LoadedModel,
    check_vocabulary,
    choose_device,
    choose_dtype,
    free_memory,
    is_out_of_memory,
    load_model,
    model_identity,
    quiet_transformers,
    resolve_model,
)

_BATCH_TOKENS = {"cpu": 8192, "cuda": 65536, "mps": 16384}
"""Tokens, padding included, in one pass where no batch size is asked for."""


@dataclass(frozen=True, kw_only=True)
class StepScorerOptions:
    """Options of trained critics."""

    model: str = field(default="", metadata={"help": "Hub name or folder of the critic (default: the bundled one)."})
    threshold: float = field(default=0.5, metadata={"help": "A step that scores below is held to be wrong."})


def newline_token(tokenizer: Any, model_name: str) -> int:
    """The token that ends a step; ModelError where the tokenizer has no single token for it."""
    ids: list[int] = tokenizer.encode(STEP_END, add_special_tokens=False)
    if len(ids) == 2:
        # Llama-2's tokenizer puts a space before every text; the newline itself is one token.
        alone, followed = (tokenizer.encode(text, add_special_tokens=False) for text in ("a", "a" + STEP_END))
        ids = followed[len(alone) :] if followed[: len(alone)] == alone else ids
    if len(ids) != 1 or ids[0] == tokenizer.unk_token_id:
        raise ModelError(
            f"The tokenizer of {model_name} has {len(ids) if len(ids) != 1 else 'no'} tokens for the newline that ends "
            "a step, where a critic needs exactly one; pass a critic whose tokenizer has it as one token."
        )
    return ids[0]


def encode_steps(
    tokenizer: Any, question: str, steps: Sequence[str], model_name: str = "the critic"
) -> tuple[list[int], list[int]]:
    """What a critic reads, and the positions of the step ends, where it is scored: (token ids, positions).

    Prompt and steps are encoded apart, with a newline token after each step, so that no tokenizer can merge
    across the place where a score is read. The beginning-of-text token is added where the tokenizer adds it.
    ModelError where the tokenizer splits the newline.
    """
    newline = newline_token(tokenizer, model_name)
    texts = [student_prompt(question), *steps]
    prompt, *encoded = tokenizer(texts, add_special_tokens=False, verbose=False).input_ids
    ids = [*_first_tokens(tokenizer), *prompt]
    positions = []
    for step in encoded:
        ids += [*step, newline]
        positions.append(len(ids) - 1)
    return ids, positions


class TokenClassifierCritic(Critic):
    """Base of critics that are token-classification models, read at the end of each step.

    With two labels a step's score is the probability of label 1, with one label the sigmoid of its logit. The
    solution's score is that of its last step, 0 where it has no steps; the first bad step is the first that
    scores under the threshold.
    """

    Options = StepScorerOptions
    options: StepScorerOptions

    bundled: ClassVar[Path]
    """The folder of the model that comes with the plugin."""

    _loaded: LoadedModel | None = None

    @property
    def option_name(self) -> str:
        """What users pass to choose another model."""
        return f"--{self.name}-model"

    def open(self, runtime: Runtime) -> None:
        """Loads the model; ModelError where it cannot be one of steps."""
        super().open(runtime)
        source = resolve_model(self.options.model or str(self.bundled))
        device = choose_device(runtime.device)
        dtype = choose_dtype(device, runtime.dtype)
        loaded = load_model(source, "AutoModelForTokenClassification", device, dtype)
        if loaded.model.config.num_labels not in (1, 2):
            raise ModelError(
                f"The critic {source.name} has {loaded.model.config.num_labels} labels; a step is right or wrong, so "
                "pass a critic with one or two."
            )
        newline_token(loaded.tokenizer, source.name)
        self._identity = f"{model_identity(source)}:{dtype}"
        self._loaded = loaded
        self._rows: int | None = runtime.batch_size
        self._tokens = _BATCH_TOKENS.get(device.split(":")[0], 8192)

    def close(self) -> None:
        """Frees the model's memory."""
        if self._loaded is not None:
            device, self._loaded = self._loaded.device, None
            free_memory(device)

    def identity(self) -> str:
        """Name, model content, what it computes in, and the threshold."""
        return f"critic:{self.name}:{self._identity}:threshold={self.options.threshold}"

    def critique(self, batch: Sequence[Candidate]) -> list[Critique]:
        """One critique a candidate, in order.

        ModelError, naming the problem, for a solution that is longer than the model's context, scores that are
        no numbers, and questions with words that a bundled tiny model does not know. Such words in a solution are
        the unknown token and scored as they are: a wrong solution may hold anything.
        """
        encoded = [self._encode(candidate) for candidate in batch]
        scores: list[tuple[float, ...]] = [()] * len(batch)
        left = sorted((i for i, (_, ends) in enumerate(encoded) if ends), key=lambda i: -len(encoded[i][0]))
        with quiet_transformers():
            while left:
                fitting = self._rows or max(1, self._tokens // len(encoded[left[0]][0]))
                chosen = left[:fitting]
                found = self._try_scores([encoded[i] for i in chosen])
                if found is None:
                    self._rows = max(1, len(chosen) // 2)
                    continue
                for index, values in zip(chosen, found, strict=True):
                    if not all(map(math.isfinite, values)):
                        raise ModelError(
                            f"The critic {self.name} computed no finite score for problem {batch[index].problem.id}; "
                            "try --dtype float32, or check the model's weights."
                        )
                    scores[index] = values
                left = left[len(chosen) :]
        return [self._judge(values) for values in scores]

    def _encode(self, candidate: Candidate) -> tuple[list[int], list[int]]:
        loaded, problem = self._model(), candidate.problem
        config = loaded.model.config
        prompt = student_prompt(problem.question)
        check_vocabulary(loaded.tokenizer, config, prompt, problem.id, f"The critic {self.name!r}", self.option_name)
        ids, ends = encode_steps(loaded.tokenizer, problem.question, candidate.solution.steps, loaded.source.name)
        if loaded.context is not None and len(ids) > loaded.context:
            raise ModelError(
                f"The question and solution of problem {problem.id} have {len(ids)} tokens and the context of the "
                f"critic {self.name} is {loaded.context}; use a critic with a longer context or a lower --max-gen-toks."
            )
        return ids, ends

    def _try_scores(self, rows: Sequence[tuple[list[int], list[int]]]) -> list[tuple[float, ...]] | None:
        """The step scores of each row of (ids, ends), or None where memory runs out on more than one row."""
        try:
            return self._scores(rows)
        except Exception as error:
            if not is_out_of_memory(error):
                raise
            if len(rows) == 1:
                raise ModelError(
                    f"Memory runs out when the critic {self.name} reads one solution of {len(rows[0][0])} tokens; use "
                    "a smaller critic."
                ) from error
            return None

    def _scores(self, rows: Sequence[tuple[list[int], list[int]]]) -> list[tuple[float, ...]]:
        import torch

        loaded = self._model()
        longest = max(len(ids) for ids, _ in rows)
        pad = loaded.tokenizer.pad_token_id or 0
        ids = torch.tensor([ids + [pad] * (longest - len(ids)) for ids, _ in rows])
        mask = torch.tensor([[1] * len(ids) + [0] * (longest - len(ids)) for ids, _ in rows])
        row = torch.tensor([index for index, (_, ends) in enumerate(rows) for _ in ends])
        column = torch.tensor([end for _, ends in rows for end in ends])
        with torch.inference_mode():
            output = loaded.model(
                input_ids=ids.to(loaded.device), attention_mask=mask.to(loaded.device), use_cache=False
            )
            logits = output.logits[row.to(loaded.device), column.to(loaded.device)].float()
            good = logits.softmax(-1)[:, 1] if logits.shape[-1] == 2 else logits.sigmoid()[:, 0]
        flat = iter(good.tolist())
        return [tuple(next(flat) for _ in ends) for _, ends in rows]

    def _judge(self, scores: tuple[float, ...]) -> Critique:
        bad = (index for index, score in enumerate(scores) if score < self.options.threshold)
        return Critique(score=scores[-1] if scores else 0.0, step_scores=scores, first_bad_step=next(bad, None))

    def _model(self) -> LoadedModel:
        assert self._loaded is not None, "open() comes first"
        return self._loaded


def _first_tokens(tokenizer: Any) -> list[int]:
    """[beginning-of-text] where the tokenizer puts it before every text, else []."""
    bos = tokenizer.bos_token_id
    return [bos] if bos is not None and tokenizer("").input_ids[:1] == [bos] else []
