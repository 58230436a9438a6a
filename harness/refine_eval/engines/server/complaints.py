"""What to say where a server fails: one sentence each, which names the problem and what to do."""

from __future__ import annotations

from collections.abc import Sequence

from refine_eval.engines.server.answers import (
    BadAnswerError,
    OtherModelError,
    is_about_messages,
    is_about_prefills,
    is_about_seeds,
    is_about_thinking,
    is_filtered,
    is_too_long,
    read_message,
)
from refine_eval.engines.server.options import KEY_VARIABLE
from refine_eval.engines.server.replies import LONGEST_WAIT_S, Reply, TooSlowError, UnusableError
from refine_eval.errors import GenerationError, ModelError, RefineEvalError, UsageError, suggestion

_SHOWN = 200
_READ = 10_000


class Complaints:
    """Sentences about the server at `url`, without full stops where a count follows; none holds the key."""

    def __init__(self, url: str, key: str, *, attempts: int, timeout: float, proxied: bool) -> None:
        self._url, self._key, self._timeout = url, key, timeout
        self._attempts = f"{attempts} attempts" if attempts > 1 else "one attempt"
        self._through = " through the proxy of the environment" if proxied else ""

    def no_answer(self, error: Exception, problem: str) -> RefineEvalError:
        """A request got no answer."""
        if isinstance(error, UnusableError):
            return GenerationError(self._unusable(error, f" for problem {problem}"))
        if isinstance(error, TooSlowError):
            return GenerationError(
                f"The server at {self._url} did not answer within {self._timeout:g} s in {self._attempts} for problem "
                f"{problem}; pass a higher timeout or a lower num_concurrent in --model-args"
            )
        return GenerationError(
            f"The connection to the server at {self._url}{self._through} failed in {self._attempts} for problem "
            f"{problem}; see whether it still runs"
        )

    def unwritten(self, reply: Reply) -> str | None:
        """Why the server refuses this one text, though it may write others; None where it says nothing of the kind."""
        said = self._message(reply)
        if reply.status == 413 or (reply.status not in (401, 403) and 400 <= reply.status < 500 and is_too_long(said)):
            return (
                f"prompt longer than the model's context ({said}); lower --max-gen-toks or use fewer few-shot examples "
                f"(--num-fewshot)"
            )
        return f"refused by the server's content filter ({said})" if is_filtered(reply) else None

    def refusal(
        self, reply: Reply, problem: str, *, chat: bool = False, prefilled: bool = False, chat_only: bool = False
    ) -> RefineEvalError:
        """A request was answered with an error.

        `chat`: it was of messages, `prefilled`: the last one to be continued; `chat_only`: the server has nothing else.
        """
        status, said = reply.status, self._message(reply)
        if status in (401, 403):
            return self._key_rejected(status)
        if not chat and (chat_only or (status in (400, 422) and is_about_messages(said))):
            return GenerationError(
                f"The server at {self._url} speaks chat completions only ({status}: {said}) and was given a plain "
                f"prompt; pass chat=true in --model-args"
            )
        if chat and status in (404, 405, 501):
            return GenerationError(
                f"The server at {self._url} has no chat completions for this model ({status}: {said}); leave out "
                f"--apply-chat-template and chat=true, or serve the model with vllm serve; base_url usually ends in /v1"
            )
        if prefilled and status in (400, 422) and is_about_prefills(said):
            return GenerationError(
                f"The server at {self._url} does not continue a message that was begun ({status}: {said}), as problem "
                f"{problem} asks for; vLLM's server does"
            )
        if reply.wait is not None and reply.wait > LONGEST_WAIT_S:
            return GenerationError(
                f"The server at {self._url} still answers {status} ({said}) for problem {problem} and asks to be left "
                f"alone for {reply.wait:,.0f} s, while no more than {LONGEST_WAIT_S:g} s are waited; go on later"
            )
        if status >= 500 or status in (408, 409, 429):
            return GenerationError(
                f"The server at {self._url} still answers {status} ({said}) after {self._attempts} for problem "
                f"{problem}; see its log, or pass a lower num_concurrent or more max_retries in --model-args"
            )
        hint = "; base_url usually ends in /v1" if status in (404, 405, 501) else ""
        if is_about_seeds(said):
            hint = "; if it takes no seeds, pass send_seed=false in --model-args"
        if chat and is_about_thinking(said):
            hint = "; leave out --enable-thinking, or serve the model with a server that passes it on, such as vLLM's"
        return GenerationError(f"The server at {self._url} refuses problem {problem} with {status} ({said}){hint}")

    def bad_answer(
        self, error: BadAnswerError | OtherModelError, body: bytes, problem: str, model: str
    ) -> GenerationError:
        """An answer is no completion of the model."""
        if isinstance(error, OtherModelError):
            return GenerationError(
                f"The server at {self._url} answered problem {problem} as model {self.said(str(error))!r} where "
                f"{model!r} was asked for; if they are one model, pass identity=NAME in --model-args, which takes "
                f"answers of any name"
            )
        wrong = f": {error}" if str(error) else ""
        return GenerationError(
            f"The server at {self._url} answered with something else than a completion for problem {problem}{wrong} "
            f"({self.said(body.decode('utf-8', 'replace'))}); check that base_url is an OpenAI-compatible server's"
        )

    def not_opened(self, error: Exception, model: str) -> ModelError:
        """The server does not answer when it is asked for its models."""
        if isinstance(error, UnusableError):
            return ModelError(f"{self._unusable(error)}.")
        return ModelError(
            f"No server answers at {self._url}{self._through}; start one with: vllm serve {model or 'MODEL'}"
        )

    def no_list(self, reply: Reply) -> ModelError:
        """The server answers with something else when it is asked for its models."""
        if reply.status in (401, 403):
            return self._key_rejected(reply.status)
        if reply.status >= 300:
            return ModelError(
                f"The server at {self._url} answers {reply.status} when asked for its models "
                f"({self._message(reply)}); see its log."
            )
        return ModelError(f"What answers at {self._url} is no OpenAI-compatible server; base_url usually ends in /v1")

    def no_model(self, model: str, served: Sequence[str], option: str) -> RefineEvalError:
        """The server lacks the model, or has several and none was named."""
        listed = f" It has: {self.said(', '.join(served))}." if served else ""
        if model:
            return ModelError(
                f"The server at {self._url} has no model {model!r}.{suggestion(model, served)}{listed} "
                f"Name one with {option}"
            )
        return UsageError(f"The engine server needs the model's name: pass {option}=NAME.{listed}")

    def said(self, text: str) -> str:
        """Somebody else's text for one of our sentences: a short line, harmless to a terminal, without the key."""
        if self._key:
            text = text.replace(self._key, f"[{KEY_VARIABLE}]")  # before trimming, which could leave a part of it
        text = " ".join("".join(c if c.isprintable() else " " for c in text[:_READ]).split()).rstrip(".")
        return text if len(text) <= _SHOWN else f"{text[:_SHOWN]}..."

    def _message(self, reply: Reply) -> str:
        return self.said(read_message(reply.body))

    def _unusable(self, error: UnusableError, meanwhile: str = "") -> str:
        return f"The server at {self._url} {self.said(error.did)}{meanwhile}; {error.advice}"

    def _key_rejected(self, status: int) -> ModelError:
        return ModelError(
            f"The server at {self._url} rejects the key ({status}): set the environment variable {KEY_VARIABLE} to one "
            f"that it accepts"
        )
