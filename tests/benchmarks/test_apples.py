"""The bundled world: what its splits hold, and that a wrong step is found where it is."""

import random
import re
import time

import pytest

from refine_eval_benchmarks.apples import LARGEST, SIZES, first_bad_step, generate, split_of
from refine_eval_benchmarks.apples_drills import corrupted, equations

ANSWER = "23+5=28\n28*3=84\n#### 84"

FIRST = [
    {
        "id": "apples-test-0",
        "question": "Sam has 84 nuts. He loses 6. He gives away 72. He now has 4 times as many. How many nuts now?",
        "answer": "84-6=78\n78-72=6\n6*4=24\n#### 24",
    }
]


def check_equation(line: str) -> bool:
    match = re.fullmatch(r"(\d+)([-+*/])(\d+)=(\d+)", line)
    assert match, line
    left, right, result = int(match[1]), int(match[3]), int(match[4])
    if match[2] == "/":
        return left % right == 0 and left // right == result
    return {"+": left + right, "-": left - right, "*": left * right}[match[2]] == result


def test_same_problems_every_time_and_a_limit_takes_the_first() -> None:
    assert generate("test", 50) == generate("test", 50)
    assert generate("test", 80)[:50] == generate("test", 50)
    assert generate("validation", 50) != generate("test", 50)
    assert generate("test", 0) == []


def test_first_test_problem_is_the_one_that_published_figures_are_about() -> None:
    assert generate("test", 1) == FIRST


def test_splits_have_their_sizes_and_share_no_text() -> None:
    texts = {split: [p["question"] for p in generate(split)] for split in SIZES}
    assert {split: len(questions) for split, questions in texts.items()} == SIZES
    assert sum(SIZES.values()) == len(set().union(*texts.values()))
    for split, questions in texts.items():
        assert {split_of(question) for question in questions} == {split}


def test_a_split_that_does_not_exist_is_named() -> None:
    with pytest.raises(ValueError, match=r"no split 'dev'.*train, practice, validation, test"):
        generate("dev")


def test_a_thousand_problems_take_well_under_a_second() -> None:
    started = time.process_time()
    generate("test", 1000)
    assert time.process_time() - started < 1


def test_gold_chains_are_true_and_in_range() -> None:
    problems = generate("validation")
    counts = set()
    for problem in problems:
        *lines, answer = problem["answer"].splitlines()
        counts.add(len(lines))
        assert all(check_equation(line) for line in lines)
        results = [int(line.rpartition("=")[2]) for line in lines]
        assert all(4 <= result <= LARGEST for result in results)
        assert [int(re.findall(r"\d+", line)[0]) for line in lines[1:]] == results[:-1], "each starts from the last"
        assert answer == f"#### {results[-1]}"
        assert not any("/" in line for line in lines[1:]), "division comes first only"
        said = [int(number) for number in re.findall(r"\d+", problem["question"])]
        used = [[int(number) for number in re.findall(r"\d+", line)] for line in lines]
        assert said == [used[0][0], *(numbers[1] for numbers in used)]
        assert first_bad_step(problem["answer"], problem["answer"].splitlines()) is None
    assert counts == {2, 3, 4, 5, 6}


@pytest.mark.parametrize(
    ("steps", "bad"),
    [
        (["23+5=28", "28*3=84", "#### 84"], None),
        ([" 5 + 23 = 28", "3*28=84", "####84"], None),
        (["23+5=29", "29*3=87", "#### 87"], 0),
        (["23+5=28", "28*3=74", "#### 74"], 1),
        (["23+5=28", "28*3=84", "#### 48"], 2),
        (["23+5=28", "#### 28"], 1),
        (["23+5=28", "28+28=56", "28*3=84", "#### 84"], 1),
        (["23+5=28", "28*3=84"], 2),
        (["23+5=28", "28*3=84", "#### 84", "84+1=85"], 3),
        (["23+5=28", "28/3=84", "#### 84"], 1),
        (["23+5=28", "", "#### 84"], 1),
        (["nonsense"], 0),
        ([], 0),
    ],
)
def test_first_bad_step(steps: list[str], bad: int | None) -> None:
    assert first_bad_step(ANSWER, steps) == bad


def test_minus_and_division_do_not_commute() -> None:
    assert first_bad_step("9-5=4\n#### 4", ["5-9=4", "#### 4"]) == 0


def test_corrupted_gold_is_wrong_exactly_where_its_labels_say() -> None:
    rng = random.Random(3)
    places = set()
    for problem in generate("train", 500):
        steps, labels = corrupted(rng, problem["answer"])
        bad = first_bad_step(problem["answer"], steps)
        assert bad is not None
        assert labels == [1] * bad + [0] * (len(steps) - bad)
        assert steps[-1] != problem["answer"].splitlines()[-1]
        places.add(bad)
    assert places >= {0, 1, 2, 3, 4}


def test_false_equations_differ_from_the_true_ones_in_the_result_only() -> None:
    rng = random.Random(4)
    lines, truth = equations(rng, count=400, wrong=0.4)
    assert all(check_equation(line) for line in truth)
    assert all(a.partition("=")[0] == b.partition("=")[0] for a, b in zip(lines, truth, strict=True))
    false = [not check_equation(line) for line in lines]
    assert false == [a != b for a, b in zip(lines, truth, strict=True)]
    assert 0.3 < sum(false) / len(false) < 0.5
