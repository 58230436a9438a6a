"""Labels by rollout: is the right answer still reachable from this prefix? (GLoRe, section 3; Havrilla et al., 2024).

A prefix of length i is the first i steps of a sample. It is good if one of K continuations by the student verifies
it: ends right and, under rule 2, uses the results that the prefix computed. `naive_labels` asks for K continuations
of every prefix of every sample. `rollout_labels` is cheaper: what a right sample verifies itself needs no rollout, a
prefix is settled by its first success, and under rule 1 the good prefixes of a sample are those up to some length,
which bisection finds. Its labels differ from the plain way's where K rollouts happen not to find what there is: where a
longer prefix is verified and a shorter one is not, and where a right sample is the only verification.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

from refine_eval.stages.rules import first_unused, results_used

Continue = Callable[[Sequence[tuple[int, Sequence[str]]], int], Sequence[Sequence[str]]]
"""Writes rollout number r (from 0) of each (number of the sample, steps so far): the further steps."""

IsRight = Callable[[int, Sequence[str]], bool]
"""Grades a whole solution of sample n's question."""

Verified = dict[tuple[int, int], tuple[str, ...]]
"""(sample, length of the prefix) -> the first continuation that verified it."""


def rollout_labels(
    samples: Sequence[Sequence[str]],
    is_correct: IsRight,
    write: Continue,
    rollouts: int = 8,
    *,
    consistent: bool = True,
) -> tuple[list[list[int]], Verified]:
    """Any-success labels under rule 1, and under rule 2 if `consistent`, before rule 3.

    All samples go through a round together, one continuation each, so that an engine stays full. Lengths run from
    0, the bare question, which gives the local refiner its data for drafts that go wrong in the first step. Returns
    the labels of each sample's step ends, and the continuations that verified a prefix.
    """
    verified: Verified = {}
    low = [-1] * len(samples)  # the longest length known to be good
    high = [len(steps) for steps in samples]  # the shortest known to be bad: a wrong solution itself
    for n, steps in enumerate(samples):
        if is_correct(n, steps):
            low[n], high[n] = _verified_by_itself(steps, consistent)
    while unsettled := [n for n in range(len(samples)) if high[n] - low[n] > 1]:
        trying = {n: (low[n] + high[n]) // 2 for n in unsettled}
        open_samples = unsettled
        for number in range(rollouts):
            prefixes = {n: samples[n][: trying[n]] for n in open_samples}
            written = write(list(prefixes.items()), number)
            for (n, prefix), rest in zip(prefixes.items(), written, strict=True):
                if is_correct(n, [*prefix, *rest]) and (not consistent or results_used(prefix, rest)):
                    verified[n, trying[n]] = tuple(rest)
                    low[n] = trying[n]
            open_samples = [n for n in open_samples if low[n] < trying[n]]
            if not open_samples:
                break
        for n in open_samples:
            high[n] = trying[n]
    return [[int(at < good) for at in range(len(steps))] for steps, good in zip(samples, low, strict=True)], verified


def naive_labels(
    samples: Sequence[Sequence[str]],
    is_correct: IsRight,
    write: Continue,
    rollouts: int = 8,
    *,
    consistent: bool = True,
) -> tuple[list[list[float]], Verified]:
    """The share of `rollouts` continuations that verify each prefix (Math-Shepherd's soft label), the plain way.

    A share above 0 is an any-success label of 1; rules 1 and 3 are not applied. The whole solution is verified, or
    not, by itself. Returns the shares at each sample's step ends, and the continuations that verified a prefix.
    """
    verified: Verified = {}
    successes = [[0] * len(steps) for steps in samples]
    prefixes = [(n, steps[:length]) for n, steps in enumerate(samples) for length in range(len(steps))]
    for number in range(rollouts):
        for (n, prefix), rest in zip(prefixes, write(prefixes, number), strict=True):
            if is_correct(n, [*prefix, *rest]) and (not consistent or results_used(prefix, rest)):
                verified.setdefault((n, len(prefix)), tuple(rest))
                if prefix:
                    successes[n][len(prefix) - 1] += 1
    for n, steps in enumerate(samples):
        if steps and is_correct(n, steps) and (not consistent or results_used(steps[:-1], steps[-1:])):
            successes[n][-1] = rollouts
    return [[count / rollouts for count in row] for row in successes], verified


def _verified_by_itself(steps: Sequence[str], consistent: bool) -> tuple[int, int]:
    """The longest prefix of a right sample that its own rest verifies, and the shortest length that is bad.

    The whole sample is verified where all before its last step is: what that computes, nothing can use any more.
    """
    unused = first_unused(steps) if consistent else len(steps)
    verified = unused if unused < len(steps) - 1 else len(steps)
    return verified, max(verified + 1, len(steps))
