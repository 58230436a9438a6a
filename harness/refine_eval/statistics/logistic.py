"""Logistic regression on scores: how likely something is, given what several critics say of it."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

_LEAST = 0.001
"""Scores count as at least so far from 0 and from 1, as their log-odds would have no end."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Logistic:
    """The log-odds are `intercept` and, for each score, its log-odds times its weight (stacking, Wolpert 1992)."""

    intercept: float
    weights: tuple[float, ...]

    def probability(self, scores: Sequence[float]) -> float:
        """From scores in [0, 1], one a weight, to a probability."""
        odds = self.intercept + sum(w * log_odds(score) for w, score in zip(self.weights, scores, strict=True))
        return 1 / (1 + math.exp(-odds)) if odds > -700 else 0.0


def log_odds(score: float) -> float:
    """Of a score in [0, 1]; those of 0 and 1 are those of 0.001 and 0.999."""
    kept = min(max(score, _LEAST), 1 - _LEAST)
    return math.log(kept / (1 - kept))


def fit_logistic(rows: Sequence[Sequence[float]], labels: Sequence[bool], ridge: float = 1.0) -> Logistic:
    """The most likely weights for these labels, less `ridge`/2 of the weights' squares; the intercept is free.

    `rows` has the same number of scores for each label, and labels are of both kinds.
    """
    import numpy as np
    from scipy.optimize import minimize

    found = np.array([[1.0, *map(log_odds, row)] for row in rows])
    signs = np.where(labels, 1.0, -1.0)
    penalty = np.full(found.shape[1], ridge)
    penalty[0] = 0.0

    def loss(at: np.ndarray) -> float:
        return float(np.logaddexp(0, -signs * (found @ at)).sum() + (penalty * at * at).sum() / 2)

    def slope(at: np.ndarray) -> np.ndarray:
        wrong = np.exp(-np.logaddexp(0, signs * (found @ at)))
        return np.asarray(-(signs * wrong) @ found + penalty * at)

    def bend(at: np.ndarray) -> np.ndarray:
        odds = found @ at
        share = np.exp(-np.logaddexp(0, -odds) - np.logaddexp(0, odds))
        return np.asarray((found.T * share) @ found + np.diag(penalty))

    at = minimize(loss, np.zeros(found.shape[1]), method="trust-exact", jac=slope, hess=bend).x
    return Logistic(intercept=float(at[0]), weights=tuple(map(float, at[1:])))
