"""What the pages say is so: links lead somewhere, commands and options exist, versions agree."""

import re
import tomllib
from pathlib import Path
from typing import Any

import pytest
import yaml

from refine_eval.cli.recipe_stages import parse
from refine_eval.recipes.files import read_recipe
from refine_eval.recipes.suites import read_suite

ROOT = Path(__file__).resolve().parents[2]
DOCS = ROOT / "docs"
PAGES = [*DOCS.rglob("*.md"), *ROOT.glob("*.md")]
HELP = (DOCS / "reference" / "command-line.md").read_text("utf-8")
HAND_WRITTEN = [page for page in PAGES if page.name not in ("command-line.md", "findings.md")]


def name(page: Path) -> str:
    return str(page.relative_to(ROOT))


def anchors(page: Path) -> set[str]:
    """What headings are called in links."""
    headings = re.findall(r"^#+ (.+)$", page.read_text("utf-8"), re.MULTILINE)
    return {re.sub(r"[ ]+", "-", re.sub(r"[^\w\- ]", "", heading.lower()).strip()) for heading in headings}


@pytest.mark.parametrize("page", PAGES, ids=name)
def test_links_lead_somewhere(page: Path) -> None:
    broken = []
    for link in re.findall(r"\]\(([^)\s]+)\)", page.read_text("utf-8")):
        path, _, anchor = link.partition("#")
        if "://" in path:
            continue
        target = (page.parent / path).resolve() if path else page
        if not target.exists() or (anchor and anchor not in anchors(target)):
            broken.append(link)
    assert broken == []


def test_every_page_is_in_the_sites_navigation() -> None:
    def pages(entry: Any) -> list[str]:
        if isinstance(entry, str):
            return [entry]
        return [page for inner in (entry.values() if isinstance(entry, dict) else entry) for page in pages(inner)]

    navigation = pages(yaml.safe_load((ROOT / "mkdocs.yml").read_text("utf-8"))["nav"])
    assert sorted(navigation) == sorted(str(page.relative_to(DOCS)) for page in DOCS.rglob("*.md"))


def commands(page: Path) -> list[str]:
    """The `refine-eval` commands in a page's blocks of code, each on one line."""
    blocks = re.findall(r"^```\w*\n(.*?)^```", page.read_text("utf-8"), re.MULTILINE | re.DOTALL)
    text = "\n".join(blocks).replace("\\\n", " ")
    return re.findall(r"^(?:\$ )?(refine-eval .*?)(?:\s#.*)?$", text, re.MULTILINE)


def unknown(command: str) -> list[str]:
    """What a command has that `--help` does not list."""
    words = re.findall(r"^refine-eval(?: [a-z]+)?(?: (?:list|run|show|check|new|eval|fit|table)\b)?", command)[0]
    while f"\n## {words}\n" not in HELP and " " in words:
        words = words.rpartition(" ")[0]
    if words == "refine-eval":
        return [command]
    section = HELP.partition(f"\n## {words}\n")[2].partition("\n## ")[0]
    if words == "refine-eval plan":  # takes the options of run, too
        section += HELP.partition("\n## refine-eval run\n")[2].partition("\n## ")[0]
    known = set(re.findall(r"(?<![\w-])--?[a-z][\w-]*", section)) | {"--length-target"}
    return [option for option in re.findall(r"(?<=\s)--?[a-z][\w-]*", command) if option not in known]


@pytest.mark.parametrize("page", [page for page in HAND_WRITTEN if commands(page)], ids=name)
def test_commands_and_their_options_exist(page: Path) -> None:
    assert {command: unknown(command) for command in commands(page) if unknown(command)} == {}


def test_a_wrong_command_is_noticed() -> None:
    assert unknown("refine-eval run --critic sorm -q") == []
    assert unknown("refine-eval run --critics sorm") == ["--critics"]
    assert unknown("refine-eval recipe run smollm2 --work DIR --critic orm") == ["--critic"]
    assert unknown("refine-eval walk --critic orm") == ["refine-eval walk --critic orm"]


def test_versions_agree() -> None:
    version = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"]["version"]
    assert yaml.safe_load((ROOT / "CITATION.cff").read_text("utf-8"))["version"] == version
    first = re.findall(r"^## (.+)$", (ROOT / "CHANGELOG.md").read_text("utf-8"), re.MULTILINE)[0]
    assert first.startswith((version, "Unreleased"))


def test_the_recipe_and_the_suite_on_the_page_can_be_read(tmp_path: Path) -> None:
    recipe, suite = re.findall(r"```yaml\n(.*?)```", (DOCS / "guides" / "recipes.md").read_text("utf-8"), re.DOTALL)
    (tmp_path / "recipe.yaml").write_text(recipe, "utf-8")
    (tmp_path / "suite.yaml").write_text(suite, "utf-8")
    read = read_recipe(tmp_path / "recipe.yaml", {}, parse)
    assert [stage.name for stage in read.stages] == ["gold", "student", "samples", "labels", "sorm", "grid"]
    assert list(read_suite(tmp_path / "suite.yaml").runs) == ["glore", "best-of-3"]
