"""Pages in headless Chromium, by playwright. Tests skip, and say why, where either is missing.

pip install playwright; apt-get install chromium    (or: playwright install chromium)
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

NAMES = ("chromium", "chromium-browser", "google-chrome")


@contextmanager
def chromium() -> Iterator[Any]:
    """A headless browser; REFINE_EVAL_CHROMIUM names its program where it is not on the path."""
    playwright = pytest.importorskip("playwright.sync_api", reason="playwright is not installed")
    program = os.environ.get("REFINE_EVAL_CHROMIUM") or next(filter(None, map(shutil.which, NAMES)), None)
    with playwright.sync_playwright() as started:
        if program is None and not os.path.exists(started.chromium.executable_path):
            pytest.skip("there is no Chromium: apt-get install chromium, or playwright install chromium")
        browser = started.chromium.launch(executable_path=program, args=["--no-sandbox"])
        try:
            yield browser
        finally:
            browser.close()


class Page:
    """A page that must log no error and ask no network for anything."""

    def __init__(self, browser: Any, path: Path, address: str = "", **settings: Any) -> None:
        self.errors: list[str] = []
        self.requests: list[str] = []
        self.page = browser.new_page(**settings)
        self.page.on("console", lambda message: self.errors.append(message.text))
        self.page.on("pageerror", lambda error: self.errors.append(str(error)))
        self.page.on("request", lambda request: self.requests.append(request.url))
        self.page.on("dialog", self._dialog)
        self.page.goto(path.as_uri() + address)

    def _dialog(self, dialog: Any) -> None:
        self.errors.append("a dialog")
        dialog.dismiss()

    def texts(self, selector: str) -> list[str]:
        """The texts of the elements that are to be seen."""
        return [str(text) for text in self.page.locator(f"{selector}:visible").all_inner_texts()]

    def close(self) -> None:
        """Fails where the page logged something, or asked for more than itself."""
        assert self.errors == []
        assert [url for url in self.requests if not url.startswith("file:")] == []
        self.page.close()
