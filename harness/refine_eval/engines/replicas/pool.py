"""The Ray actors of a replicated engine: who does which work, and what becomes of that of a dead replica.

Placing the actors, starting their processes and carrying the texts is Ray's work.
"""

from __future__ import annotations

import contextlib
import os
import time
from collections import deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from refine_eval.engines.replicas.cluster import answers, fair_cpus, join, places, start_here
from refine_eval.engines.replicas.worker import Key, Model, Sayings, Setup, Work, Worker
from refine_eval.errors import GenerationError, ModelError, RefineEvalError, UsageError, missing_extra
from refine_eval.plugin.boundary import fault
from refine_eval.plugin.components import Engine
from refine_eval.plugin.contract import read_count
from refine_eval.plugin.runtime import ComputeSettings, EngineRuntime

_DEATHS = 3
"""So many replicas in a row may die of one piece of work."""
_MOST_REQUESTS = 2048
"""The largest chunk: some MB of prompts, which Ray keeps in shared memory."""
_MOST_BUNDLES = 32
"""The same for bundles of candidates."""
_LOOK_EVERY_S = 4.0
"""How often to see whether the cluster's head answers: when it has been gone for a minute, Ray ends this process on the
spot."""
_PATIENCE_S = 30.0
"""After so long the work begins with the replicas that are ready; the others join when they are."""
_GO_ON = "what was written is stored, and the same command goes on from there."


@dataclass(eq=False, kw_only=True)
class _Replica:
    """`opening` is Ray's promise of the answer to `open`; None once the replica is ready."""

    number: int
    actor: Any
    opening: Any
    deaths: int = 0


@dataclass(eq=False, kw_only=True)
class _Chunk:
    """Work, by index, for one replica; `deaths` counts those in a row that left not one piece of it done."""

    order: list[int]
    deaths: int = 0
    progress: bool = field(default=False, init=False)


