"""The base class of critics that judge by what other critics say."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from refine_eval.data import Candidate, Critique
from refine_eval.plugin.boundary import identity_of
from refine_eval.plugin.components import Critic


class CombiningCritic(Critic):
    """Base of critics that judge by what other critics, their members, say.

    Its author writes `members` and `combine`. A run makes the members with the user's own options for them and has each
    score a text as any critic does: with a stage, keys in the store, a cost and unscored texts of its own. What is
    combined is not stored. It sees gold answers where a member does. No member may be a combining critic.
    """

    stored = False

    def __init__(self, options: Any = None) -> None:
        super().__init__(options)
        self.critics: tuple[Critic, ...] = ()
        """The members, which a run has made."""
        self.identities: dict[str, str] = {}
        """By a member's name what its scores depend on, once it has scored; no path of this machine is in it."""

    @property
    def members(self) -> tuple[str, ...]:
        """The names of the critics that it combines, which its options say."""
        raise NotImplementedError

    def combine(self, batch: Sequence[Candidate], critiques: Mapping[str, Sequence[Critique]]) -> list[Critique]:
        """One critique per candidate, in order; `critiques` has by each member's name one per candidate, too."""
        raise NotImplementedError

    def critique(self, batch: Sequence[Candidate]) -> list[Critique]:
        """Has one member after the other judge, and combines that: for tests. Runs ask the members themselves."""
        found = {}
        for critic in self.critics:
            critic.open(self.runtime)
            try:
                found[critic.name] = critic.critique(batch)
                self.identities[critic.name] = identity_of(critic)
            finally:
                critic.close()
        return self.combine(batch, found)

    def identity(self) -> str:
        """What the combined scores depend on: options, code, and the members' identities."""
        return f"{super().identity()} of {sorted(self.identities.items())}"


def with_members(critics: Iterable[Critic]) -> list[Critic]:
    """Critics, each once, those that combine others after their members."""
    found: dict[int, Critic] = {}  # by id: a plugin's class may say that its objects are equal
    for critic in critics:
        for each in (*(critic.critics if isinstance(critic, CombiningCritic) else ()), critic):
            found[id(each)] = each
    return list(found.values())
