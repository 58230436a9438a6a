"""Engines as Ray actors: the same texts as without, whoever writes them and whoever dies."""

import os
import signal
import sys
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import replica_engines
import tiny_models
from processes import assert_all_end
from replica_critics import AtHome, SlowCritic, SlowOptions
from replica_engines import Differing, Slow, requests
from tiny_models import CPU

from refine_eval.data import Candidate, Problem, Request, Sampling
from refine_eval.engines.replicas.cluster import start_here
from refine_eval.engines.replicas.engine import ReplicatedEngine
from refine_eval.engines.transformers_engine import TransformersEngine, TransformersOptions
from refine_eval.errors import GenerationError, ModelError, PluginError, UsageError
from refine_eval.formats import prompt_text
from refine_eval.plugin.components import Component, Critic, Engine
from refine_eval.plugin.registry import Registry
from refine_eval.plugin.runtime import ComputeSettings
from refine_eval.runs.pipeline import Pipeline, Strategy
from refine_eval.runs.requests import derive_seed
from refine_eval.runs.runtime import RunRuntime
from refine_eval.runs.store import Store
from refine_eval.terminal import Progress

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def ray() -> Iterator[Any]:
    """One Ray for all tests: it takes seconds to start."""
    ray = pytest.importorskip("ray")
    start_here()
    yield ray
    ray.shutdown()


class Asking(Component):
    """Who wants the texts."""

    kind, name = "refiner", "asking"


class Run:
    """A RunRuntime with a store, and the notes that people would read."""

    def __init__(self, folder: Path, engine: Engine, workers: int | None = 2) -> None:
        folder.mkdir(exist_ok=True)
        self.notes: list[str] = []
        self.store = Store(folder / "store.sqlite")
        student = ReplicatedEngine(engine, workers=workers, note=self.notes.append) if workers else engine
        self.runtime = RunRuntime(
            student=student,
            registry=Registry([]),
            store=self.store,
            tasks=None,  # type: ignore[arg-type]  # nothing is graded
            progress=Progress(quiet=True),
            device="cpu",
        )

    def write(self, wanted: list[Request], model: str | None = None) -> list[str]:
        return [generation.text for generation in self.runtime.generate(wanted, model, Asking())]

    def stored(self) -> int:
        return int(self.store._db.execute("SELECT count(*) FROM generations").fetchone()[0])

    def keys(self) -> set[bytes]:
        return {key for (key,) in self.store._db.execute("SELECT key FROM generations")}

    def __enter__(self) -> "Run":
        return self

    def __exit__(self, *_: object) -> None:
        self.runtime.close()
        self.store.close()


def slow(folder: Path, **changes: Any) -> Slow:
    return Slow(replica_engines.options(folder, **changes))


def written(folder: Path) -> dict[str, int]:
    """How often the text for each problem was written, by anybody."""
    return {p.name.split(".")[1]: len(p.read_text().splitlines()) for p in folder.glob("text.*")}


def pids(folder: Path) -> set[int]:
    return {int(path.name.split(".")[1]) for path in folder.glob("pid.*")}


def test_texts_and_keys_are_those_of_one_engine(ray: Any, tmp_path: Path) -> None:
    """The bundled student, greedy and sampled, in batches of three."""
    import refine_eval_benchmarks
    from refine_eval.formats import student_prompt
    from refine_eval_benchmarks.apples import generate

    student = Path(refine_eval_benchmarks.__file__).parent / "models" / "student"
    wanted = []
    for number, row in enumerate(generate("test", 7)):
        problem = Problem(
            id=f"apples/{number}", task="apples", question=row["question"], prompt=student_prompt(row["question"])
        )
        for temperature in (0.0, 0.8):
            sampling = Sampling(max_tokens=60, temperature=temperature, stop=("Question:",))
            seed = derive_seed(0, problem.id, "sample", 0)
            wanted.append(
                Request(
                    problem=problem, prompt=problem.prompt, sampling=sampling, purpose="sample", sample=0, seed=seed
                )
            )
    found = []
    for workers in (None, 2):
        engine = TransformersEngine(TransformersOptions(pretrained=str(student), device="cpu", batch_size=3))
        with Run(tmp_path / str(workers), engine, workers) as run:
            found.append((run.write(wanted), run.keys()))
    assert len(found[0][1]) == 14
    assert found[0] == found[1]


