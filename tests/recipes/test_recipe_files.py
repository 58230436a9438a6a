"""Recipe files: what they say, and what is refused before anything runs."""

from pathlib import Path

import pytest
from chain_recipe import RECIPE, RUN, recipe
from in_process import error_line, refine_eval

from refine_eval.errors import RefineEvalError
from refine_eval.plugin.registry import registry
from refine_eval.recipes.making import command_of
from refine_eval.recipes.work import WorkFolder


def test_values_options_and_outputs_become_words(tmp_path: Path) -> None:
    found = recipe(tmp_path, questions="7", seed="3")
    work = WorkFolder(Path("work"), found.stages)
    typed = {stage.name: " ".join(command_of(stage, work, ["-q"])) for stage in found.stages}
    results = "--results work/results"
    assert typed == {
        "gold": f"collect --task apples --seed 3 --gold --limit 7 --out work/gold {results} -q",
        "student": "train sft work/gold --optimizer muon --seed 3 --steps 30 --base a/model --out work/student -q",
        "samples": "collect --task apples --seed 3 --temperature 0.5 --model-args pretrained=work/student --samples 4 "
        f"--limit 7 --out work/samples {results} -q",
        "labels": "label work/samples --model-args pretrained=work/student --rollouts 2 --out work/labels "
        f"{results} -q",
        "orm": "train orm work/samples --optimizer muon --seed 3 --lora-rank 8 --base work/student --out work/orm -q",
        "grid": "run --critic orm --orm-model work/orm --refiner local --refiner global --limit 9 "
        f"{results} --name grid -q",
    }
    assert [stage.needs for stage in found.stages] == [
        (),
        ("gold",),
        ("student",),
        ("samples", "student"),
        ("samples", "student"),
        ("orm",),
    ]


def test_dollars_braces_and_values_that_are_no_text(tmp_path: Path) -> None:
    text = """
    with: {folder: a b, slow: true, nothing: null, "no": 3}
    stages:
      with-hyphen: {do: collect, gold: $slow, limit: $nothing, device: "$$5 $folder-${seed}"}
      next: {do: train sft, on: ["${with-hyphen}/x", "$folder", "$no"], base: b}
    """
    found = recipe(tmp_path, text)
    words = [stage.words({"with-hyphen": "OUT"}) for stage in found.stages]
    assert words[0] == ["--gold", "--device", "$5 a b-0"]
    assert words[1] == ["sft", "OUT/x", "a b", "3", "--base", "b"]
    (first, _) = recipe(tmp_path, text, slow="false", nothing="8").stages
    assert first.words({})[:2] == ["--limit", "8"]


