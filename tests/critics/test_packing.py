"""Rows that begin alike are read once by critics, and their scores are those of reading each whole."""

import random
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
import tiny_models as tiny
import torch
from transformers import PreTrainedModel

from refine_eval.critics.language_model import CausalStepModel
from refine_eval.critics.packing import Limits, Packed, laid_out, packed
from refine_eval.critics.step_models import TokenRow, TransformersStepModel
from refine_eval.models.sources import resolve_model

BRANCHES = ["Llama", "Qwen2", "GPTNeoX", "GPT2"]
"""Architectures that read rows with branches."""
WHOLE = ["Bert", "Mistral"]
"""Those that cannot: one looks ahead, one has a window (of 8 tokens)."""

QUESTION = [10 + 7 * n % 17 for n in range(60)]
CONTEXT = 256


def solutions() -> list[list[int]]:
    """Tokens after a question: solutions that part at the first token and later, equal ones, a beginning of another,
    and none at all."""
    first = [11, 12, 5, 13, 14, 5, 15, 16, 5]
    return [first, [*first[:6], 17, 18, 5], [19, 12, 5], first, first[:3], [*first[:3], 27, 5], []]


def rows_of(questions: int) -> list[TokenRow]:
    """Rows of several questions, in no order, to be scored at each newline (5) and at the end."""
    rows = []
    for number in range(questions):
        for solution in solutions():
            ids = [9 + number, *QUESTION, *solution]
            rows.append((ids, [at for at, token in enumerate(ids) if token == 5 and at > 60] or [len(ids) - 1]))
    return random.Random(0).sample(rows, len(rows))


def saved(folder: Path, architecture: str, head: str) -> Path:
    """A random model of an architecture with a head."""
    import transformers

    small = tiny.llama_config(num_labels=2, max_position_embeddings=CONTEXT).to_dict()
    small = {
        key: value for key, value in small.items() if key not in ("architectures", "model_type", "rope_parameters")
    }
    if architecture == "Mistral":
        small["sliding_window"] = 8
    torch.manual_seed(0)
    model = getattr(transformers, architecture + head)(getattr(transformers, architecture + "Config")(**small))
    return tiny.save(model, folder)


def opened(
    folder: Path, kind: type[TransformersStepModel] = TransformersStepModel, batch_size: int | None = None
) -> Any:
    return kind(resolve_model(str(folder)), "cpu", "float32", batch_size)


def one_by_one(model: TransformersStepModel, rows: Sequence[TokenRow]) -> list[tuple[float, ...]]:
    return [model.scores([row])[0] for row in rows]


def distinct(rows: Sequence[TokenRow]) -> int:
    """How many different beginnings rows have: tokens to read, if each is read once."""
    return len({tuple(ids[: at + 1]) for ids, _ in rows for at in range(len(ids))})


@pytest.mark.parametrize("architecture", BRANCHES)
@pytest.mark.parametrize("batch_size", [None, 3])
def test_shared_beginnings_are_read_once_with_the_scores_of_whole_rows(
    tmp_path: Path, architecture: str, batch_size: int | None
) -> None:
    folder, rows = saved(tmp_path, architecture, "ForTokenClassification"), rows_of(3)
    expected = one_by_one(opened(folder), rows)
    model = opened(folder, batch_size=batch_size)
    for values, whole in zip(model.scores(rows), expected, strict=True):
        assert values == pytest.approx(whole, abs=1e-5)
    read = sum(model.read_tokens)
    assert distinct(rows) == 3 * (61 + 9 + 3 + 3 + 2)
    if batch_size is None:
        assert read == distinct(rows)
    else:
        assert distinct(rows) < read < sum(len(ids) for ids, _ in rows) / 2, "at most three rows share a pack"
    assert len({round(score, 5) for values in expected for score in values}) > 15, "they are not all alike"


@pytest.mark.parametrize("architecture", WHOLE)
def test_models_that_cannot_share_read_whole_rows(tmp_path: Path, architecture: str) -> None:
    folder, rows = saved(tmp_path, architecture, "ForTokenClassification"), rows_of(2)
    model = opened(folder)
    found = model.scores(rows)
    assert model.read_tokens == [len(ids) for ids, _ in rows]
    for values, whole in zip(found, one_by_one(model, rows), strict=True):
        assert values == pytest.approx(whole, abs=1e-5)


