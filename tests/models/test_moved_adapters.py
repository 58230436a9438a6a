"""Adapters in folders that were moved or copied: their bases are found again, and are the ones they were trained on."""

import json
import os
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest
import tiny_models as tiny
import yaml
from in_process import refine_eval
from stage_folders import SAMPLES, collected

from refine_eval.errors import ModelError
from refine_eval.models.sources import ADAPTER, base_for, model_identity, resolve_adapter, resolve_model


def train(cwd: Path, base: str, out: str) -> None:
    command = ("train", "sft", str(cwd / "samples"), "--base", base, "--lora-rank", "2", "--steps", "1", "-q")
    refine_eval(*command, "--batch-size", "2", "--held-out", "0", "--out", out, cwd=cwd)


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """PLACE/work with an adapter on an adapter on a model, each named by an absolute path."""
    place = tmp_path_factory.mktemp("made")
    tiny.language_model(place / "work" / "base")
    collected(place / "samples", SAMPLES)
    for base, out in (("base", "first"), ("first", "second")):
        train(place, str(place / "work" / base), str(place / "work" / out))
    return place


@pytest.fixture
def copy(made: Path, tmp_path: Path) -> Iterator[Path]:
    """A copy of the work folder, while the first is hidden."""
    shutil.copytree(made / "work", tmp_path / "copy")
    (made / "work").rename(made / "hidden")
    yield tmp_path / "copy"
    (made / "hidden").rename(made / "work")


def identity(folder: Path) -> str:
    return model_identity(resolve_model(str(folder)))


def name_base(adapter: Path, base: str) -> None:
    config = json.loads((adapter / ADAPTER).read_text())
    (adapter / ADAPTER).write_text(json.dumps(config | {"base_model_name_or_path": base}))


def test_a_work_folder_that_was_moved_holds_the_same_models(made: Path, copy: Path) -> None:
    (made / "hidden").rename(made / "work")
    before = identity(made / "work" / "second")
    (made / "work").rename(made / "hidden")
    source = resolve_model(str(copy / "second"))
    assert model_identity(source) == before
    assert source.base is not None
    assert source.base.base is not None
    assert [Path(one.name) for one in (source.base, source.base.base)] == [copy / "first", copy / "base"]


def test_what_a_training_writes_names_no_place_on_this_machine(made: Path) -> None:
    for folder in ("first", "second"):
        written = [file for file in (made / "work" / folder).iterdir() if file.suffix != ".safetensors"]
        assert [file.name for file in written if str(made) in file.read_text()] == []
    assert json.loads((made / "work" / "second" / ADAPTER).read_text())["base_model_name_or_path"] == "../first"


def test_the_same_training_elsewhere_is_the_same_model(made: Path, tmp_path: Path) -> None:
    """What the adapters are trained on and stands beside them may be anywhere."""
    tiny.language_model(tmp_path / "base")
    collected(tmp_path / "samples", SAMPLES)
    train(tmp_path, "base", "first")
    assert identity(tmp_path / "first") == identity(made / "work" / "first")


def test_adapters_from_before_bases_were_relative_are_found_too(made: Path, copy: Path) -> None:
    name_base(copy / "second", str(made / "work" / "first"))
    (copy / "first").rename(copy / "another name")
    source = resolve_model(str(copy / "second"))
    assert source.base is not None
    assert Path(source.base.name) == copy / "another name"


def test_of_two_that_are_called_alike_the_right_one_is_taken(
    copy: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """`../base` as seen from the current folder is another model."""
    (tmp_path / "elsewhere").mkdir()
    tiny.language_model(tmp_path / "base", rope_theta=5.0)
    monkeypatch.chdir(tmp_path / "elsewhere")
    source = resolve_model(str(copy / "first"))
    assert source.base is not None
    assert Path(source.base.name) == copy / "base"


def test_a_base_that_is_another_one_now_is_refused(copy: Path) -> None:
    tiny.language_model(copy / "base", rope_theta=5.0)
    with pytest.raises(ModelError, match=r"base is not the base on which the LoRA adapter .*first was trained"):
        resolve_model(str(copy / "first"))
    with pytest.raises(
        ModelError, match=r"The base \.\./first of the LoRA adapter .*second is not available.*first was"
    ):
        resolve_model(str(copy / "second"))
    info = yaml.safe_load((copy / "first" / "stage.yaml").read_text())
    del info["settings"]["base_identity"]
    (copy / "first" / "stage.yaml").write_text(yaml.safe_dump(info))
    assert resolve_model(str(copy / "first")).base is not None, "who means it may have it"


def test_bases_that_are_gone_are_said(copy: Path) -> None:
    shutil.rmtree(copy / "base")
    with pytest.raises(ModelError, match=r"The base \.\./base of .*first is not available; put it there"):
        resolve_model(str(copy / "first"))


def test_a_folder_that_is_reached_by_a_link(copy: Path, tmp_path: Path) -> None:
    before = identity(copy / "first")
    (tmp_path / "link").symlink_to(copy / "first")
    assert identity(tmp_path / "link") == before
    (tmp_path / "disk").mkdir()
    (copy / "first").rename(tmp_path / "disk" / "first")
    (copy / "first").symlink_to(tmp_path / "disk" / "first")
    assert identity(copy / "first") == before


def test_an_adapter_on_an_adapter_is_refused_where_none_are_merged_wherever_it_lies(copy: Path, tmp_path: Path) -> None:
    message = r"second is the adapter .*first, and only the engine transformers"
    with pytest.raises(ModelError, match=message):
        resolve_adapter(str(copy / "second"))
    (copy / "second").rename(tmp_path / "second")
    with pytest.raises(ModelError, match=message):
        resolve_adapter(str(tmp_path / "second"))


def test_a_record_that_cannot_be_read_is_none(copy: Path) -> None:
    for text in ("{", "- 1", "settings: {base_identity: 7}", "settings: {base_identity: some/model@abc}", "[" * 5000):
        (copy / "first" / "stage.yaml").write_text(text)
        source = resolve_model(str(copy / "first"))
        assert source.base is not None
        assert Path(source.base.name) == copy / "base"


def test_how_a_base_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for folder in ("work/base", "models/other", "here"):
        (tmp_path / folder).mkdir(parents=True)
    monkeypatch.chdir(tmp_path / "here")
    out = tmp_path / "work" / "out"
    assert base_for(out, str(tmp_path / "work" / "base")) == "../base"
    assert base_for(out, os.path.join("..", "models", "other")) == "../../models/other"
    assert base_for(Path("..", "work", "out"), "../work/base") == "../base"
    for as_it_is in (str(tmp_path / "models" / "other"), "some/model", "~/nowhere"):
        assert base_for(out, as_it_is) == as_it_is


def test_peft_loads_an_adapter_from_within_its_folder(copy: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import peft
    from transformers import AutoModelForCausalLM

    monkeypatch.chdir(copy / "first")
    model = peft.AutoPeftModelForCausalLM.from_pretrained(".")
    assert model.peft_config["default"].base_model_name_or_path == "../base"
    base = AutoModelForCausalLM.from_pretrained(copy / "base")
    assert peft.PeftModel.from_pretrained(base, copy / "first").peft_config["default"].r == 2
