"""Options of the server engine."""

from __future__ import annotations

from dataclasses import dataclass
from urllib.parse import urlsplit

from refine_eval.errors import UsageError
from refine_eval.plugin.fields import option

KEY_VARIABLE = "OPENAI_API_KEY"
CHAT = "/chat/completions"
_FORM = "base_url must be of the form http://localhost:8000/v1"
_LONGEST_URL = 2_000


@dataclass(frozen=True, kw_only=True)
class ServerOptions:
    """Options of the server engine. There is none for the key: command lines are recorded and seen by others."""

    base_url: str = option("", "Where the server answers: http://localhost:8000/v1", place_of="identity")
    model: str = option("", "The server's name for the model (default: its only one).")
    num_concurrent: int = option(64, "Requests in flight at once.", min=1, max=100_000)
    max_retries: int = option(5, "How often a request is sent again that failed.", min=0, max=1_000)
    timeout: float = option(600.0, "Longest wait for a complete answer, in seconds.", above=0, max=604_800)
    identity: str = option("", "A name of your own for the model, used in keys instead of base_url.")
    send_seed: bool = option(True, "Whether to request samples with a seed, which some servers refuse.")
    chat: bool = option(
        False, "Speak /v1/chat/completions: prompts are messages, as with --apply-chat-template.", recent=True
    )
    api_key: str = option("", f"Not taken here: set {KEY_VARIABLE} instead.")

    def __post_init__(self) -> None:
        """UsageError for an option that does not fit; no message repeats what may hold a password."""
        if self.api_key:
            raise UsageError(f"The server's key is no option: set the environment variable {KEY_VARIABLE} instead.")
        if not isinstance(self.base_url, str):
            raise UsageError(_FORM)
        try:
            parts = urlsplit(self.base_url)
            usable = not self.base_url or (parts.scheme in ("http", "https") and bool(parts.hostname))
            _ = parts.port, (parts.hostname or "").encode("idna")
        except ValueError:
            raise UsageError(_FORM) from None
        if parts.username is not None or parts.password is not None or parts.query or parts.fragment:
            raise UsageError(
                f"base_url must hold no user, password or query: the server's key is read from the environment "
                f"variable {KEY_VARIABLE} alone."
            )
        readable = self.base_url.isprintable() and " " not in self.base_url and len(self.base_url) <= _LONGEST_URL
        if not usable or not readable:
            raise UsageError(_FORM)
        if self.base_url.rstrip("/").endswith(CHAT) and not self.chat:
            raise UsageError(f"base_url ends in {CHAT}: leave that out, and pass chat=true to speak chat completions.")
        if not isinstance(self.identity, str) or not self.identity.isprintable():
            raise UsageError("identity must be a name on one line.")
