"""Which of a critic's labels means good: its configuration's id2label says so, not their order."""

from __future__ import annotations

from typing import Any

from refine_eval.errors import ModelError

_GOOD = frozenset(
    (
        *("good", "correct", "right", "true", "positive", "pos", "+", "yes", "y", "1"),
        *("valid", "ok", "accept", "accepted", "pass", "passed"),
    )
)
_BAD = frozenset(
    (
        *("bad", "incorrect", "wrong", "false", "negative", "neg", "-", "no", "n", "0"),
        *("invalid", "error", "reject", "rejected", "fail", "failed"),
    )
)
_SCORES = frozenset(("score", "reward", "value", "probability"))
"""Names of a single label that is higher for better steps."""


def good_label(config: Any, name: str) -> int:
    """The index of the label that means good; -1 where there is but one, and it means bad.

    Labels that nobody named (LABEL_0, LABEL_1) are read as GLoRe's critics are: the last one means good. ModelError for
    another number of labels, and for names that say neither good nor bad; `name` is the critic's.
    """
    names = [str(label) for _, label in sorted(config.id2label.items())]
    if len(names) not in (1, 2):
        raise ModelError(
            f"The critic {name} has {len(names)} labels; a step is right or wrong, so pass a critic with one or two."
        )
    if all(label == f"LABEL_{index}" for index, label in enumerate(names)):
        return len(names) - 1
    meanings = [_meaning(label, alone=len(names) == 1) for label in names]
    if None in meanings or meanings == [True, True] or meanings == [False, False]:
        labels = " and ".join(map(repr, names))
        raise ModelError(
            f"The critic {name} has the labels {labels[:100]}, which do not say what is good; name them 'bad' and "
            "'good' in the id2label of its config.json, each as it was trained."
        )
    return meanings.index(True) if True in meanings else -1


def _meaning(label: str, alone: bool) -> bool | None:
    """Whether a label means good; None where its name does not say."""
    word = label.strip().lower()
    if word in _GOOD or (alone and word in _SCORES):
        return True
    return False if word in _BAD else None


def probability_of_good(logits: Any, good: int) -> Any:
    """Logits of shape (tokens, labels), with one or two labels, as probabilities of shape (tokens,).

    `good` is what `good_label` found.
    """
    logits = logits.float()
    if logits.shape[-1] == 2:
        return logits.softmax(-1)[:, good]
    return (logits if good == 0 else -logits).sigmoid()[:, 0]
