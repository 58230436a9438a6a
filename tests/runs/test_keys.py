"""Everything that changes an output is in its key, and nothing else: a decision for every option that there is."""

import json
import shutil
import sys
from collections.abc import Callable, Mapping
from dataclasses import fields, replace
from pathlib import Path
from typing import Any, NamedTuple

import pytest
import tiny_models as tiny
from nameable_files import make_files
from stub_server import StubServer, error, models

import refine_eval_benchmarks
from refine_eval.models.sources import model_identity, resolve_model
from refine_eval.plugin.components import Component, Critic
from refine_eval.plugin.options import make_options
from refine_eval.plugin.registry import registry
from refine_eval.plugin.runtime import ComputeSettings
from refine_eval.results.critic_weights import CriticWeights, FittedMember, weights_to_json
from refine_eval.statistics.logistic import Logistic
from refine_eval.testing import ToyRuntime, toy_judged

TRAINED = ("orm", "sorm", "prm")
READERS = ("likelihood", "self-certainty")
ROLLOUTS = ("rollout", "oracle-rollout")

WEIGHTS = CriticWeights(
    command="",
    data="toy",
    details={},
    solutions=1,
    problems=1,
    members=(FittedMember(name="calculator", options={}, identity=""),),
    answers=Logistic(intercept=0.0, weights=(1.0,)),
    steps=None,
    seen=frozenset(),
)

IN_KEY = "in the key"
REQUESTED = "in the keys of the texts that it asks for"
REFUSED = "not taken"
BY_RECORD = "outputs are not stored; in the identity that the record shows"
WHERE = "says where or how fast, not what"
SAME_DRAWS = "samples without a seed are drawn from the same texts; a greedy one has none"

DECISIONS: Mapping[str, str] = {
    "engine transformers pretrained": IN_KEY,
    "engine transformers revision": IN_KEY,
    "engine transformers dtype": IN_KEY,
    "engine transformers device": WHERE,
    "engine transformers batch_size": WHERE,
    "engine transformers max_length": IN_KEY,
    "engine vllm pretrained": IN_KEY,
    "engine vllm revision": IN_KEY,
    "engine vllm dtype": IN_KEY,
    "engine vllm tensor_parallel_size": WHERE,
    "engine vllm gpu_memory_utilization": WHERE,
    "engine vllm max_model_len": IN_KEY,
    "engine vllm lora_local_path": IN_KEY,
    "engine vllm enable_lora": WHERE,
    "engine vllm rest": IN_KEY,
    "engine server base_url": IN_KEY,
    "engine server model": IN_KEY,
    "engine server identity": IN_KEY,
    "engine server num_concurrent": WHERE,
    "engine server max_retries": WHERE,
    "engine server timeout": WHERE,
    "engine server chat": REQUESTED,
    "engine server send_seed": SAME_DRAWS,
    "engine server api_key": REFUSED,
    "engine recorded path": IN_KEY,
    "engine recorded field": IN_KEY,
    "engine recorded samples": IN_KEY,
    "engine scripted path": IN_KEY,
    "engine lm-eval model": IN_KEY,
    "engine lm-eval pretrained": IN_KEY,
    "engine lm-eval revision": IN_KEY,
    "engine lm-eval rest": IN_KEY,
    **{f"critic ensemble {option}": BY_RECORD for option in ("of", "rule", "weights", "threshold")},
    "critic agreement samples": BY_RECORD,
    "critic agreement temperature": BY_RECORD,
    **{
        f"critic judge {option}": BY_RECORD
        for option in (
            *("model", "engine", "engine_args", "prompt", "form", "read", "chat", "system"),
            *("verdicts", "temperature", "max_tokens", "others", "threshold"),
        )
    },
    **{f"critic {name} {o}": BY_RECORD for name in ROLLOUTS for o in ("samples", "temperature", "search")},
    **{f"critic {name} {option}": IN_KEY for name in READERS for option in ("model", "threshold")},
    "critic likelihood measure": IN_KEY,
    **{f"critic {name} {option}": IN_KEY for name in TRAINED for option in ("model", "threshold", "engine")},
    **{f"critic {name} engine_args": IN_KEY for name in TRAINED},
    **{f"critic {name} prompts": IN_KEY for name in ("orm", "sorm")},
    **{f"critic prm {option}": IN_KEY for option in ("family", "aggregation", "reference")},
    **{
        f"refiner {name} {option}": REQUESTED
        for name in ("global", "local")
        for option in ("model", "temperature", "prompts")
    },
    **{f"refiner {name} samples": REQUESTED for name in ("global", "local", "resample")},
    "refiner resample temperature": REQUESTED,
    **{f"refiner {name} {option}": REQUESTED for name in ("continue", "wait") for option in ("samples", "temperature")},
    "refiner continue tries": REQUESTED,
    **{
        f"refiner {name} {option}": REQUESTED
        for name in ("merge", "rewrite")
        for option in ("samples", "temperature", "model", "prompt", "chat", "system")
    },
    "refiner rewrite feedback": REQUESTED,
    **{f"selector select-by-prompt {option}": BY_RECORD for option in ("model", "template", "chat", "system")},
    "selector gate threshold": BY_RECORD,
    "runtime seed": REQUESTED,
    "runtime device": WHERE,
    "runtime dtype": IN_KEY,
    "runtime batch_size": WHERE,
}
"""By kind, name and option. A new option stands here before it is used."""


