"""The floors of the house: import-linter's contracts hold, and each one can be broken."""

import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
PACKAGES = (
    "harness/refine_eval",
    "plugins/orm/refine_eval_orm",
    "plugins/sorm/refine_eval_sorm",
    "plugins/prm/refine_eval_prm",
    "plugins/judge/refine_eval_judge",
    "plugins/refiners/refine_eval_refiners",
    "plugins/untrained/refine_eval_untrained",
    "plugins/ensembles/refine_eval_ensembles",
    "benchmarks/refine_eval_benchmarks",
)

BREAKS = {
    "Imports run down the floors": ("refine_eval/results/table.py", "from refine_eval.runs import pipeline"),
    "Rooms on one floor": ("refine_eval/engines/scripted.py", "from refine_eval.critics import step_models"),
    "Plugins stand on the harness": ("refine_eval/plugin/registry.py", "import refine_eval_orm"),
    "No circle": ("refine_eval/plugin/pairs.py", "from refine_eval.plugin import options"),
    "lm_eval is imported in tasks alone": ("refine_eval/runs/session.py", "import lm_eval"),
    "vllm is imported where it is served": ("refine_eval/engines/transformers_engine.py", "import vllm"),
    "click is imported by the command line": ("refine_eval/terminal.py", "import click"),
}
"""What is broken -> a module, and the line that breaks it."""

SEEN_AS = {"Rooms on one floor": "Imports run down the floors"}
"""Under which contract's name a break is reported, where that is another one's."""


@pytest.fixture(scope="module")
def house(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """All packages side by side, without their models, and the contracts."""
    folder = tmp_path_factory.mktemp("house")
    for package in PACKAGES:
        shutil.copytree(
            ROOT / package, folder / Path(package).name, ignore=shutil.ignore_patterns("models*.*", "*.safetensors")
        )
    shutil.copy(ROOT / ".importlinter", folder)
    return folder


def lint(house: Path) -> subprocess.CompletedProcess[str]:
    script = Path(sys.executable).with_name("lint-imports")
    path = {"PYTHONPATH": str(house), "PATH": "/usr/bin:/bin", "NO_COLOR": "1"}
    return subprocess.run(
        [str(script), "--no-cache"], cwd=house, env=path, capture_output=True, text=True, check=False, timeout=120
    )


def test_all_contracts_hold(house: Path) -> None:
    done = lint(house)
    assert done.returncode == 0, done.stdout
    assert "0 broken" in done.stdout


@pytest.mark.parametrize("contract", BREAKS)
def test_a_broken_contract_fails(contract: str, house: Path) -> None:
    module, line = BREAKS[contract]
    path = house / module
    whole = path.read_text(encoding="utf-8")
    path.write_text(f"{whole}\n{line}\n", encoding="utf-8")
    try:
        done = lint(house)
    finally:
        path.write_text(whole, encoding="utf-8")
    assert done.returncode == 1, done.stdout
    broken = [text for text in done.stdout.splitlines() if " BROKEN" in text]
    assert any(text.startswith(SEEN_AS.get(contract, contract)) for text in broken), done.stdout
