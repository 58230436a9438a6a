"""Critics by name, made with their options, and with the members of those that combine some."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from typing import Any

from refine_eval.errors import PluginError, UsageError
from refine_eval.plugin.boundary import blamed, called
from refine_eval.plugin.combining import CombiningCritic, with_members
from refine_eval.plugin.components import Critic
from refine_eval.plugin.options import made
from refine_eval.plugin.registry import Registry
from refine_eval.terminal import shown

Options = Mapping[tuple[str, str], Mapping[str, Any]]
"""Options by a component's kind and name, as settings have them."""


def make_critics(names: Iterable[str], options: Options, registry: Registry) -> dict[str, Critic]:
    """Critics by name, not open yet, with the members of those that combine some; each name is one object.

    UsageError or PluginError where one cannot be made, and for members that cannot be combined.
    """
    found: dict[str, Critic] = {}

    def one(name: str) -> Critic:
        if name not in found:
            found[name] = made(registry.named_component(Critic, name), options.get((Critic.kind, name), {}))
        return found[name]

    wanted = {name: one(name) for name in dict.fromkeys(names)}
    for critic in wanted.values():
        give_members(critic, one)
    return wanted


def give_members(critic: Critic, one: Callable[[str], Critic]) -> None:
    """Gives a combining critic its members, made by name with `one`; of others nothing is asked."""
    if isinstance(critic, CombiningCritic):
        critic.critics = tuple(map(one, _names(critic)))
        for member in critic.critics:
            if isinstance(member, CombiningCritic):
                raise UsageError(
                    f"Critic {critic.name!r} cannot have {member.name!r} as a member, which combines critics itself; "
                    f"name critics that judge."
                )
        critic.needs_gold = critic.needs_gold or any(member.needs_gold for member in critic.critics)


def _names(critic: CombiningCritic) -> Sequence[str]:
    with blamed(critic, "in members"):
        names = list(critic.members)
    if not all(isinstance(name, str) for name in names):
        raise PluginError(f"{called(critic)} must have names of critics as its members, not {shown(names)}.")
    if twice := next((name for name in names if names.count(name) > 1), None):
        raise UsageError(f"Critic {critic.name!r} has the member {twice!r} twice; name it once.")
    if not names or not all(names):
        raise UsageError(f"Critic {critic.name!r} has no members; name at least one critic.")
    return names


def names_with_members(names: Collection[str], options: Options, registry: Registry) -> list[str]:
    """Names of critics, known or not, and of the members of those among them that combine some.

    Errors of the latter are those of `make_critics`.
    """
    kinds = {found.name: found.item for found in registry.all(Critic.kind)}
    combining = [name for name in names if isinstance(k := kinds.get(name), type) and issubclass(k, CombiningCritic)]
    made_ones = with_members(make_critics(combining, options, registry).values())
    return list(dict.fromkeys((*names, *(critic.name for critic in made_ones))))
