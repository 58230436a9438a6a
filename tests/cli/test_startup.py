"""Commands that only look at things start in a blink: none imports what takes seconds."""

import ast
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

HEAVY = ("torch", "transformers", "datasets", "lm_eval", "vllm", "numpy", "scipy", "pandas")
PUBLISHED = Path(__file__).resolve().parents[2] / "results" / "published"
LIGHT_COMMANDS = (
    ["--help"],
    ["plugins", "list"],
    ["tasks", "list"],
    ["leaderboard"],
    ["run", "--help"],
    ["plan", "--help"],
    ["collect", "--help"],
    ["label", "--help"],
    ["train", "--help"],
    ["recipe", "list"],
    ["critics", "eval", "--help"],
)

_SCRIPT = """
import sys
sys.argv = ["refine-eval", *{arguments!r}]
from refine_eval.cli import main
try:
    main()
except SystemExit as end:
    assert not end.code, end.code
print("HEAVY:", [name for name in {heavy!r} if name in sys.modules])
"""


@pytest.mark.parametrize("arguments", LIGHT_COMMANDS, ids=" ".join)
def test_light_commands_import_nothing_heavy(arguments: list[str], tmp_path: Path) -> None:
    published = next(path for path in sorted(PUBLISHED.iterdir()) if path.is_dir())
    shutil.copytree(published, tmp_path / "results" / "published" / published.name)
    script = _SCRIPT.format(arguments=arguments, heavy=HEAVY)
    done = subprocess.run([sys.executable, "-c", script], cwd=tmp_path, capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines()[-1] == "HEAVY: []"


def test_help_lists_every_command_in_a_line_and_imports_none(tmp_path: Path) -> None:
    script = _SCRIPT.format(arguments=["--help"], heavy=HEAVY) + (
        "from refine_eval.cli import cli\n"
        "print(sorted(name for name in sys.modules if name.startswith('refine_eval.')))\n"
        "print([name for name in cli.list_commands(None) if cli.get_command(None, name).name != name])\n"
        "print(cli.list_commands(None))\n"
    )
    done = subprocess.run([sys.executable, "-c", script], cwd=tmp_path, capture_output=True, text=True, timeout=60)
    *_, section = done.stdout.partition("Commands:\n")
    *listed, _, imported, misnamed, commands = section.splitlines()
    assert [line.split()[0] for line in listed] == ast.literal_eval(commands)  # a longer one would take two lines
    assert "refine_eval.cli" in imported, done.stderr
    assert "refine_eval.runs" not in imported
    assert misnamed == "[]"


def test_threads_do_not_spin_while_they_wait() -> None:
    script = _SCRIPT.format(arguments=["--version"], heavy=()) + "\nimport torch"
    environment = {key: value for key, value in os.environ.items() if key != "OMP_WAIT_POLICY"}
    done = subprocess.run(
        [sys.executable, "-c", script],
        env={**environment, "OMP_DISPLAY_ENV": "TRUE"},
        capture_output=True,
        text=True,
        timeout=60,
    )
    if "OPENMP DISPLAY ENVIRONMENT" not in done.stderr:
        pytest.skip("torch is built with another OpenMP than GNU's")
    assert "OMP_WAIT_POLICY = 'PASSIVE'" in done.stderr


def test_bars_of_libraries_do_not_fill_logs() -> None:
    script = _SCRIPT.format(arguments=["--version"], heavy=()) + "\nfrom tqdm.auto import tqdm\nlist(tqdm([1]))"
    environment = {key: value for key, value in os.environ.items() if key != "TQDM_DISABLE"}
    done = subprocess.run(
        [sys.executable, "-c", script], env=environment, capture_output=True, text=True, timeout=60, check=True
    )
    assert done.stderr == ""