def test_each_text_is_written_once_and_both_replicas_write(ray: Any, tmp_path: Path) -> None:
    wanted = requests(40)
    with Run(tmp_path / "r", slow(tmp_path)) as run:
        assert run.write(wanted) == [f"{r.prompt} {r.seed} student" for r in wanted]
        assert run.runtime.student.label == "slow × 2 replicas"
        assert run.notes == []
        assert written(tmp_path) == {request.problem.id: 1 for request in wanted}
        by = "".join(path.read_text() for path in tmp_path.glob("text.*"))
        assert min(by.count(f"{pid}\n") for pid in pids(tmp_path)) >= 10
        # Another model is written by the same actors.
        assert run.write(wanted[:4], "refiner") == [f"{r.prompt} {r.seed} refiner" for r in wanted[:4]]
        assert run.stored() == 44
        assert run.runtime.student.for_model("none") is None
    assert len(pids(tmp_path)) == 2
    assert_all_end(pids(tmp_path))


def test_a_replica_killed_from_outside_loses_and_doubles_nothing(ray: Any, tmp_path: Path) -> None:
    wanted = requests(40)
    notes: list[str] = []
    engine = ReplicatedEngine(slow(tmp_path, wait=0.03), workers=2, note=notes.append)
    engine.open(CPU)
    found: list[int] = []
    victim = min(pids(tmp_path))
    for index, generation in engine.generate(wanted):
        assert generation.text.startswith(prompt_text(wanted[index].prompt))
        found.append(index)
        if len(found) == 6:
            os.kill(victim, signal.SIGKILL)
    assert sorted(found) == list(range(40))
    assert len(notes) == 1
    assert "of 2 is restarted: its process was killed or crashed" in notes[0]
    # The next texts find a whole pool again, once the new actor has started; on a busy machine that takes a while.
    deadline = time.monotonic() + 60
    while len(pids(tmp_path)) < 3 and time.monotonic() < deadline:
        assert len(list(engine.generate(wanted[:8]))) == 8
    engine.close()
    engine.close()
    assert len(pids(tmp_path)) == 3
    assert_all_end(pids(tmp_path))


def test_requests_that_kill_every_replica_end_the_run_and_keep_the_rest(ray: Any, tmp_path: Path) -> None:
    wanted = requests(24)
    with Run(tmp_path / "r", slow(tmp_path, problem="toy-13", what="dies")) as run:
        with pytest.raises(GenerationError, match=r"3 replicas .* problem toy-\d+ .* the same command goes on"):
            run.write(wanted)
        kept = run.stored()
        assert 12 <= kept < 24
    with Run(tmp_path / "r", slow(tmp_path), workers=None) as run:
        run.write(wanted)
        assert run.runtime.generated == 24 - kept


def test_what_the_engine_raises_is_raised_after_the_others_texts(ray: Any, tmp_path: Path) -> None:
    with Run(tmp_path / "r", slow(tmp_path, problem="toy-8", what="error")) as run:
        with pytest.raises(GenerationError, match=r"^Problem toy-8 is too hard\.$"):
            run.write(requests(16))
        assert run.stored() >= 1
        # Whoever was still writing is not heard again.
        assert run.write(requests(6)) == [f"{r.prompt} {r.seed} student" for r in requests(6)]
    bug = slow(tmp_path, problem="toy-8", what="bug")
    with (
        Run(tmp_path / "s", bug, workers=1) as run,
        pytest.raises(GenerationError, match=r"ZeroDivisionError: by nothing"),
    ):
        run.write(requests(16))


def test_an_engine_that_cannot_open_says_what_it_says_alone(ray: Any, tmp_path: Path) -> None:
    with Run(tmp_path / "r", slow(tmp_path, opening="error"), workers=1) as run:
        with pytest.raises(ModelError, match=r"^The model is not to be found; bring it\.$"):
            run.write(requests(4))
        assert run.notes == [], "it is not tried again"
    assert_all_end(pids(tmp_path))


