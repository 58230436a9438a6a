"""The bundled benchmarks: GSM8K, SVAMP, others of lm-eval with their files, and the synthetic world "apples"."""

from collections.abc import Sequence
from pathlib import Path

from refine_eval import Benchmark, Documents, Trainer, hookimpl
from refine_eval_benchmarks.lm_eval_tasks import CHAT, PARAGRAPHS, lm_eval_tasks

HERE = Path(__file__).resolve().parent
TASKS = HERE / "tasks"

_GSM8K = "hub: openai/gsm8k; DIR/gsm8k/{train,test}.jsonl"


@hookimpl
def refine_eval_benchmarks() -> list[Benchmark]:
    """The benchmarks; nothing is read or imported before one of them is run."""
    return [
        Benchmark(
            name="gsm8k",
            description="Grade-school word problems, 5-shot, as lm-eval defines it (1,319 test problems)",
            data=_GSM8K,
            yaml=Path("gsm8k/gsm8k.yaml"),
            local_data=_gsm8k_local,
        ),
        Benchmark(
            name="gsm8k_zero_shot",
            description="The same problems without examples, in a fine-tuned student's format",
            data=_GSM8K,
            yaml=TASKS / "gsm8k_zero_shot.yaml",
            local_data=_gsm8k_local,
        ),
        Benchmark(
            name="gsm8k_chat",
            description="GSM8K for chat models: reason step by step, put the answer in a box; zero-shot",
            data=_GSM8K,
            yaml=TASKS / "gsm8k_chat.yaml",
            local_data=_gsm8k_local,
            needs=CHAT,
            steps=PARAGRAPHS,
        ),
        Benchmark(
            name="svamp",
            description="Short word problems made to mislead (all 1,000 as test; MAWPS and ASDiv-A as training split)",
            data="hub: ChilleD/SVAMP (test only); DIR/svamp/{SVAMP.json,train_mawps_asdiv-a.csv}",
            yaml=TASKS / "svamp.yaml",
            local_data=_svamp_local,
        ),
        *lm_eval_tasks(),
        Benchmark(
            name="apples",
            description="Bundled synthetic word problems of 2 to 6 steps, every step checkable (1,000 test problems)",
            data="made on the spot from a seed",
            yaml=TASKS / "apples.yaml",
            student=HERE / "models" / "student",
            first_bad_step=_apples_first_bad_step,
        ),
        Benchmark(
            name="apples_practice",
            description="The same world with 8,000 other training problems, to sample a student on",
            data="made on the spot from a seed",
            yaml=TASKS / "apples_practice.yaml",
            student=HERE / "models" / "student",
            first_bad_step=_apples_first_bad_step,
        ),
    ]


@hookimpl
def refine_eval_recipes() -> list[Path]:
    """The bundled recipes."""
    return sorted(HERE.glob("recipes/*.yaml"))


@hookimpl
def refine_eval_trainers() -> list[type[Trainer]]:
    """The trainers of the tiny recipe's first models."""
    from refine_eval_benchmarks.apples_trainers import ApplesCriticTrainer, ApplesLanguageModelTrainer

    return [ApplesLanguageModelTrainer, ApplesCriticTrainer]


def _gsm8k_local(folder: Path) -> Documents:
    from refine_eval_benchmarks.sources import gsm8k_local

    return gsm8k_local(folder)


def _svamp_local(folder: Path) -> Documents:
    from refine_eval_benchmarks.sources import svamp_local

    return svamp_local(folder)


def _apples_first_bad_step(answer: str, steps: Sequence[str]) -> int | None:
    from refine_eval_benchmarks.apples import first_bad_step

    return first_bad_step(answer, steps)
