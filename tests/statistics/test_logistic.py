"""Logistic regression on scores: at its optimum, as its definition has it, and where it has no end without a ridge."""

import math
import random

import pytest

from refine_eval.statistics.logistic import Logistic, fit_logistic, log_odds


def test_log_odds_have_an_end() -> None:
    assert log_odds(0.5) == 0
    assert log_odds(0.8) == pytest.approx(math.log(4))
    assert log_odds(0.0) == log_odds(0.001) == pytest.approx(-log_odds(1.0))


def test_a_probability_is_that_of_the_definition() -> None:
    found = Logistic(intercept=0.5, weights=(2.0, -1.0))
    odds = math.exp(0.5 + 2 * math.log(4) - math.log(1 / 3))
    assert found.probability([0.8, 0.25]) == pytest.approx(odds / (1 + odds))
    assert Logistic(intercept=-1e6, weights=(1.0,)).probability([0.5]) == 0.0
    assert Logistic(intercept=1e6, weights=(1.0,)).probability([0.5]) == 1.0


def test_the_fit_is_where_the_slope_of_the_penalised_likelihood_is_none() -> None:
    draw = random.Random(0)
    rows = [[draw.random(), draw.random()] for _ in range(300)]
    labels = [draw.random() < 0.2 + 0.6 * row[0] for row in rows]
    found = fit_logistic(rows, labels, ridge=2.0)
    off = [label - found.probability(row) for row, label in zip(rows, labels, strict=True)]
    assert sum(off) == pytest.approx(0, abs=1e-3)
    for at, weight in enumerate(found.weights):
        slope = sum(each * log_odds(row[at]) for each, row in zip(off, rows, strict=True))
        assert slope == pytest.approx(2.0 * weight, abs=1e-3)
    assert found.weights[0] > 4 * abs(found.weights[1]), "what the labels were drawn from counts"


def test_labels_that_a_score_tells_apart_wholly_have_a_fit_all_the_same() -> None:
    rows, labels = [[0.0, 0.5], [0.1, 0.5], [0.9, 0.5], [1.0, 0.5]], [False, False, True, True]
    found = fit_logistic(rows, labels)
    assert 0 < found.weights[0] < 2
    assert found.weights[1] == 0
    assert [found.probability(row) > 0.5 for row in rows] == labels
