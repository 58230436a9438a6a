"""Chat templates: messages rendered with a model's own, as lm-eval's hf does it, and what people are told of them."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from refine_eval.data import ChatForm, Message, Prompt, Thinking
from refine_eval.errors import ModelError, RefineEvalError, UsageError, first_line, suggestion
from refine_eval.formats import PromptForm, prefill_of

TRAINED_HERE = "training.json"
"""What `refine-eval train` leaves beside a model: it holds its card (see `cards`), by which it is asked unless the user
says otherwise."""


_THOUGHTS = {"</think>": "</think>", "<|channel|>": "assistantfinal"}
"""What in a chat template tells that a model thinks, and what ends its thoughts in what it writes.

gpt-oss's channels are special tokens, which no text has: "analysis...assistantfinal..." is left of them.
"""


class UnrenderedError(Exception):
    """Messages that a template does not take, and why: the beginning of a sentence on one text."""


class ChatTemplate:
    """A model's chat template and how it is asked to render. `folder` is where the model lies, if that is known."""

    def __init__(self, name: str, tokenizer: Any, form: ChatForm | None, folder: Path | None = None) -> None:
        self._name, self._tokenizer, self._form = name, tokenizer, form
        self._folder = folder
        self._without_system = False

    @property
    def advice(self) -> str:
        """One line for people on what the model reads; "" where there is nothing to say."""
        if self._without_system:
            return (
                f"Note: the chat template of {self._name} takes no system text, which is left out, as lm-eval leaves "
                "it out."
            )
        return plain_advice(self._name, self._tokenizer, self._folder) if self._form is None else ""

    @property
    def thinking(self) -> Thinking | None:
        """How the model thinks, as its template tells; None where it does not, and where no messages are rendered."""
        if self._form is None:
            return None
        try:
            template = self._template()
            end = next((end for mark, end in _THOUGHTS.items() if mark in template), None)
            prompt = self.text_of((Message(role="user", content="1"),)) if end else ""
        except (RefineEvalError, UnrenderedError):  # it is said where messages are rendered
            return None
        return Thinking(end=end, at_once=prompt.rstrip().endswith("<think>")) if end else None

    @property
    def hash(self) -> str:
        """Of the template's text, or of all where there are several; "" where there is none."""
        found = getattr(self._tokenizer, "chat_template", None)
        if not found:
            return ""
        text = found if isinstance(found, str) else json.dumps(found, sort_keys=True)
        return hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()[:32]

    def text_of(self, prompt: Prompt) -> str:
        """The text that the model reads: a plain prompt as it is, messages rendered.

        ModelError where the model has no template, UnrenderedError where it does not take these messages. A template
        that refuses a system text gets the messages without it, as lm-eval's hf does it.
        """
        if isinstance(prompt, str):
            return prompt
        import jinja2

        turns = [{"role": message.role, "content": message.content} for message in prompt]
        try:
            return self._rendered(turns, prefill_of(prompt))
        except jinja2.TemplateError as error:
            others = [turn for turn in turns if turn["role"] != "system"]
            if len(others) == len(turns) or not others:
                raise self._refused(error) from error
        try:
            text = self._rendered(others, prefill_of(prompt))
        except jinja2.TemplateError as error:
            raise self._refused(error) from error
        self._without_system = True
        return text

    def _rendered(self, turns: Sequence[dict[str, str]], prefill: str) -> str:
        import jinja2

        template, thinking = self._template(), self._form.enable_thinking if self._form else None
        try:
            text: str = self._tokenizer.apply_chat_template(
                list(turns),
                chat_template=template,
                tokenize=False,
                add_generation_prompt=not prefill,
                continue_final_message=bool(prefill),
                **({} if thinking is None else {"enable_thinking": thinking}),
            )
        except jinja2.TemplateError:
            raise
        except Exception as error:  # whatever a template of anybody's does
            raise self._refused(error) from error
        # A template may trim its messages, but what is to be continued is continued where it ends.
        end = prefill[len(prefill.rstrip()) :]
        return text if text.endswith(end) else text + end

    def _refused(self, error: Exception) -> UnrenderedError:
        said = " ".join(first_line(error).replace("(", "").replace(")", "").split())[:200] or type(error).__name__
        return UnrenderedError(
            f"messages that the model's chat template does not take ({said}); use another --fewshot-as-multiturn or "
            "--system-instruction, or leave out --apply-chat-template"
        )

    def _template(self) -> str:
        """The template's text; ModelError where there is none, UsageError where it must be named otherwise."""
        found = getattr(self._tokenizer, "chat_template", None)
        name = self._form.template if self._form else None
        if not found:
            raise ModelError(
                f"The model {self._name} has no chat template in its tokenizer, so it cannot read messages; leave out "
                "--apply-chat-template (of a critic or refiner say --NAME-prompts plain), or pass a model that was "
                "trained on chats."
            )
        if not isinstance(found, dict):
            if name is None:
                return str(found)
            raise UsageError(
                f"The model {self._name} has one chat template, which has no name; write --apply-chat-template without "
                f"{name!r}."
            )
        if (name or "default") in found:
            return str(found[name or "default"])
        listed = ", ".join(sorted(found))
        if name is None:
            raise UsageError(
                f"The model {self._name} has several chat templates; --apply-chat-template names one: {listed}."
            )
        raise UsageError(
            f"The model {self._name} has no chat template {name!r}.{suggestion(name, found)} It has: {listed}."
        )


def form_text(name: str, tokenizer: Any, form: PromptForm, text: str, begun: str = "") -> str:
    """What a model of this tokenizer reads of a prompt in this form; errors as `ChatTemplate.text_of`."""
    return ChatTemplate(name, tokenizer, ChatForm(template=form.template)).text_of(form.prompt(text, begun))


def plain_advice(name: str, tokenizer: Any, folder: Path | None = None) -> str:
    """One line for people whose model has a chat template, which a plain prompt does without; "" for other models.

    `folder` is where the model lies, if that is known.
    """
    if not getattr(tokenizer, "chat_template", None) or (folder and (folder / TRAINED_HERE).is_file()):
        return ""
    return (
        f"Note: the model {name} has a chat template, which is not applied: it reads plain text and continues it, as a "
        "base model does, so a chat model may ramble on until the length limit cuts it off; --apply-chat-template "
        "applies it."
    )
