"""Labels by rollout: the cheap way gives the plain way's labels, with fewer continuations."""

import random
from collections import Counter
from collections.abc import Sequence

import pytest

from refine_eval.stages.rollouts import naive_labels, rollout_labels
from refine_eval.stages.rules import monotone


class Student:
    """Succeeds with a chance that falls at each "slip"; what it writes depends on prefix and number alone."""

    def __init__(self, samples: Sequence[Sequence[str]], chance: float = 0.6) -> None:
        self.samples, self.chance = samples, chance
        self.asked: Counter[tuple[str, ...]] = Counter()

    def write(self, prefixes: Sequence[tuple[int, Sequence[str]]], number: int) -> list[list[str]]:
        found = []
        for n, steps in prefixes:
            assert list(self.samples[n][: len(steps)]) == list(steps)
            self.asked[str(n), *steps] += 1
            lucky = random.Random(f"{steps} {number}").random() < self.chance
            found.append(["#### 1" if lucky and "slip" not in steps else "#### 0"])
        return found


def ends_right(n: int, steps: Sequence[str]) -> bool:
    return bool(steps) and steps[-1] == "#### 1"


def test_the_last_good_prefix_is_found_by_bisection_and_settled_at_the_first_success() -> None:
    samples = [["a", "b", "slip", "c", "#### 0"], ["slip", "d", "#### 0"], ["e", "#### 0"]]
    student = Student(samples, chance=1.0)
    labels, verified = rollout_labels(samples, ends_right, student.write, rollouts=4)
    assert labels == [[1, 1, 0, 0, 0], [0, 0, 0], [1, 0]]
    assert verified[0, 2] == verified[1, 0] == verified[2, 1] == ("#### 1",)
    assert all(count == (4 if "slip" in prefix else 1) for prefix, count in student.asked.items())
    assert ("0", "a", "b", "slip", "c") not in student.asked, "bisection needs not try every prefix"


def test_cheap_labels_are_the_plain_ones_where_those_are_monotone() -> None:
    rng = random.Random(1)
    samples = []
    for _ in range(200):
        steps = [f"s{rng.randrange(1000)}" for _ in range(rng.randint(1, 6))]
        if rng.random() < 0.6:
            steps[rng.randrange(len(steps))] = "slip"
        samples.append([*steps, "#### 0" if "slip" in steps or rng.random() < 0.2 else "#### 1"])
    cheap_student, plain_student = Student(samples, 0.9), Student(samples, 0.9)
    cheap, _ = rollout_labels(samples, ends_right, cheap_student.write, rollouts=8)
    shares, verified = naive_labels(samples, ends_right, plain_student.write, rollouts=8)
    assert cheap == [monotone([int(share > 0) for share in row]) for row in shares]
    assert 3 * cheap_student.asked.total() < plain_student.asked.total()
    assert all(shares[n][length - 1] > 0 for n, length in verified if length)


def test_the_plain_way_counts_successes() -> None:
    samples = [["a", "#### 0"], ["b", "#### 1"]]
    student = Student(samples, 0.5)
    shares, _ = naive_labels(samples, ends_right, student.write, rollouts=10)
    expected = sum(random.Random(f"{['a']} {number}").random() < 0.5 for number in range(10)) / 10
    assert shares[0] == [pytest.approx(expected), 0.0]
    assert shares[1][-1] == 1.0
    assert student.asked.total() == 2 * 2 * 10, "K continuations of every prefix, that of length 0 among them"


def test_right_samples_need_no_rollout_unless_they_ignore_a_result() -> None:
    used, ignored = ["2+3=5", "5*4=20", "#### 20"], ["2+3=6", "5*4=20", "#### 20"]

    def write(prefixes: Sequence[tuple[int, Sequence[str]]], number: int) -> list[list[str]]:
        asked.extend(prefixes)
        return [["5*4=20", "#### 20"] for _ in prefixes]

    asked: list[tuple[int, Sequence[str]]] = []
    right = lambda n, steps: steps[-1:] == ["#### 20"]  # noqa: E731
    labels, _ = rollout_labels([used], right, write)
    assert labels == [[1, 1, 1]]
    assert asked == []
    labels, _ = rollout_labels([ignored], right, write)
    assert labels == [[0, 0, 0]]
    assert asked
    labels, _ = rollout_labels([ignored], right, write, consistent=False)
    assert labels == [[1, 1, 1]]


def test_what_the_last_step_of_a_right_sample_computes_need_not_be_used() -> None:
    """A chat model's last paragraph computes the answer and puts it in its box."""
    sample = ["2+3=5", "5*4=20, so \\boxed{20}"]

    def write(prefixes: Sequence[tuple[int, Sequence[str]]], number: int) -> list[list[str]]:
        return [[] for _ in prefixes]

    right = lambda n, steps: steps[-1:] == sample[-1:]  # noqa: E731
    assert rollout_labels([sample, sample[1:]], right, write)[0] == [[1, 1], [1]]
    assert naive_labels([sample], right, write, rollouts=1)[0] == [[0.0, 1.0]]
    assert naive_labels([["2+3=6", *sample[1:]]], right, write, rollouts=1)[0] == [[0.0, 0.0]]


def test_rollouts_that_ignore_a_result_do_not_count() -> None:
    sample = ["2+3=6", "6*4=24", "#### 24"]
    write = lambda prefixes, number: [["5*4=20", "#### 20"] for _ in prefixes]  # noqa: E731
    right = lambda n, steps: steps[-1] == "#### 20"  # noqa: E731
    labels, verified = rollout_labels([sample], right, write)
    assert labels == [[0, 0, 0]]
    assert set(verified) == {(0, 0)}
    labels, _ = rollout_labels([sample], right, write, consistent=False)
    assert labels == [[1, 1, 0]]
    assert naive_labels([sample], right, write, consistent=False)[0] == [[1.0, 1.0, 0.0]]