@pytest.mark.parametrize("architecture", ["Llama", "GPTNeoX"])
def test_log_probabilities_of_shared_beginnings_are_those_of_whole_rows(
    tmp_path: Path, architecture: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("refine_eval.critics.language_model._MOST_LOGITS", 7)
    model = opened(saved(tmp_path, architecture, "ForCausalLM"), CausalStepModel)
    rows = [(ids, [60, *ends]) for ids, ends in rows_of(3)]
    found = model.scores(rows)
    assert sum(model.read_tokens) == distinct(rows)
    for values, whole in zip(found, one_by_one(model, rows), strict=True):
        assert values == pytest.approx(whole, abs=1e-4), "sums of up to 70 log-probabilities"


def test_a_subclass_that_takes_no_positions_reads_whole_rows(tmp_path: Path) -> None:
    class Older(TransformersStepModel):
        """As plugins were written before there were branches."""

        def read(self, ids: Any, mask: Any, row: Any, column: Any) -> Any:  # type: ignore[override]
            assert mask.shape == ids.shape
            return super().read(ids, mask, row, column)

    folder, rows = saved(tmp_path, "Llama", "ForTokenClassification"), rows_of(2)
    model = opened(folder, Older)
    found = model.scores(rows)
    assert model.read_tokens == [len(ids) for ids, _ in rows]
    assert found == [pytest.approx(whole, abs=1e-5) for whole in one_by_one(model, rows)]


def test_a_model_that_takes_no_such_mask_reads_whole_rows(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    model, forward = opened(saved(tmp_path, "Llama", "ForTokenClassification")), PreTrainedModel.__call__

    def flat_masks(self: PreTrainedModel, *args: Any, **kwargs: Any) -> Any:
        mask = kwargs.get("attention_mask")
        if mask is not None and mask.dim() == 4:
            raise ValueError("attention_mask should be 2D")
        return forward(self, *args, **kwargs)

    monkeypatch.setattr(PreTrainedModel, "__call__", flat_masks)
    rows = rows_of(1)
    assert len(model.scores(rows)) == len(rows)
    assert model.read_tokens == [len(ids) for ids, _ in rows]


def test_a_row_whose_scores_are_no_numbers_spoils_no_other(tmp_path: Path) -> None:
    model, rows = opened(saved(tmp_path, "Llama", "ForTokenClassification")), rows_of(1)
    with torch.no_grad():
        model.model.get_input_embeddings().weight[27] = float("nan")
    expected = one_by_one(model, rows)
    odd = [27 in ids for ids, _ in rows]
    assert sum(odd) == 1
    for found, whole, spoilt in zip(model.scores(rows), expected, odd, strict=True):
        assert found == pytest.approx(whole, abs=1e-5, nan_ok=True)
        assert any(score != score for score in found) == spoilt


def test_memory_running_out_on_a_pack_makes_smaller_ones(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    model, one_pass = opened(saved(tmp_path, "Llama", "ForTokenClassification")), TransformersStepModel._pass
    rows, tokens = rows_of(2), []

    def scarce(self: TransformersStepModel, packs: Any, given: Any) -> Any:
        tokens.append(sum(len(pack.tokens) for pack in packs))
        if tokens[-1] > 75:
            raise torch.OutOfMemoryError("CUDA out of memory")
        return one_pass(self, packs, given)

    expected = one_by_one(model, rows)
    monkeypatch.setattr(TransformersStepModel, "_pass", scarce)
    for found, whole in zip(model.scores(rows), expected, strict=True):
        assert found == pytest.approx(whole, abs=1e-5)
    assert sum(model.read_tokens) < sum(len(ids) for ids, _ in rows)


def test_rows_that_share_little_stay_apart() -> None:
    rows = list(enumerate([[1, 2, 3, *range(100 * n, 100 * n + 200)] for n in range(10)]))
    assert {len(pack.members) for pack in packed(rows, Limits(width=64, tokens=4096))} == {1}


def test_a_pack_stays_within_its_tokens_and_rows() -> None:
    rows = list(enumerate([[*range(100), 200 + n] for n in range(10)]))
    wide = Limits(width=1024, tokens=4096)
    assert [len(pack.tokens) for pack in packed(rows, wide)] == [110]
    assert [len(pack.members) for pack in packed(rows, Limits(width=1024, tokens=104))] == [4, 4, 2]
    assert [len(pack.members) for pack in packed(rows, Limits(width=1024, tokens=4096, rows=6))] == [6, 4]
    assert [len(pack.members) for pack in packed(rows, None)] == [1] * 10
    assert packed([], wide) == []


def test_a_token_looks_at_its_own_row_alone() -> None:
    pack = Packed.alone(0, [4, 5, 6])
    pack.add(1, [4, 7, 8], pack.shared([4, 7, 8]))
    pack.add(2, [4, 7], pack.shared([4, 7]))
    assert pack.tokens == [4, 5, 6, 7, 8]
    assert pack.paths == [[0, 1, 2], [0, 3, 4], [0, 3]]
    assert pack.fresh == [3, 2, 0]
    mask, positions = laid_out([pack, Packed.alone(3, [9])], torch.float32)
    seen = (mask == 0).int()[:, 0].tolist()
    assert seen[0] == [[1, 0, 0, 0, 0], [1, 1, 0, 0, 0], [1, 1, 1, 0, 0], [1, 0, 0, 1, 0], [1, 0, 0, 1, 1]]
    assert seen[1][0] == [1, 0, 0, 0, 0]
    assert positions.tolist() == [[0, 1, 2, 1, 2], [0, 0, 0, 0, 0]]
