"""Every script under benchmarks/ and docs/ starts: its --help is shown, and nothing heavy is loaded for it."""

import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
HEAVY = ("torch", "transformers", "datasets", "lm_eval", "vllm", "ray", "scipy", "pandas")
SCRIPTS = sorted(
    path.relative_to(ROOT)
    for folder in ("benchmarks", "docs")
    for path in (ROOT / folder).rglob("*.py")
    if '\nif __name__ == "__main__":\n' in path.read_text("utf-8")
)

_SHOW_HELP = """
import runpy, sys
path, heavy = sys.argv[1], sys.argv[2].split()
sys.argv = [path, "--help"]
sys.path[0] = path.rpartition("/")[0]
try:
    runpy.run_path(path, run_name="__main__")
except SystemExit as end:
    assert not end.code, end.code
else:
    raise AssertionError("it ran instead of showing its help")
loaded = [name for name in heavy if name in sys.modules]
assert not loaded, f"--help loads {loaded}"
"""


def show_help(script: Path) -> subprocess.CompletedProcess[str]:
    """What `python SCRIPT --help` does, in a process of its own."""
    command = [sys.executable, "-c", _SHOW_HELP, str(ROOT / script), " ".join(HEAVY)]
    return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=120)


@pytest.fixture(scope="module")
def helps() -> dict[Path, subprocess.CompletedProcess[str]]:
    """All of them at once, as each spends its time on imports."""
    with ThreadPoolExecutor(max_workers=4) as pool:
        return dict(zip(SCRIPTS, pool.map(show_help, SCRIPTS), strict=True))


@pytest.mark.parametrize("script", SCRIPTS, ids=str)
def test_a_script_starts(script: Path, helps: dict[Path, subprocess.CompletedProcess[str]]) -> None:
    done = helps[script]
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith("usage: ")


def test_the_scripts_are_found() -> None:
    assert {"ship_tiny.py", "own_share.py", "__main__.py", "generate.py"} <= {path.name for path in SCRIPTS}


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        ("import gone\n", "No module named 'gone'"),
        ("print('usage: none')\n", "it ran instead of showing its help"),
        ("import scipy, argparse\nargparse.ArgumentParser().parse_args()\n", "--help loads ['scipy']"),
    ],
)
def test_a_broken_script_is_noticed(text: str, complaint: str, tmp_path: Path) -> None:
    script = tmp_path / "broken.py"
    script.write_text(text)
    done = show_help(script)
    assert done.returncode != 0
    assert complaint in done.stderr
