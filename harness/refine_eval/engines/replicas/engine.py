"""An engine several times over, as Ray actors: here or on a cluster (`--workers`, `--ray-address`).

What is written does not depend on it: the identity, the options and so the store's keys are the wrapped engine's.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence

from refine_eval.data import ChatForm, Generation, Request
from refine_eval.engines.replicas.critic import ReplicatedCritic
from refine_eval.engines.replicas.pool import Pool
from refine_eval.engines.replicas.worker import Model
from refine_eval.models.loading import choose_device
from refine_eval.plugin.boundary import can_choose, for_model, only_messages, takes_messages
from refine_eval.plugin.components import Critic, Engine
from refine_eval.plugin.runtime import EngineRuntime


class ReplicatedEngine(Engine):
    """An engine as N Ray actors, which take turns at the requests as they get free.

    `workers` None: as many as the cluster has GPUs for; `address` None: a Ray of its own on this machine, unless
    this process has one already. `note` is called with one line for people when a replica is restarted.
    """

    def __init__(
        self,
        engine: Engine,
        *,
        workers: int | None = None,
        address: str | None = None,
        note: Callable[[str], None] = lambda text: None,
    ) -> None:
        super().__init__(engine.options)
        # In all that is stored and recorded it is the engine that it stands for.
        self.name = engine.name  # type: ignore[misc]
        self.Options = engine.Options  # type: ignore[misc]
        self.accepts_pretrained = engine.accepts_pretrained  # type: ignore[misc]
        self.option_name = engine.option_name
        self.takes_messages = takes_messages(engine)  # type: ignore[misc]
        self.can_choose = can_choose(engine)  # type: ignore[misc]
        self.engine = engine
        self._pool = Pool(engine, workers, address, note)
        self._model: str | None = None

    def for_model(self, model: str) -> Engine | None:
        """The same actors with another model, where the engine has one; opened in them when it is opened here."""
        engine = for_model(self.engine, model)
        if engine is None:
            return None
        other = ReplicatedEngine(engine)
        other._pool, other._model = self._pool, model
        return other

    def copies_of(self, critic: Critic, device: str) -> Critic:
        """Copies of a critic in the same actors; the critic itself where they cannot open it, or have not its GPU."""
        # An engine that does not compute has replicas without GPUs.
        without_gpus = not self.engine.gpus and choose_device(device) != "cpu"
        can = critic.replicable and not critic.needs_gold and not without_gpus
        return ReplicatedCritic(critic, self._pool) if can else critic

    @property
    def own_model(self) -> tuple[str, str | None] | None:
        """As the engine itself."""
        return self.engine.own_model

    @property
    def chat(self) -> ChatForm | None:
        """The engine's, of which keys are made and which the replicas get."""
        return self.engine.chat

    @chat.setter
    def chat(self, form: ChatForm | None) -> None:
        self.engine.chat = form

    @property
    def only_messages(self) -> bool:
        """As the engine itself."""
        return only_messages(self.engine)

    @property
    def label(self) -> str:
        """The engine's, and how many there are once that is known."""
        workers = self._pool.workers
        return f"{self.engine.label} × {workers} replicas" if workers else self.engine.label

    @property
    def gpus(self) -> int:
        """Of one replica."""
        return self.engine.gpus

    @property
    def preferred_batch_size(self) -> int:
        """Of one replica."""
        return self._pool.preferred_batch_size.get(self._named.key, 1)

    def cache_key_of(self, request: Request) -> str:
        """As the engine itself, which is open in the replicas alone."""
        return self.engine.cache_key_of(request)

    def open(self, runtime: EngineRuntime) -> None:
        """Starts the actors, which open the engine.

        ModelError where Ray or the cluster is missing or too small, and where all replicas die; what the engine
        itself raises is raised unchanged.
        """
        self._identity = self._pool.open(self._named, runtime)
        sayings = self._pool.sayings[self._named.key]
        self.advice, self.engine.template_hash, self.model_parameters, self.thinking = sayings

    def identity(self) -> str:
        """The engine's own, the same for all replicas."""
        return self._identity

    def generate(self, requests: Sequence[Request]) -> Iterator[tuple[int, Generation]]:
        """Yields (index, generation) as texts arrive from any replica.

        What the engine raises is raised unchanged. GenerationError where replica after replica dies of the same
        requests, and where the cluster is lost.
        """
        return self._pool.work(self._named, requests)

    def choose(self, requests: Sequence[Request]) -> Iterator[tuple[int, Generation]]:
        """As `generate`: the replicas tell by the requests."""
        return self._pool.work(self._named, requests)

    @property
    def _named(self) -> Model:
        return Model(name=self._model, option_name=self.option_name, chat=self.chat)

    def close(self) -> None:
        """Ends the actors, and Ray where it was started here; for another model's engine nothing, they are shared."""
        if self._model is None:
            self._pool.close()