class World(NamedTuple):
    """What options can name: models, adapters, files and a server."""

    root: Path
    url: str

    def path(self, name: str) -> str:
        return str(self.root / name)


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_files(tmp_path_factory.mktemp("keys"))


@pytest.fixture
def world(files: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    """Offline: revisions of the hub's model are folders here, and vLLM only says what it computes in."""

    def download(name: str, revision: str | None, **options: Any) -> str:
        folder = files / "snapshots" / (revision or "main")
        if not folder.exists():
            shutil.copytree(files / "student", folder)
        return str(folder)

    class Served:
        context, config, tokenizer = 96, tiny.llama_config(num_labels=2), tiny.tokenizer()

        def __init__(self, source: Any, arguments: Mapping[str, Any]) -> None:
            self.dtype = arguments["dtype"]

        def close(self) -> None:
            pass

    monkeypatch.setattr("huggingface_hub.snapshot_download", download)
    monkeypatch.setattr("refine_eval.models.vllm_llm.VllmLlm", Served)
    monkeypatch.setattr("refine_eval.critics.vllm_step_model.VllmLlm", Served)
    for module in ("models.vllm_llm", "critics.vllm_step_model"):
        monkeypatch.setattr(f"refine_eval.{module}.vllm_arguments", lambda rest, option: dict(rest))
    monkeypatch.setattr("refine_eval.models.vllm_llm.on_cpu", lambda: False)
    monkeypatch.setattr("refine_eval.engines.vllm_engine.VllmEngine._lora_request", lambda self, folder: folder)
    monkeypatch.setitem(sys.modules, "vllm", _Vllm())
    monkeypatch.setitem(sys.modules, "vllm.config", _Vllm())
    with StubServer(lambda body, number: error(500, "none")) as server:
        server.listed = models("student", "other")
        yield World(files, server.url)


class _Vllm:
    """As much of vLLM as is imported by name."""

    @staticmethod
    def PoolerConfig(**arguments: Any) -> object:
        return object()


def base_of(kind: str, name: str, world: World) -> dict[str, Any]:
    """Options with which a component can be opened."""
    return {
        "engine transformers": {"pretrained": world.path("student")},
        "engine vllm": {"pretrained": world.path("student"), "dtype": "float32"},
        "engine server": {"base_url": world.url, "model": "student"},
        "engine recorded": {"path": world.path("texts.jsonl"), "field": "draft", "samples": "one"},
        "engine scripted": {"path": world.path("texts.script.jsonl")},
        "engine lm-eval": {"pretrained": world.path("student")},
        "critic orm": {"model": world.path("critic")},
        "critic sorm": {"model": world.path("critic")},
        "critic prm": {"model": world.path("critic")},
        **{f"critic {reader}": {"model": world.path("student")} for reader in READERS},
    }.get(f"{kind} {name}", {})


BUNDLED_STUDENT = str(Path(refine_eval_benchmarks.__file__).parent / "models" / "student")
HUB = {"pretrained": "somebody/model"}
CHANGES: Mapping[str, Callable[[World], tuple[dict[str, Any], ...]]] = {
    "engine transformers pretrained": lambda world: ({"pretrained": world.path("other")},),
    "engine transformers revision": lambda world: (HUB, {**HUB, "revision": "abc"}),
    "engine transformers dtype": lambda world: ({"dtype": "bfloat16"},),
    "engine transformers device": lambda world: ({"device": "cpu"},),
    "engine transformers batch_size": lambda world: ({"batch_size": 3},),
    "engine transformers max_length": lambda world: ({"max_length": 50},),
    "engine vllm pretrained": lambda world: ({"pretrained": world.path("other")},),
    "engine vllm revision": lambda world: (HUB, {**HUB, "revision": "abc"}),
    "engine vllm dtype": lambda world: ({"dtype": "bfloat16"},),
    "engine vllm tensor_parallel_size": lambda world: ({"tensor_parallel_size": 2},),
    "engine vllm gpu_memory_utilization": lambda world: ({"gpu_memory_utilization": 0.5},),
    "engine vllm max_model_len": lambda world: ({"max_model_len": 50},),
    "engine vllm lora_local_path": lambda world: (
        {"lora_local_path": world.path("adapter")},
        {"lora_local_path": world.path("other-adapter")},
    ),
    "engine vllm enable_lora": lambda world: ({"enable_lora": True},),
    "engine vllm rest": lambda world: ({"quantization": "fp8"},),
    "engine server base_url": lambda world: ({"base_url": world.url.replace("127.0.0.1", "localhost")},),
    "engine server model": lambda world: ({"model": "other"},),
    "engine server identity": lambda world: ({"identity": "mine"},),
    "engine server num_concurrent": lambda world: ({"num_concurrent": 3},),
    "engine server max_retries": lambda world: ({"max_retries": 3},),
    "engine server timeout": lambda world: ({"timeout": 3},),
    "engine server send_seed": lambda world: ({"send_seed": False},),
    "engine recorded path": lambda world: ({"path": world.path("other-texts.jsonl")},),
    "engine recorded field": lambda world: ({"field": "two"},),
    "engine recorded samples": lambda world: ({"samples": "one+two"},),
    "engine scripted path": lambda world: ({"path": world.path("other-texts.script.jsonl")},),
    "engine lm-eval model": lambda world: ({"model": "hf-auto"},),
    "engine lm-eval pretrained": lambda world: ({"pretrained": world.path("other")},),
    "engine lm-eval revision": lambda world: ({"revision": "abc"},),
    "engine lm-eval rest": lambda world: ({"max_length": "50"},),
    **{f"critic {name} model": lambda world: ({"model": world.path("other-critic")},) for name in TRAINED},
    **{f"critic {name} threshold": lambda world: ({"threshold": 0.25},) for name in TRAINED},
    **{f"critic {name} engine": lambda world: ({"engine": "vllm"},) for name in TRAINED},
    **{
        f"critic {name} engine_args": lambda world: (
            {"engine": "vllm"},
            {"engine": "vllm", "engine_args": {"quantization": "fp8"}},
        )
        for name in TRAINED
    },
    **{f"critic {name} model": lambda world: ({"model": world.path("other")},) for name in READERS},
    **{f"critic {name} threshold": lambda world: ({"threshold": 0.25},) for name in READERS},
    "critic likelihood measure": lambda world: ({"measure": "entropy"},),
    **{
        f"critic {name} prompts": lambda world: tuple(
            {"model": world.path("chat-critic"), "prompts": said} for said in ("plain", "messages")
        )
        for name in ("orm", "sorm")
    },
    "critic prm family": lambda world: tuple(
        {"model": world.path("reward"), "family": family} for family in ("rlhflow-prm", "rlhflow-orm")
    ),
    "critic prm aggregation": lambda world: ({"aggregation": "mean"},),
    "critic prm reference": lambda world: tuple(
        {"model": world.path("reward"), "family": "implicit", "reference": world.path(name)}
        for name in ("reward", "other-reward")
    ),
}
"""Options changed one by one: what the component is opened with instead, or before and after."""

BUNDLED = [found for found in registry().all() if found.kind in ("engine", "critic", "refiner", "selector")]
ALL = [
    f"{found.kind} {found.name} {field.name}"
    for found in BUNDLED
    if isinstance(found.item, type) and issubclass(found.item, Component)
    for field in fields(found.item.Options)
]


def identity(kind: str, name: str, options: Mapping[str, Any], runtime: Any = tiny.CPU) -> str:
    component = registry().component(kind, name)
    made = component(make_options(component, dict(options)))
    made.open(runtime)
    try:
        return made.identity()
    finally:
        made.close()


def test_every_option_is_decided_upon() -> None:
    compute = [f"runtime {field.name}" for field in fields(ComputeSettings)]
    assert sorted(DECISIONS) == sorted([*ALL, *compute])
    keyed = [name for name in ALL if DECISIONS[name] not in (REQUESTED, REFUSED, BY_RECORD)]
    assert sorted(CHANGES) == sorted(keyed)


@pytest.mark.parametrize("option", CHANGES)
def test_options_are_in_the_key_or_not_as_decided(option: str, world: World) -> None:
    kind, name, _ = option.split()
    base = base_of(kind, name, world)
    *before, after = CHANGES[option](world)
    first = identity(kind, name, {**base, **(before[0] if before else {})})
    second = identity(kind, name, {**base, **after})
    assert (first != second) == (DECISIONS[option] == IN_KEY), (first, second)


def test_keys_of_default_settings_are_what_they_always_were(world: World) -> None:
    """Stores that were made long ago still serve."""
    student, critic = (model_identity(resolve_model(world.path(name))) for name in ("student", "critic"))
    usual = ("engine", "transformers"), ("critic", "orm")
    found = [identity(kind, name, base_of(kind, name, world)) for kind, name in usual]
    assert found == [f"transformers:{student}:float32", f"critic:orm:{critic}:float32:threshold=0.5"]
    assert identity("engine", "vllm", base_of("engine", "vllm", world)) == f"vllm:{student}:float32"
    assert identity("engine", "lm-eval", base_of("engine", "lm-eval", world)) == f"lm-eval:hf:{student}:float32:[]"
    bundled = identity("engine", "transformers", {"pretrained": BUNDLED_STUDENT})
    assert bundled == f"transformers:{model_identity(resolve_model(BUNDLED_STUDENT))}:float32"


@pytest.mark.parametrize("name", ["transformers", "vllm", "lm-eval"])
def test_a_model_that_was_moved_is_the_same(name: str, world: World) -> None:
    options = base_of("engine", name, world)
    assert identity("engine", name, options) == identity("engine", name, options | {"pretrained": world.path("moved")})


@pytest.mark.parametrize("name", ["transformers", "lm-eval", "orm"])
@pytest.mark.parametrize("setting", [field.name for field in fields(ComputeSettings)])
def test_compute_settings_are_in_the_key_or_not_as_decided(setting: str, name: str, world: World) -> None:
    kind = "critic" if name == "orm" else "engine"
    changed: dict[str, Any] = {"seed": 5, "device": "cpu", "dtype": "bfloat16", "batch_size": 3}
    options = base_of(kind, name, world)
    before = identity(kind, name, options, replace(tiny.CPU, device="auto"))
    after = identity(kind, name, options, replace(tiny.CPU, **{setting: changed[setting]}))
    assert (before != after) == (DECISIONS[f"runtime {setting}"] == IN_KEY)


@pytest.mark.parametrize("option", [name for name, decision in DECISIONS.items() if decision == BY_RECORD])
def test_components_whose_outputs_are_not_stored(option: str, tmp_path: Path) -> None:
    kind, name, field = option.split()
    component = registry().component(kind, name)
    assert kind == "selector" or (issubclass(component, Critic) and not component.stored)
    template = tmp_path / "template.j2"
    template.write_text("Which?")
    changes: dict[str, Any] = {"samples": 7, "temperature": 0.3, "threshold": 0.3, "search": "all", "model": "other"}
    changes |= {"prompt": "steps", "form": "score", "read": "text", "chat": "off", "max_tokens": 9, "others": 2}
    changes |= {"template": str(template), "verdicts": 3, "of": "calculator"}
    changes |= {"engine": "server", "system": "Be strict."}
    weights = [tmp_path / f"{count}.json" for count in (1, 2)]
    for count, path in enumerate(weights):
        path.write_text(json.dumps(weights_to_json(replace(WEIGHTS, solutions=count))))
    logistic = {"rule": "logistic", "weights": str(weights[0])}
    pairs: dict[str, tuple[dict[str, Any], dict[str, Any]]] = {
        "engine_args": ({"engine": "server"}, {"engine": "server", "engine_args": {"model": "x"}}),
        "rule": (logistic, {"rule": "min"}),
        "weights": (logistic, {**logistic, "weights": str(weights[1])}),
    }
    before, after = pairs.get(field) or ({}, {field: changes[field]})
    runtime = ToyRuntime(gold=component.needs_gold)
    assert identity(kind, name, before, runtime) != identity(kind, name, after, runtime)


class _Asked(ToyRuntime):
    """Remembers all that is asked of the engine."""

    def __init__(self) -> None:
        super().__init__()
        self.asked: list[Any] = []

    def generate(self, problems: Any, prompts: Any, **how: Any) -> Any:
        self.asked.append((tuple(prompts), sorted(how.items())))
        return super().generate(problems, prompts, **how)


@pytest.mark.parametrize("option", [n for n, d in DECISIONS.items() if d == REQUESTED and n.startswith("refiner")])
def test_options_of_refiners_are_in_what_they_ask_for(option: str, files: Path, tmp_path: Path) -> None:
    _, name, field = option.split()
    component = registry().component("refiner", name)
    base = {"temperature": 0.7}
    template = tmp_path / "prompt.j2"
    template.write_text("Again!")
    changes = {"samples": 2, "temperature": 0.3, "model": str(files / "student"), "tries": 2, "prompts": "messages"}
    changes |= {"chat": "on", "system": "Be strict."}
    changed = (changes | {"prompt": str(template), "feedback": "none"})[field]
    asked = []
    for options in (base, {**base, field: changed}):
        runtime = _Asked()
        refiner: Any = component(make_options(component, options))
        refiner.open(runtime)
        judged = [replace(each, round=2) for each in toy_judged(6)]
        refiner.refine([replace(each, group=(each.candidate, each.candidate)) for each in judged])
        asked.append(runtime.asked)
    assert asked[0]
    assert asked[0] != asked[1]
