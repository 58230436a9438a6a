"""What are HTML pages made of? Templates, styles and scripts, each a file in this folder, put into one page."""

from __future__ import annotations

import base64
import hashlib
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from jinja2 import Template


def package_text(name: str) -> str:
    """A file of this folder."""
    return Path(__file__).with_name(name).read_text("utf-8")


@cache
def template(name: str) -> Template:
    """A template of this folder, which escapes what is put into it."""
    from jinja2 import Environment, StrictUndefined

    environment = Environment(autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True)
    return environment.from_string(package_text(name))


def csp_hash(script: str) -> str:
    """The script as a Content-Security-Policy names it, so that a browser runs this one in the page and no other."""
    return "'sha256-" + base64.b64encode(hashlib.sha256(script.encode()).digest()).decode() + "'"
