"""The page on what is public is what the public faces list."""

import re
import runpy
from pathlib import Path

import refine_eval
import refine_eval.testing
import refine_eval.training

SCRIPT = Path(__file__).resolve().parents[2] / "docs" / "public_api.py"


def test_the_page_is_fresh_and_whole() -> None:
    module = runpy.run_path(str(SCRIPT))
    page = module["PAGE"].read_text("utf-8")
    assert page == module["page"](), "run: make docs"
    listed = set(re.findall(r"^\| `(\w+)` \| .+ \|$", page, re.MULTILINE)) | {"__version__"}
    public = {name for face in (refine_eval, refine_eval.testing, refine_eval.training) for name in face.__all__}
    assert listed == public
