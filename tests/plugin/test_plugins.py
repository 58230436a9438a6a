"""Finding plugins: conflicts, misspellings, failures, blocking; and the example plugin, really installed."""

import json
import os
import re
import shutil
import subprocess
import sys
from dataclasses import dataclass, field
from pathlib import Path
from types import SimpleNamespace

import pytest
from click.testing import CliRunner, Result

from refine_eval.cli.plugins import plugins as command
from refine_eval.errors import PluginError, UsageError
from refine_eval.plugin.benchmark import Benchmark
from refine_eval.plugin.components import Critic, Selector, Trainer
from refine_eval.plugin.hookspecs import hookimpl
from refine_eval.plugin.registry import DISABLE, Registry

ROOT = Path(__file__).parents[2]
EXAMPLE = ROOT / "tests" / "example_plugin"


class Hostile(Critic):
    """Turns the terminal \x1b[31mred [bold]and bold[/bold]."""

    name = "hostile"


class HostileSelector(Selector):
    """Shares a name with a critic."""

    name = "hostile"


@dataclass(frozen=True, kw_only=True)
class SwitchOptions:
    """A switch."""

    strict: bool = field(default=True, metadata={"help": "Strict."})


class Switched(Critic):
    """Has a switch."""

    name = "switched"
    Options = SwitchOptions


class SwitchedTrainer(Trainer):
    """Has one too."""

    name = "switched"
    Options = SwitchOptions


def offering(kind: str, *items: object) -> SimpleNamespace:
    """A plugin with one hook."""

    def hook() -> tuple[object, ...]:
        return items

    hook.__name__ = f"refine_eval_{kind}s"
    return SimpleNamespace(**{hook.__name__: hookimpl(hook)})


def registry_of(*modules: object) -> Registry:
    return Registry((f"plugin{i}", module, f"dist{i}", f"{i}.0") for i, module in enumerate(modules))


# The registry.


def test_recipes_go_by_their_files_names() -> None:
    found = registry_of(offering("recipe", Path("a/small.yaml"), Path("a/large.yaml")))
    assert found.recipes() == {"large": Path("a/large.yaml"), "small": Path("a/small.yaml")}
    with pytest.raises(PluginError, match="must return Path objects"):
        registry_of(offering("recipe", "a/small.yaml"))
    with pytest.raises(PluginError, match="Two plugins offer the recipe 'small'"):
        registry_of(offering("recipe", Path("small.yaml")), offering("recipe", Path("b/small.yaml")))


def test_what_a_plugin_offers_is_found() -> None:
    found = registry_of(offering("selector", HostileSelector), offering("critic", Hostile))
    assert [(item.kind, item.name, item.distribution, item.version) for item in found.all()] == [
        ("critic", "hostile", "dist1", "1.0"),
        ("selector", "hostile", "dist0", "0.0"),
    ]
    assert found.component("critic", "hostile") is Hostile
    assert [item.kind for item in found.named("hostile")] == ["critic", "selector"]
    assert found.all("selector")[0].description == "Shares a name with a critic."


def test_a_conflict_names_both_distributions() -> None:
    with pytest.raises(PluginError, match=r"critic 'hostile': dist0 0\.0 and dist1 1\.0") as raised:
        registry_of(offering("critic", Hostile), offering("critic", Hostile))
    assert DISABLE in str(raised.value)


def test_a_misspelt_hook_is_told() -> None:
    with pytest.raises(PluginError, match=r"'plugin0' of dist0 .*refine_eval_critics_s") as raised:
        registry_of(offering("critics_", Hostile))
    assert f"{DISABLE}=plugin0" in str(raised.value)


@pytest.mark.parametrize(
    ("item", "says"),
    [
        (Hostile(), "Critic subclasses with a name"),
        (HostileSelector, "Critic subclasses with a name"),
        (Critic, "Critic subclasses with a name"),
        (3, "returned 3 from its critic hook"),
    ],
)
def test_a_hook_that_returns_the_wrong_thing(item: object, says: str) -> None:
    with pytest.raises(PluginError, match=says):
        registry_of(offering("critic", item))


def test_a_hook_that_raises() -> None:
    class Module:
        @hookimpl
        def refine_eval_critics(self) -> list[type[Critic]]:
            raise RuntimeError("out of ideas")

    with pytest.raises(PluginError, match=rf"critic hook: RuntimeError\('out of ideas'\)\. .*{DISABLE}=plugin0"):
        registry_of(Module())