def test_an_engine_that_dies_of_opening_is_given_up(ray: Any, tmp_path: Path) -> None:
    message = "No replica of the engine 'slow' could be started: its process was killed or crashed."
    run = Run(tmp_path / "r", slow(tmp_path, opening="dies"), workers=1)
    with run, pytest.raises(ModelError, match=message):
        run.write(requests(4))
    assert len(pids(tmp_path)) == 3


def test_replicas_with_different_models_are_refused(ray: Any, tmp_path: Path) -> None:
    run = Run(tmp_path / "r", Differing(replica_engines.options(tmp_path)))
    with run, pytest.raises(ModelError, match="replicas are not the same: differing"):
        run.write(requests(4))


def test_without_ray_it_says_how_to_get_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "ray", None)
    with pytest.raises(ModelError, match=r"pip install 'refine-eval\[ray\]'"):
        ReplicatedEngine(Slow(), workers=2).open(CPU)


def test_one_gpu_must_not_be_named(ray: Any) -> None:
    with pytest.raises(UsageError, match="pass cuda, not cuda:1"):
        ReplicatedEngine(Slow(), workers=2).open(ComputeSettings(device="cuda:1"))


def test_chunks_shrink_but_not_below_a_batch() -> None:
    pool = ReplicatedEngine(Slow(), workers=2)._pool
    pool._replicas = [None, None]  # type: ignore[list-item]

    def sizes(total: int, preferred_batch_size: int) -> list[int]:
        pool.preferred_batch_size["engine", None] = preferred_batch_size
        chunks = list(pool._chunks(pool_model(), total))
        assert [index for chunk in chunks for index in chunk.order] == list(range(total))
        return [len(chunk.order) for chunk in chunks]

    alone = sizes(100, 1)
    assert alone[0] == 25
    assert alone == sorted(alone, reverse=True)
    assert alone[-4:] == [1, 1, 1, 1]
    assert sizes(100, 40) == [40, 40, 20]
    assert sizes(100, 512) == [50, 50]


def pool_model() -> Any:
    from refine_eval.engines.replicas.worker import Model

    return Model(name=None, option_name="")


def test_a_note_is_a_line_and_quiet_is_quiet(capsys: pytest.CaptureFixture[str]) -> None:
    Progress().note("replica 1 [of 2] is restarted")
    Progress(quiet=True).note("nothing")
    assert capsys.readouterr().err == "replica 1 [of 2] is restarted\n"


def judging(run: Run, critic: Critic) -> Pipeline:
    return Pipeline(Strategy(when=critic, where=critic, choose=critic, refiners=(), selectors=()), run.runtime)


def slow_critic(folder: Path, **changes: Any) -> SlowCritic:
    return SlowCritic(SlowOptions(folder=str(folder), **changes))


def solutions(count: int, question: str = "how many?") -> list[Candidate]:
    return [
        tiny_models.candidate(question, f"{number}+1={number + 1}\n#### {number}", number) for number in range(count)
    ]


def left(folder: Path, what: str) -> list[list[str]]:
    """The process and the problem of everything that critics did, in order."""
    return [line.split() for line in (folder / what).read_text().splitlines()] if (folder / what).exists() else []


def test_a_critics_scores_and_keys_are_those_of_one_copy(ray: Any, tmp_path: Path) -> None:
    """The bundled ORM, which stands open beside nothing: the student writes nothing here."""
    from refine_eval_benchmarks.apples import generate
    from refine_eval_orm.critic import OrmCritic

    wanted = [
        replace(candidate, id=str(sample))
        for number, row in enumerate(generate("test", 5))
        for sample in range(4)
        for candidate in [tiny_models.candidate(row["question"], f"{sample}+1={sample + 1}\n#### {sample}", number)]
    ]
    found = []
    for workers in (None, 2):
        with Run(tmp_path / str(workers), slow(tmp_path), workers) as run:
            pipeline = judging(run, critic := OrmCritic())
            critiques = pipeline.judge(critic, wanted)
            stored = run.store._db.execute("SELECT key FROM critiques ORDER BY key").fetchall()
            found.append((critiques, pipeline.identities, run.runtime.usage.by_model(), stored))
            pipeline.close()
    (alone, *told), (replicated, *told_again) = found
    assert told == told_again, "identities, models and keys"
    assert len(told[-1]) == 20
    for one, other in zip(alone, replicated, strict=True):
        assert other.step_scores == pytest.approx(one.step_scores, abs=1e-6)
        assert replace(other, score=one.score, step_scores=one.step_scores) == one