def test_a_record_whose_name_is_null_has_the_stages(tmp_path: Path) -> None:
    (stage,) = recipe(tmp_path, "with: {name: x}\nstages: {a: {do: run, name: $name}}", name="null").stages
    assert stage.records == ("a",)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("stages: [", "cannot be read"),
        ("stages:\n  a: {do: collect, limit: 3,\n    limit: 4}", "line 3: 'limit' is given twice; remove one."),
        ("stages:\n  a: {do: collect}\n  a: {do: label, on: x}", "line 3: 'a' is given twice"),
        ("stages: {a: {do: label, on: x, 'on': y}}", "line 1: 'on' is given twice"),
        (
            "- a",
            "is not a recipe: it has no stages; a recipe has `stages: {NAME: {do: COMMAND, OPTION: VALUE, ...}, ...}`",
        ),
        ("stagse: {}", "a recipe has no key 'stagse'. Did you mean 'stages'?"),
        ("with: [a]", "`with` is NAME: VALUE pairs"),
        ("with: {a-b: 1}\nstages: {a: {}}", "'a-b' cannot be the name of a value"),
        ("with: {a: [1]}\nstages: {b: {}}", "the value 'a' is [1], and a value is one text"),
        ("with: {a: 1}\nstages: {a: {do: collect}}", "'a' is both a value and a stage, so $a would be either"),
        ("stages: {a/b: {do: collect}}", "no stage can be called 'a/b'"),
        ("stages: {results: {do: collect}}", "no stage can be called 'results'"),
        ("jobs: 0\nstages: {a: {do: collect}}", "jobs is 0, and must be a whole number from 1."),
        ("threads: many\nstages: {a: {do: collect}}", "threads is 'many'"),
        ("assume: {problem: 3}\nstages: {a: {do: collect}}", "no figure 'problem'. Did you mean 'problems'?"),
        ("assume: {wrong_share: 2}\nstages: {a: {do: collect}}", "wrong_share is 2, and must be a share above 0"),
        ("assume: {problems: no}\nstages: {a: {do: collect}}", "problems is 'no', and must be a number above 0"),
        (
            "every: {colect: {}}\nstages: {a: {do: collect}}",
            "`every` has 'colect', and no stage does that. Did you mean 'collect'?",
        ),
        ("every: {train sfd: {}}\nstages: {a: {do: train sft}}", "no stage does that. Did you mean 'train sft'?"),
        ("every: {collect: 3}\nstages: {a: {do: collect}}", "`every` collect is OPTION: VALUE pairs, not 3"),
        ("stages: {a: 3}", "stage 'a': a stage is `{do: COMMAND, OPTION: VALUE, ...}`, not 3"),
        ("stages: {a: {task: apples}}", "stage 'a': it needs `do: COMMAND`"),
        ("stages: {a: {do: colect}}", "stage 'a': it cannot do 'colect'. Did you mean 'collect'?"),
        ("stages: {a: {do: train}}", "`do: train` must be `do: train NAME`"),
        ("stages: {a: {do: label samples}}", "`do: label samples` must be `do: label`"),
        ("stages: {a: {do: train sfd, on: x, base: b}}", "stage 'a': No trainer is called 'sfd'. Did you mean 'sft'?"),
        ("stages: {a: {do: train sft, on: x}}", "stage 'a': train sft starts from a model; name it with `base`."),
        (
            "stages: {a: {do: train sft, base: b}}",
            "`train sft` needs what `collect` makes, too; name that stage in `on`.",
        ),
        ("stages: {a: {do: train sft, on: x, base: b, options: {per: 1}}}", "Trainer 'sft' has no option 'per'."),
        (
            "stages: {a: {do: train sft, on: x, base: b, last-layers: 1, lora-rank: 2}}",
            "stage 'a': --last-layers chooses",
        ),
        ("stages: {a: {do: collect, smples: 3}}", "No such option"),
        ("stages: {a: {do: collect, model-args: {pretrained: null}}}", "model-args has no value in"),
        ("stages: {a: {do: collect, task: svmap}}", "stage 'a': No task is called 'svmap'. Did you mean 'svamp'?"),
        ("stages: {a: {do: run, tasks: 'apples,svmap'}}", "stage 'a': No task is called 'svmap'. Did you mean"),
        ("stages: {a: {do: collect, split: nope}}", "--split must be train, validation or test, not 'nope'."),
        ("stages: {a: {do: collect, samples: many}}", "--samples must be a whole number of at least 1, not 'many'."),
        ("stages: {a: {do: collect, samples: [[3]]}}", "samples has a value that no command line can have: [3]"),
        ("stages: {a: {do: collect, model: vlm}}", "No engine is called 'vlm'. Did you mean 'vllm'?"),
        ("stages: {a: {do: collect, model-args: {x: 1}}}", "has no option 'x'"),
        ("stages: {a: {do: collect, gold: true, split: test}}", "Gold solutions of test questions"),
        ("stages: {a: {do: collect, out: here}}", "stage 'a': out is set by `recipe run` itself; leave it out."),
        ("stages: {a: {do: collect, on: x}}", "Got unexpected extra argument"),
        ("stages: {a: {do: label, on: [[x]]}}", "`on` is one folder or a list of folders"),
        ("stages: {a: {do: label, on: --help}}", "`on` is one folder or a list of folders, not ['--help']"),
        ("with: {x: null}\nstages: {a: {do: label, on: $x}}", "`on` is one folder or a list of folders, not [None]"),
        ("stages: {a: {do: train --help, on: x}}", "`do: train --help` must be `do: train NAME`."),
        ("stages: {a: {do: collect, limit: true}}", "stage 'a': limit is true, as only a flag can be; give it"),
        (
            "with: {n: false}\nstages: {a: {do: train sft, on: x, base: b, steps: $n}}",
            "stage 'a': steps is false, as only a flag can be; give it a value.",
        ),
        ("stages: {a: {do: label, on: x, naive: 'yes'}}", "naive is 'yes', and can be true or false only."),
        (
            "with: {t: null}\nstages: {a: {do: run, task: $t}}",
            "stage 'a': task is null, and would be 'apples'; give it a value.",
        ),
        ("with: {n: null}\nstages: {a: {do: run, name: $n-x}}", "name is '$n-x', and $n is null; give it a value."),
        (f"stages: {{a: {{do: run, suite: $b{'9' * 3000}}}}}", f"$b{'9' * 59} is no value and no stage before it"),
        ("stages: {a: {do: run, suite: $b}}", "$b is no value and no stage before it"),
        ("stages: {a: {do: label, on: x, soft: true}}", "--soft needs all rollouts of every prefix"),
        ("stages: {a: {do: run, selectr: vote}}", "No option is called --selectr. Did you mean '--selector'?"),
        ("stages: {a: {do: run, critic: orn}}", "No critic is called 'orn'. Did you mean 'orm'?"),
        ("stages: {a: {do: run, name: a/b}}", "'a/b' cannot name a folder"),
        ("stages: {a: {do: run, suite: none.yaml}}", "none.yaml' does not exist"),
        ("stages: {a: {do: run}, b: {do: run, name: a}}", "its run record 'a' would replace that of stage 'a'"),
        (
            "stages: {a: {do: collect, task: $b}, b: {do: collect}}",
            "$b, which does not come before it; put 'b' further",
        ),
        ("stages: {a: {do: label, on: $a}}", "$a, which does not come before it"),
        ("stages: {gold: {do: collect}, b: {do: label, on: $god}}", "$god is no value and no stage before it. Did you"),
        ("stages: {a: {do: collect, task: a $ b}}", "'a $ b' has a $ that begins no name; write $$ for a dollar."),
        ("stages: {a: {do: run, tasks: 'apples,svamp'}, b: {do: label, on: $a}}", "leaves several run records"),
        (
            "stages: {a: {do: label, on: x}, b: {do: train local, on: $a, base: x}, c: {do: label, on: [$b]}}",
            "'c': `label` reads what `collect` makes, not $b, which `train local` makes.",
        ),
        ("stages: {a: {do: label, on: x}, b: {do: label, on: $a}}", "'b': `label` reads what `collect` makes, not $a"),
        (
            "stages: {a: {do: collect}, b: {do: train sorm, on: $a, base: x}}",
            "`train sorm` reads what `label` makes, not $a",
        ),
    ],
)
def test_what_is_no_recipe(text: str, message: str, tmp_path: Path) -> None:
    with pytest.raises(RefineEvalError) as caught:
        recipe(tmp_path, text)
    assert message in str(caught.value)
    assert "recipe.yaml" in str(caught.value)
    assert "\n" not in str(caught.value)


