"""Hand-made traces."""

from collections.abc import Mapping, Sequence

from refine_eval.data import Candidate, Critique, Problem, Solution, Trace


def solution(steps: Sequence[str]) -> Solution:
    return Solution(text="\n".join(steps), steps=tuple(steps), answer=None, finish_reason="stop", tokens=10)


def trace(
    number: int,
    texts: Mapping[str, tuple[Sequence[str], bool]],
    critiques: Mapping[str, Mapping[str, Critique]],
    chosen: str = "draft",
    task: str = "apples",
) -> Trace:
    """`texts`: candidate id -> its lines, and whether it is right."""
    problem = Problem(id=f"{task}/{number}", task=task, question="q", prompt="p")
    candidates = tuple(
        Candidate(
            id=name,
            problem=problem,
            solution=solution(steps),
            origin="draft" if name == "draft" else "refinement",
            component="student" if name == "draft" else name.split(".")[1],
            sample=0,
        )
        for name, (steps, _) in texts.items()
    )
    return Trace(
        problem=problem,
        candidates=candidates,
        critiques=critiques,
        refined=True,
        selected={"rerank": chosen},
        correct={name: {"strict": right} for name, (_, right) in texts.items()},
    )


def judged(*scores: float) -> Critique:
    return Critique(score=scores[-1], step_scores=scores)