def test_an_unknown_name_suggests_the_nearest() -> None:
    found = registry_of(offering("critic", Hostile))
    with pytest.raises(PluginError, match=r"No critic is called 'hostel'\. Did you mean 'hostile'"):
        found.component("critic", "hostel")
    with pytest.raises(PluginError, match=r"No plugin is called 'hostel'\. Did you mean 'hostile'"):
        found.named("hostel")
    with pytest.raises(PluginError, match=r"No selector is called 'hostile'\. See: refine-eval plugins list"):
        found.component("selector", "hostile")


# The command.


@pytest.fixture
def invoke(monkeypatch: pytest.MonkeyPatch):  # type: ignore[no-untyped-def]
    """Runs `refine-eval plugins ...` with two hostile plugins and nothing else."""
    found = registry_of(offering("critic", Hostile), offering("selector", HostileSelector))
    monkeypatch.setattr("refine_eval.cli.plugins.registry", lambda: found)

    def run(*arguments: str) -> Result:
        return CliRunner().invoke(command, arguments)

    return run


def test_list_is_harmless_and_aligned(invoke) -> None:  # type: ignore[no-untyped-def]
    result = invoke("list")
    assert result.exit_code == 0
    assert "\x1b" not in result.output
    assert "[bold]and bold[/bold]" in result.output
    head, first, second = result.output.splitlines()
    assert head.index("kind") == first.index("critic") == second.index("selector")
    assert invoke("list", "--kind", "selector").output.count("hostile") == 1


def test_list_on_a_terminal_is_a_table(invoke, monkeypatch: pytest.MonkeyPatch, capsys) -> None:  # type: ignore[no-untyped-def]
    from refine_eval.terminal import print_listing

    monkeypatch.setattr(sys.stdout, "isatty", lambda: True, raising=False)
    monkeypatch.setenv("COLUMNS", "100")
    print_listing(["name", "what it does"], [["x", "[bold]not bold[/bold] \x1b[31m [/]"]])
    printed = capsys.readouterr().out
    assert "[bold]not bold[/bold] �[31m [/]" in printed


def test_list_as_json(invoke) -> None:  # type: ignore[no-untyped-def]
    rows = json.loads(invoke("list", "--json").output)
    assert [sorted(row) for row in rows] == [["description", "distribution", "kind", "name", "version"]] * 2


def test_show_all_kinds_of_a_name(invoke) -> None:  # type: ignore[no-untyped-def]
    output = invoke("show", "hostile").output
    assert "hostile: critic of dist0 0.0" in output
    assert "hostile: selector of dist1 1.0" in output
    assert output.count("No options.") == 2
    assert "\x1b" not in output


def test_check_reports_and_exits_with_1(invoke) -> None:  # type: ignore[no-untyped-def]
    result = invoke("check", "hostile", "--kind", "critic")
    assert result.exit_code == 1
    assert "FAIL  empty-batch" in result.output
    assert "it raised NotImplementedError" in result.output
    assert "pass  valid-options" in result.output
    assert re.search(r"\d+ of 17 checks passed", result.output)