class Pool:
    """N actors with the same engine. `workers` None: one for each of the cluster's GPUs, or set of GPUs."""

    def __init__(self, engine: Engine, workers: int | None, address: str | None, note: Callable[[str], None]) -> None:
        self.workers = workers
        self.preferred_batch_size: dict[Key, int] = {}
        self.sayings: dict[Key, Sayings] = {}
        self._engine, self._address, self._note = engine, address, note
        self._identities: dict[Key, str] = {}
        self._replicas: list[_Replica] = []
        self._setup: Setup | None = None
        self._resources: dict[str, float] = {}
        self._ray: Any = None
        self._ours = False
        self._head: tuple[str, int] | None = None
        self._looked, self._misses = 0.0, 0  # when the head was last asked; without an answer

    def open(self, model: Model, runtime: EngineRuntime) -> str:
        """The identity of this model's engine or critic, opened in all replicas, or in those there after a while."""
        try:
            if self._setup is None:
                self._setup = self._plan(runtime)
            for replica in self._replicas:
                if replica.opening is None:
                    replica.opening = replica.actor.open.remote(model)
            self._fill(model)
            until = time.monotonic() + _PATIENCE_S
            while waiting := sum(replica.opening is not None for replica in self._replicas):
                self._wait([], model)
                if time.monotonic() > until:
                    until += _PATIENCE_S
                    self._note(f"{self.workers - waiting} of {self.workers} replicas are ready.")  # type: ignore[operator]
                    if waiting < len(self._replicas):
                        break
        except BaseException:
            self.close()
            raise
        return self._identities[model.key]

    def work(self, model: Model, items: Sequence[Work]) -> Iterator[tuple[int, Any]]:
        """Yields (index, outcome) as they arrive: a generation, or a bundle's critiques and the seconds of each.

        See ReplicatedEngine.generate for what it raises.
        """
        from ray.exceptions import RayError, RayTaskError

        self._fill(model)
        missing = dict.fromkeys(range(len(items)))
        chunks = deque(self._chunks(model, len(items)))
        working: dict[Any, tuple[_Replica, _Chunk]] = {}  # by Ray's stream of the chunk's outcomes
        failure: BaseException | None = None
        try:
            while chunks or working:
                for replica in self._idle(working)[: len(chunks)]:
                    chunk = chunks.popleft()
                    stream = replica.actor.work.options(num_returns="streaming").remote(
                        model, [items[index] for index in chunk.order]
                    )
                    working[stream] = replica, chunk
                try:
                    streams = self._wait(working, model)
                except RefineEvalError as error:
                    streams, failure = [], error
                for stream in streams:
                    replica, chunk = working.pop(stream)
                    try:
                        position, outcome = self._ray.get(next(stream))
                    except StopIteration:
                        continue
                    except RayTaskError as error:
                        failure = _cause(error)
                    except RayError as error:
                        rest = [index for index in chunk.order if index in missing]
                        deaths = 1 if chunk.progress else chunk.deaths + 1
                        if rest:
                            chunks.appendleft(_Chunk(order=rest, deaths=deaths))
                        if deaths < _DEATHS or not rest:
                            try:
                                self._replace(replica, model, _reason(error))
                            except RefineEvalError as lost:
                                failure = lost
                        else:
                            self._end(replica)
                            failure = GenerationError(
                                f"{deaths} replicas in a row died of the texts that begin with the one for problem "
                                f"{items[rest[0]].problem.id} ({_reason(error)}); {_GO_ON}"
                            )
                    else:
                        working[stream] = replica, chunk  # now the last, so that all get their turn
                        chunk.progress = True
                        index = chunk.order[position]
                        if index in missing:
                            del missing[index]
                            yield index, outcome
                if failure is not None:
                    for index, outcome in self._arrived(working):
                        if index in missing:
                            del missing[index]
                            yield index, outcome
                    raise failure
        finally:
            # Ray cannot take a running call back; a replica that still writes what nobody wants is given up.
            for replica, _ in working.values():
                self._end(replica)

    def release(self, model: Model) -> None:
        """Has the replicas free what `open` loaded; those that were started for critics alone end."""
        if all(kind == "critic" for kind, _ in self._identities):
            self.close()
        for replica in self._replicas:
            replica.actor.close.remote(model)

    def close(self) -> None:
        """Ends all actors, and Ray where it was started here. May be called twice."""
        while self._replicas:
            self._end(self._replicas[-1])
        if self._ray is not None and self._ours:
            self._ray.shutdown()
        self._ray = self._setup = None
        self._ours = False

    def _chunks(self, model: Model, total: int) -> Iterator[_Chunk]:
        """Guided self-scheduling: ever smaller chunks, so that all replicas end together.

        Not smaller than the engine likes to have at once, as long as there is so much for every replica. In order,
        so that equal prompts and beginnings stay with one replica.
        """
        workers = max(1, len(self._replicas))
        least = min(self.preferred_batch_size.get(model.key, 1), -(-total // workers))
        most = _MOST_BUNDLES if model.critic else _MOST_REQUESTS
        begin = 0
        while begin < total:
            size = min(most, max(-(-(total - begin) // (2 * workers)), least), total - begin)
            yield _Chunk(order=list(range(begin, begin + size)))
            begin += size

    def _idle(self, working: Mapping[Any, tuple[_Replica, _Chunk]]) -> list[_Replica]:
        busy = {replica.number for replica, _ in working.values()}
        return [r for r in self._replicas if r.opening is None and r.number not in busy]

    def _opening(self) -> list[_Replica]:
        return [replica for replica in self._replicas if replica.opening is not None]

    def _wait(self, streams: Mapping[Any, Any] | Sequence[Any], model: Model) -> list[Any]:
        """Streams in which something has arrived: at most one, none after a while; admits replicas that opened."""
        opening = {replica.opening: replica for replica in self._opening()}
        ready, _ = self._ray.wait([*streams, *opening], num_returns=1, timeout=_LOOK_EVERY_S)
        self._look_at_head()
        for found in ready:
            if found in opening:
                self._admit(opening[found], model)
        return [found for found in ready if found not in opening]

    def _arrived(self, working: Mapping[Any, tuple[_Replica, _Chunk]]) -> Iterator[tuple[int, Any]]:
        """What has been done elsewhere by the time that something fails."""
        for stream, (_, chunk) in working.items():
            with contextlib.suppress(StopIteration, self._ray.exceptions.RayError):
                while self._ray.wait([stream], timeout=0)[0]:
                    position, outcome = self._ray.get(next(stream))
                    yield chunk.order[position], outcome

    def _admit(self, replica: _Replica, model: Model) -> None:
        """Takes the answer to `open`: the replica is ready, dead, or cannot open what was asked for."""
        from ray.exceptions import RayError, RayTaskError

        name = f"critic {model.critic[0].name!r}" if model.critic else f"engine {self._engine.name!r}"
        try:
            identity, preferred_batch_size, sayings = self._ray.get(replica.opening)
        except RayTaskError as error:
            cause = _cause(error)
            if isinstance(cause, RefineEvalError):
                raise cause from None
            raise ModelError(f"A replica of the {name} could not be opened: {fault(cause)}.") from error
        except RayError as error:
            reason = _reason(error)
            if replica.deaths + 1 >= _DEATHS or getattr(error, "_actor_init_failed", False):
                self._end(replica)
                if not self._replicas:
                    raise ModelError(f"No replica of the {name} could be started: {reason}.") from error
                self._note(f"replica {replica.number} of {self.workers} is given up: {reason}.")
            else:
                self._replace(replica, model, reason, replica.deaths + 1)
            return
        if self._identities.setdefault(model.key, identity) != identity:
            raise ModelError(
                f"The replicas are not the same: {self._identities[model.key]} and {identity}; pass --dtype, and use "
                f"machines with the same model files."
            )
        self.preferred_batch_size[model.key], self.sayings[model.key] = preferred_batch_size, sayings
        replica.opening, replica.deaths = None, 0

    def _fill(self, model: Model) -> None:
        """Starts the replicas that are not there: all at first, later those that were given up."""
        there = {replica.number for replica in self._replicas}
        for number in range(1, (self.workers or 0) + 1):
            if number not in there:
                self._start(number, model)

    def _start(self, number: int, model: Model, deaths: int = 0) -> None:
        # Not Ray's own restarts: what was handed to the dead must be known before a new one gets anything.
        actor = self._ray.remote(Worker).options(**self._resources, max_restarts=0).remote(self._setup)
        self._replicas.append(_Replica(number=number, actor=actor, opening=actor.open.remote(model), deaths=deaths))

    def _replace(self, replica: _Replica, model: Model, reason: str, deaths: int = 0) -> None:
        self._assert_head()
        self._note(f"replica {replica.number} of {self.workers} is restarted: {reason}.")
        self._end(replica)
        self._start(replica.number, model, deaths)

    def _end(self, replica: _Replica) -> None:
        self._replicas.remove(replica)
        if self._misses == 0:  # with its head gone, Ray would wait for it
            with contextlib.suppress(Exception):  # already dead
                self._ray.kill(replica.actor)

    def _look_at_head(self) -> None:
        now = time.monotonic()
        if now - self._looked >= _LOOK_EVERY_S and self._head is not None:
            self._looked = now
            if not answers(*self._head):
                self._assert_head()

    def _assert_head(self) -> None:
        """GenerationError where the head is gone: to ask it for a new actor would block until Ray ends the process."""
        assert self._head is not None
        for self._misses in range(3):
            if answers(*self._head):
                self._misses = 0
                return
            time.sleep(1)
        raise GenerationError(f"The Ray cluster at {self._head[0]}:{self._head[1]} does not answer; {_GO_ON}")

    def _plan(self, runtime: EngineRuntime) -> Setup:
        """Connects to Ray, and decides how many replicas there are and what each may take of the cluster."""
        for device in (runtime.device, getattr(self._engine.options, "device", "")):
            if ":" in device:
                raise UsageError(f"Ray gives each replica a GPU of its own: with --workers pass cuda, not {device}.")
        self._connect()
        nodes = [node["Resources"] for node in self._ray.nodes() if node["Alive"]]
        there = sum(int(node.get("GPU", 0)) for node in nodes)
        on_gpus = there and runtime.device in ("auto", "cuda")
        gpus = read_count(self._engine, "gpus", lambda: self._engine.gpus) if on_gpus else 0
        room = places(nodes, gpus=gpus)
        if self.workers is None:
            if not gpus:
                raise UsageError("How many replicas the cluster should run cannot be told from GPUs; pass --workers N.")
            self.workers = max(1, room)
        if gpus and room < self.workers:
            raise ModelError(
                f"{self.workers} replicas need {gpus} GPUs each and the cluster has room for {room}; pass "
                f"--workers {room}."
                if room
                else f"A replica needs {gpus} GPUs on one machine, and no machine of the cluster has so many."
            )
        self._resources = {"num_gpus": gpus, "num_cpus": fair_cpus(nodes, self.workers, gpus)}
        return Setup(
            kind=type(self._engine),
            options=self._engine.options,
            folder=os.getcwd(),
            compute=ComputeSettings(
                seed=runtime.seed, device=runtime.device, dtype=runtime.dtype, batch_size=runtime.batch_size
            ),
        )

    def _connect(self) -> None:
        try:
            import ray
        except ImportError as error:
            raise ModelError(missing_extra("ray", "ray")) from error
        self._ray = ray
        if not ray.is_initialized():
            if self._address in (None, "local"):
                start_here()
            else:
                join(self._address)
            self._ours = True
        host, _, port = ray.get_runtime_context().gcs_address.rpartition(":")
        self._head, self._misses = (host, int(port)), 0


def _cause(error: Any) -> BaseException:
    """What the engine raised in the actor."""
    cause = error.cause
    return cause if isinstance(cause, Exception) else GenerationError(str(error).strip().splitlines()[-1])


def _reason(error: Exception) -> str:
    """Why a replica died, from Ray's paragraphs, in a few words."""
    text = str(error).strip()
    if getattr(error, "_actor_init_failed", False):
        return text.splitlines()[-1]
    if "low on memory" in text:
        return "its machine ran out of memory"
    if "node has died" in text or "node was terminated" in text:
        return "its machine was lost"
    return "its process was killed or crashed"