def test_two_copies_score_and_a_killed_one_loses_nothing(ray: Any, tmp_path: Path) -> None:
    wanted = solutions(200)
    with Run(tmp_path / "r", slow(tmp_path)) as run:
        critic = slow_critic(tmp_path)
        copies = run.runtime.student.copies_of(critic, "cpu")  # type: ignore[attr-defined]
        copies.open(CPU)
        parts = []
        for batch, critiques, _ in copies.bundles(wanted):
            parts += list(zip(batch, critiques, strict=True))
            if len(parts) == len(batch):
                victim = int(left(tmp_path, "opened")[0][0])
                os.kill(victim, signal.SIGKILL)
        assert sorted(candidate.problem.id for candidate, _ in parts) == sorted(c.problem.id for c in wanted)
        assert all(critique.score == 1 / (1 + len(candidate.solution.text)) for candidate, critique in parts)
        assert len(run.notes) == 1
        assert "of 2 is restarted: its process was killed or crashed" in run.notes[0]
        scored = [(process, problem) for process, problem in left(tmp_path, "scored")]
        again = len(scored) - len(wanted)
        assert 0 <= again <= 64, "no more than what the dead one had at hand"
        assert len({process for process, _ in scored}) >= 2
        copies.close()
        assert_all_end({int(process) for process, *_ in left(tmp_path, "opened")})
        copies.open(CPU)
        found = copies.critique(wanted[:3])
        copies.close()
    assert_all_end({int(process) for process, *_ in left(tmp_path, "opened")})
    assert found == slow_critic(tmp_path).critique(wanted[:3])


def test_a_solution_that_kills_every_copy_ends_the_run_and_keeps_the_rest(ray: Any, tmp_path: Path) -> None:
    wanted = solutions(60)
    with Run(tmp_path / "r", slow(tmp_path)) as run:
        pipeline = judging(run, critic := slow_critic(tmp_path, problem="toy/50", what="dies"))
        with pytest.raises(GenerationError, match=r"3 replicas in a row died .* problem toy/\d+ .* the same command"):
            pipeline.judge(critic, wanted)
        pipeline.close()
    before = len(left(tmp_path, "scored"))
    with Run(tmp_path / "r", slow(tmp_path), workers=None) as run:
        kept = run.store._db.execute("SELECT count(*) FROM critiques").fetchone()[0]
        assert 30 <= kept < 60
        critic = slow_critic(tmp_path)
        assert len(judging(run, critic).judge(critic, wanted)) == 60
    assert len(left(tmp_path, "scored")) - before == 60 - kept, "what was stored is not scored again"


def test_what_a_copy_says_is_what_the_critic_says_alone(ray: Any, tmp_path: Path) -> None:
    for changes, error, sentence in (
        ({"opening": "error"}, ModelError, r"^The critic's model is not to be found; bring it\.$"),
        ({"problem": "toy/1", "what": "bug"}, PluginError, r"^Critic 'slow-critic' failed on a batch .*by nothing"),
    ):
        with Run(tmp_path / "r", slow(tmp_path), workers=1) as run, pytest.raises(error, match=sentence):
            judging(run, critic := slow_critic(tmp_path, **changes)).judge(critic, solutions(4))


def test_a_critic_that_asks_for_texts_stays_with_the_driver(tmp_path: Path) -> None:
    replicated = ReplicatedEngine(slow(tmp_path), workers=2)
    asking = AtHome(SlowOptions(folder=str(tmp_path)))
    assert replicated.copies_of(asking, "cpu") is asking
    seeing = slow_critic(tmp_path)
    seeing.needs_gold = True
    assert replicated.copies_of(seeing, "cpu") is seeing
    assert replicated.copies_of(critic := slow_critic(tmp_path), "cpu") is not critic
    assert replicated.copies_of(critic, "cuda") is critic, "replicas of an engine that does not compute have no GPUs"