def test_benchmarks_and_recipes_are_shown_and_listed(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    recipe, broken = tmp_path / "small.yaml", tmp_path / "odd.yaml"
    recipe.write_text("description: Makes little.\nstages:\n  gold:\n    collect:\n      gold: true\n")
    broken.write_text("[")
    benchmark = Benchmark(name="sums", description="Adds \x1b[31m.", data="made here", yaml=tmp_path / "sums.yaml")
    found = registry_of(offering("benchmark", benchmark), offering("recipe", recipe, broken))
    monkeypatch.setattr("refine_eval.cli.plugins.registry", lambda: found)

    def output(*arguments: str) -> str:
        result = CliRunner().invoke(command, arguments)
        assert result.exit_code == 0, result.exception
        assert "\x1b" not in result.output
        return result.output

    assert "sums: benchmark of dist0 0.0" in output("show", "sums")
    assert "data: made here" in output("show", "sums")
    shown = output("show", "small")
    assert "small: recipe of dist1 1.0" in shown
    assert "Makes little." in shown
    assert f"file: {recipe}" in shown
    assert [line.split()[0] for line in output("list", "--kind", "benchmark").splitlines()] == ["name", "sums"]
    rows = {row["name"]: row["description"] for row in json.loads(output("list", "--kind", "recipe", "--json"))}
    assert rows["small"] == "Makes little."
    assert "odd.yaml" in rows["odd"], "a broken one hides no other"
    assert output("list").splitlines() == ["name  kind  distribution  version  what it does"]
    checked = CliRunner().invoke(command, ["check", "sums"])
    assert isinstance(checked.exception, UsageError)
    assert "'sums' is a benchmark, which has no contract" in str(checked.exception)


def test_a_trainers_options_are_shown_as_train_takes_them(monkeypatch: pytest.MonkeyPatch) -> None:
    found = registry_of(offering("critic", Switched), offering("trainer", SwitchedTrainer))
    monkeypatch.setattr("refine_eval.cli.plugins.registry", lambda: found)
    critic, trainer = CliRunner().invoke(command, ["show", "switched"]).output.split("\nswitched: trainer")
    assert "--switched-strict" in critic
    assert "--switched" not in trainer
    assert "train switched --options name=value,name=value, such as --options strict=false:" in trainer
    assert re.search(r"^strict +bool +True +Strict\.$", trainer, re.MULTILINE)


@pytest.mark.parametrize(
    ("arguments", "error", "says"),
    [
        (("show", "hostel"), PluginError, "Did you mean 'hostile'"),
        (("check", "hostel"), PluginError, "Did you mean 'hostile'"),
        (("check", "hostile", "--kind", "engine"), UsageError, "No engine is called 'hostile'"),
        (("check", "hostile", "-o", "depth"), UsageError, "NAME=VALUE"),
        (("check", "hostile", "-o", "depth=3"), UsageError, "no option 'depth'"),
    ],
)
def test_what_cannot_be_shown_or_checked(invoke, arguments, error: type[Exception], says: str) -> None:  # type: ignore[no-untyped-def]
    result = invoke(*arguments)
    assert isinstance(result.exception, error)
    assert says in str(result.exception)


# The example plugin and its tutorial.


def refine_eval(*arguments: str, path: Path) -> subprocess.CompletedProcess[str]:
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join([str(path), *filter(None, sys.path)])}
    return subprocess.run(
        [sys.executable, "-m", "refine_eval", *arguments], capture_output=True, text=True, env=environment, check=False
    )


@pytest.fixture(scope="module")
def example(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The example plugin, built and installed into a folder as anybody's would be; needs no network."""
    pytest.importorskip("hatchling")
    target = tmp_path_factory.mktemp("site")
    pip = [sys.executable, "-m", "pip", "install", "--quiet", "--disable-pip-version-check", "--no-index"]
    subprocess.run(
        [*pip, "--no-deps", "--no-build-isolation", "--target", str(target), str(EXAMPLE)], check=True, cwd=target
    )
    return target


def test_the_example_is_found_once_installed(example: Path) -> None:
    listed = refine_eval("plugins", "list", path=example)
    assert listed.returncode == 0, listed.stderr
    assert re.search(r"^length +critic +refine-eval-example-critic +0\.1\.0 +Prefers", listed.stdout, re.MULTILINE)
    shown = refine_eval("plugins", "show", "length", path=example)
    assert re.search(r"--length-target +int of at least 1 +4 +The number of steps", shown.stdout), shown.stderr
    assert "--length-target" in refine_eval("run", "--help", path=example).stdout


def test_the_example_keeps_the_contract(example: Path) -> None:
    checked = refine_eval("plugins", "check", "length", "-o", "target=3", path=example)
    assert checked.returncode == 0, checked.stdout + checked.stderr
    assert "17 of 17 checks passed" in checked.stdout


def test_the_examples_own_tests_pass(example: Path, tmp_path: Path) -> None:
    shutil.copytree(EXAMPLE / "tests", tmp_path / "tests")  # away from this project's pytest settings
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join([str(example), *filter(None, sys.path)])}
    subprocess.run([sys.executable, "-m", "pytest", "-q", "tests"], check=True, cwd=tmp_path, env=environment)


def test_list_is_light() -> None:
    code = (
        "import sys; sys.argv[1:] = ['plugins', 'list']\n"
        "from refine_eval.cli import main\n"
        "try: main()\n"
        "except SystemExit as end: assert not end.code\n"
        "heavy = {'torch', 'transformers', 'datasets', 'lm_eval', 'numpy', 'rich'} & set(sys.modules)\n"
        "assert not heavy, heavy"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


def test_the_tutorials_files_are_the_examples() -> None:
    tutorial = (ROOT / "docs" / "guides" / "your-critic.md").read_text()
    shown = dict(re.findall(r"`refine-eval-example-critic/([\w./]+)`:\n\n```\w+\n(.*?)```", tutorial, re.DOTALL))
    files = {
        str(path.relative_to(EXAMPLE)): path.read_text()
        for path in EXAMPLE.rglob("*")
        if path.suffix in (".py", ".toml") and path.name != "conftest.py"
    }
    assert shown == files
