"""Mathematics and science as lm-eval defines them: what each task needs, and its files where the hub is not at hand."""

from pathlib import Path

from refine_eval import Benchmark, Documents
from refine_eval_benchmarks.documents import Files

TASKS = Path(__file__).resolve().parent / "tasks"

CHAT = "a chat model (--apply-chat-template)"
MATH = "the extra math (pip install 'refine-eval[math]')"
_MATH_FOR_VOTES = f"for votes, in which 1/2 and 0.5 are one answer, {MATH}"
_LONG = "a model that reasons at length (up to 32,768 tokens)"

PARAGRAPHS = "paragraphs"
"""The splitter for solutions at length: their lines are often parts of formulas and lists."""

MATH_LENGTH = 2_048
"""Tokens; lm-eval's own 256 cut off most of what a chat model writes on a problem of MATH or GPQA."""

_MATH_COLUMNS = ("problem", "solution")
_MATH500 = Files(hub="HuggingFaceH4/MATH-500", folder="math500", splits=("test",), columns=_MATH_COLUMNS)

MATH_SUBSETS = {
    "algebra": "algebra",
    "counting_and_prob": "counting_and_probability",
    "geometry": "geometry",
    "intermediate_algebra": "intermediate_algebra",
    "num_theory": "number_theory",
    "prealgebra": "prealgebra",
    "precalc": "precalculus",
}
"""Subsets of MATH in the order of lm-eval's group minerva_math: the name in its tasks, and that in the data."""


def math_subset(name: str) -> Files:
    """The files of one subset of MATH, by its name in lm-eval's tasks."""
    return Files(
        hub="EleutherAI/hendrycks_math",
        folder=f"hendrycks_math/{MATH_SUBSETS[name]}",
        splits=("train", "test"),
        columns=_MATH_COLUMNS,
        may_lack=("train",),
    )


def all_of_math(data_dir: Path) -> Documents:
    """MATH's two splits, a subset after the other."""
    found = [math_subset(name).read(data_dir) for name in MATH_SUBSETS]
    return {split: [document for each in found for document in each[split]] for split in ("train", "test")}


def lm_eval_tasks() -> list[Benchmark]:
    """The benchmarks, in the order of `tasks list`."""
    return [
        _of(
            "gsm8k_platinum",
            "gsm8k_platinum/gsm8k-platinum.yaml",
            "GSM8K's test problems, revised by hand, 5-shot (1,209 test problems)",
            Files(hub="madrylab/gsm8k-platinum", folder="gsm8k_platinum", splits=("test",), columns=_QUESTIONS),
        ),
        _of(
            "gsm_plus",
            "gsm_plus/gsm_plus.yaml",
            "GSM8K's test problems, each varied in eight ways, 5-shot (10,552 test problems)",
            Files(
                hub="qintongli/GSM-Plus",
                folder="gsm_plus",
                splits=("test",),
                columns=("question", "solution"),
                may_be_null=("solution",),
            ),
        ),
        _of(
            "mgsm_direct_en",
            "mgsm/direct/mgsm_direct_en.yaml",
            "250 problems of GSM8K as the English part of MGSM, zero-shot",
            Files(
                hub="juletxara/mgsm",
                folder="mgsm_en",
                splits=("train", "test"),
                columns=("question", "answer_number"),
                may_be_null=("answer",),
                may_lack=("train",),
            ),
        ),
        _of(
            "hendrycks_math500",
            "hendrycks_math/hendrycks_math500.yaml",
            "MATH-500, zero-shot; lm-eval grades what stands between a text's first and last $",
            _MATH500,
            needs=_MATH_FOR_VOTES,
            max_gen_toks=MATH_LENGTH,
            steps=PARAGRAPHS,
        ),
        _of(
            "minerva_math500",
            "minerva_math/minerva_math500.yaml",
            "MATH-500, 4-shot, graded by math-verify, which reads boxed answers",
            _MATH500,
            needs=MATH,
            max_gen_toks=MATH_LENGTH,
            steps=PARAGRAPHS,
        ),
        Benchmark(
            name="minerva_math",
            description="MATH, 4-shot, graded by math-verify: lm-eval's seven subsets as one (5,000 test problems)",
            data="hub: EleutherAI/hendrycks_math; DIR/hendrycks_math/SUBSET/test.jsonl",
            yaml=TASKS / "minerva_math.yaml",
            local_data=all_of_math,
            needs=MATH,
            max_gen_toks=MATH_LENGTH,
            steps=PARAGRAPHS,
        ),
        *(
            _of(
                f"minerva_math_{name}",
                f"minerva_math/minerva_math_{name}.yaml",
                f"MATH's subset {folder} alone",
                math_subset(name),
                needs=MATH,
                max_gen_toks=MATH_LENGTH,
                steps=PARAGRAPHS,
            )
            for name, folder in MATH_SUBSETS.items()
        ),
        _of(
            "aime24",
            "aime/aime24.yaml",
            "Both AIME contests of 2024, zero-shot (30 problems)",
            Files(hub="Maxwell-Jia/AIME_2024", folder="aime24", splits=("train",), columns=("Problem", "Answer")),
            needs=f"{_LONG}; {_MATH_FOR_VOTES}",
            steps=PARAGRAPHS,
        ),
        _of(
            "aime25",
            "aime/aime25.yaml",
            "Both AIME contests of 2025, zero-shot (30 problems)",
            Files(hub="math-ai/aime25", folder="aime25", splits=("test",), columns=("problem", "answer")),
            needs=f"{_LONG}; {_MATH_FOR_VOTES}",
            steps=PARAGRAPHS,
        ),
        _of(
            "gpqa_diamond_cot_zeroshot",
            "gpqa/cot_zeroshot/gpqa_diamond_cot_zeroshot.yaml",
            "Questions of science for experts, four choices, zero-shot (198 problems)",
            Files(hub="Idavidrein/gpqa", folder="gpqa_diamond", splits=("train",), columns=_CHOICES),
            needs=f"{CHAT}; on the hub, that you accept the data's terms and log in (hf auth login)",
            max_gen_toks=MATH_LENGTH,
            steps=PARAGRAPHS,
        ),
    ]


_QUESTIONS = ("question", "answer")
_CHOICES = ("Question", "Correct Answer", *(f"Incorrect Answer {number}" for number in (1, 2, 3)))


def _of(
    name: str,
    yaml: str,
    description: str,
    files: Files,
    needs: str = "",
    max_gen_toks: int | None = None,
    steps: str = "lines",
) -> Benchmark:
    return Benchmark(
        name=name,
        description=description,
        data=files.in_words,
        yaml=Path(yaml),
        local_data=files.read,
        needs=needs,
        max_gen_toks=max_gen_toks,
        steps=steps,
    )
