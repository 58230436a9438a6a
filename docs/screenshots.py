"""The pictures of pages in docs/: published runs in headless Chromium.

python docs/screenshots.py        needs playwright and Chromium (CONTRIBUTING.md), and pillow

Few colours are on them, so 128 are kept: a third of the bytes in every clone.
"""

from __future__ import annotations

import argparse
import os
import shutil
import tempfile
from pathlib import Path

DOCS = Path(__file__).resolve().parent
RUNS = [str(DOCS.parent / "results" / "published" / name) for name in ("apples-glore", "apples-sorm-local")]

SHOTS = {
    "view-problem.png": ("#problem=apples%2F343&run=apples-glore&beside=apples-sorm-local", 1280, 980, "light"),
    "view-phone.png": ("#problem=apples%2F343", 390, 620, "dark"),
    "view-flow.png": ("", 1280, 620, "light"),
}
"""File name -> address in the page, width and height in pixels, colour scheme."""


def main() -> None:
    """Takes them."""
    argparse.ArgumentParser(description=str(__doc__).splitlines()[0]).parse_args()
    from PIL import Image  # type: ignore[import-not-found, unused-ignore]
    from playwright.sync_api import sync_playwright

    from refine_eval.cli.report import write_page

    program = os.environ.get("REFINE_EVAL_CHROMIUM") or shutil.which("chromium")
    with tempfile.TemporaryDirectory() as folder, sync_playwright() as started:
        path = write_page(RUNS, None, Path(folder) / "view.html")
        browser = started.chromium.launch(executable_path=program, args=["--no-sandbox"])
        for name, (address, width, height, scheme) in SHOTS.items():
            shot = browser.new_page(viewport={"width": width, "height": height}, color_scheme=scheme)
            shot.goto(path.as_uri() + address)
            shot.screenshot(path=DOCS / name)
            with Image.open(DOCS / name) as taken:
                few = taken.convert("RGB").quantize(128, dither=Image.Dither.NONE)
            few.save(DOCS / name, optimize=True)
            print(f"wrote {DOCS / name}")
        browser.close()


if __name__ == "__main__":
    main()