def test_what_cannot_be_asked_for(place: Path) -> None:
    for more, message in (
        (
            ("--set", "question=3"),
            "recipe.yaml has no value 'question' to set. Did you mean 'questions'? It has: seed,",
        ),
        (("--set", "questions"), "--set takes NAME=VALUE; 'questions' is not of that form."),
        (("--only", "label"), "recipe.yaml has no stage 'label'. Did you mean 'labels'?"),
        (("--work", "a,b"), "--work a,b has a comma"),
    ):
        assert message in error_line(*RUN, *more, cwd=place, expect=2)
    assert "There is no recipe file none.yaml." in error_line(
        "recipe", "run", "none.yaml", "--work", "w", cwd=place, expect=2
    )
    assert sorted(path.name for path in place.iterdir()) == ["recipe.yaml"]


def test_bundled_recipes_are_listed_and_found_by_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "one.yaml").write_text(RECIPE)
    monkeypatch.setattr(
        type(registry()), "recipes", lambda self: {name: tmp_path / f"{name}.yaml" for name in ("one", "two")}
    )
    (tmp_path / "two.yaml").touch()
    listed = refine_eval("recipe", "list", cwd=tmp_path).stdout.splitlines()
    assert listed[:2] == ["name  what it does", "one   A chain."]
    assert "two.yaml is not a recipe" in listed[2]
    assert "grid" in refine_eval("recipe", "run", "one", "--work", "w", "--dry-run", cwd=tmp_path).stdout
    assert "Did you mean 'one'?" in error_line("recipe", "run", "onne", "--work", "w", cwd=tmp_path, expect=2)
