"""What is written for other machines: values, commands and identities without this one's paths, and without secrets."""

from __future__ import annotations

import os
import re
import shlex
from collections.abc import Mapping
from pathlib import Path
from typing import Any

_SECRET = re.compile(
    r"^token$|(^|[^a-z])((hf|hub|hugging_?face|auth|access|api|bearer|session|security|github|gh|openai|wandb)_?token|"
    r"(api|access|secret|private|auth)_?key|secret|passw(or)?d|passphrase|pwd|credentials?|authorization|cookie)$",
    re.IGNORECASE,
)
"""Names of options whose values are nobody else's business: records are made to be published."""

_SECRET_IN_TEXT = re.compile(
    r"(?<=://)[^/@\s]+(?=@)|\bhf_[A-Za-z0-9]{30,}|\bgh[oprsu]_[A-Za-z0-9]{30,}|\bsk-(proj-)?[A-Za-z0-9]{20,}|"
    r"(?<=bearer )[^\s'\"}]+|(?P<name>[?&]([a-z_-]*key|[a-z_-]*token|sig|signature)=)[^\s,&]+",
    re.IGNORECASE,
)
"""Secrets by their form, whatever the option is called: a URL's user, password or key, tokens of hubs and servers."""

_SPACE = re.compile(r"\s")
_HIDDEN = "HIDDEN"


def portable(value: Any) -> Any:
    """An option's value as another machine can read it: of a path only its last part, and YAML's types."""
    if isinstance(value, Mapping):
        return {key: _HIDDEN if _is_secret(key, inner) else portable(inner) for key, inner in value.items()}
    if isinstance(value, list | tuple):
        return [portable(inner) for inner in value]
    if _is_path(value):
        return _last_part(value)
    return _without_secrets(value) if isinstance(value, str) else value


def portable_command(command: str) -> str:
    """A command without the folders of the machine on which it was typed: of each absolute path only its last part."""
    words = [re.split(r"([,=])", word) for word in shlex.split(command)]
    for word in words:
        for at in range(0, len(word) - 2, 2):
            if word[at + 1] == "=" and _is_secret(word[at], word[at + 2]):
                word[at + 2] = _HIDDEN
    typed = ("".join(_last_part(part) if _is_absolute(part) else part for part in word) for word in words)
    return shlex.join(_without_secrets(word) for word in typed)


def _is_secret(name: str, value: Any) -> bool:
    return isinstance(value, str) and bool(value) and bool(_SECRET.search(name.replace("-", "_")))


def _without_secrets(text: str) -> str:
    return _SECRET_IN_TEXT.sub(lambda found: (found["name"] or "") + _HIDDEN, text)


def _is_absolute(text: str) -> bool:
    """`/a/b`, `~/b`, or `/b` and `/a/my b` where they are there: a text may begin with a slash, too."""
    looks_like_one = text.startswith("~/") or text.count("/") > 1
    return text.startswith(("~/", "/")) and (
        (looks_like_one and not _SPACE.search(text)) or os.path.exists(os.path.expanduser(text))
    )


def _is_path(value: Any) -> bool:
    return isinstance(value, Path) or (
        isinstance(value, str) and (_is_absolute(value) or (os.sep in value and os.path.exists(value)))
    )


def _last_part(path: str | Path) -> str:
    return Path(path).name


def portable_identity(identity: str | None, options: Any) -> str | None:
    """An identity in which paths and secrets among its component's options stand as in the options of the record."""
    if isinstance(options, Mapping):
        for name, inner in options.items():
            secret = identity and _is_secret(name, inner)
            identity = identity.replace(inner, _HIDDEN) if identity and secret else portable_identity(identity, inner)
        identity = identity and _without_secrets(identity)
    elif isinstance(options, list | tuple):
        for inner in options:
            identity = portable_identity(identity, inner)
    elif identity and _is_path(options):
        identity = identity.replace(str(options), _last_part(options))
    return identity
