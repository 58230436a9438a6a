"""The calculator's three answers, kind by kind: what holds, what does not, and what cannot be read and is left out."""

import subprocess
import sys
import time
from pathlib import Path

import pytest

from refine_eval import Candidate, Critique, Problem, Solution
from refine_eval.stages.rules import results_used
from refine_eval_refiners.critics import CalculatorCritic
from refine_eval_refiners.equations import find_equations
from refine_eval_refiners.notation import UNREADABLE, plain

SIGNS = {
    "6 ⋅ 7 = 42": "holds",
    "6 • 7 - 2 = 40": "holds",
    "6 ∗ 7 + 1 = 43": "holds",
    "6 ✕ 7 = 42": "holds",
    "９ ÷ ３ ＝ ３": "holds",
    "−4 + 9 = 5": "holds",
    "9 − 14 = −5": "holds",
    "1 - 9 = - 4 - 4 = -8": "holds",
    "6 ⋅ 7 - 2 = 41": "fails",
    "4 - 9 = 5": "fails",
    "8 ⊗ 5 + 1 = 41": "left out",
    "√25 + 1 = 6": "left out",
    "9 ± 1 + 1 = 11": "left out",
    "17 mod 5 + 1 = 3": "left out",
    "6 choose 2 + 1 = 16": "left out",
    "min(8, 5) + 2 = 7": "left out",
    "g(8) + 2 = 7": "left out",
    "the square of 2 + 3 = 25": "left out",
    "|2 - 9| + 1 = 8": "left out",
    "12 : 3 + 1 = 5": "left out",
    "6 * 5 * 4 * 3 * 2 = 6!": "left out",
    "2 * 9 = 3 * width": "left out",
    "2 * 9 = 20 - rest": "left out",
    "2 + 5 = 9 ± 1": "left out",
    "2 + 5 ≠ 8": "left out",
    "2 + 5 <= 8": "left out",
}
POWERS_AND_FRACTIONS = {
    "4 * 4 = 4² = 16": "holds",
    "5² + 12² = 169": "holds",
    "2 * 4 = 2^{3}": "holds",
    "10⁻¹ * 10 = 1": "holds",
    "¼ * 20 = 5": "holds",
    "3½ * 2 = 7": "holds",
    "9 / 4 = 2¼": "holds",
    "9 / 4 = 2 1/4": "holds",
    "7⁄8 + 1⁄8 = 1": "holds",
    "4e3 * 2 = 8000": "holds",
    "3 cm² * 5 = 15 cm²": "holds",
    "5 * 5 = 5³": "fails",
    "9 / 4 = 2½": "fails",
    "¼ * 20 = 6": "fails",
    "5 / 9 = 1/2": "fails",
    "3 cm² * 5 = 16 cm²": "fails",
    "9 / 4 = 2-1/4": "left out",
    "2ⁿ + 3 + 3 = 8": "left out",
    "7 + 1 = 8_{10}": "left out",
    "3π + 1 + 1 = 11.4": "left out",
    "2 + 5i = 7": "left out",
}
LATEX = {
    r"4{,}000 - 1{,}500 = 2{,}500": "holds",
    r"4\,000 - 1\,500 = 2\,500": "holds",
    r"\(\frac{2}{3} \times 12 = 8\)": "holds",
    r"\frac34 \cdot 8 = 6": "holds",
    r"9 / 4 = 2\frac{1}{4}": "holds",
    r"\frac{\frac{1}{3}}{2} = \frac{1}{6}": "holds",
    r"\[ 18 \div 3 = \boxed{6} \]": "holds",
    r"$\left(2 + 4\right) \times 3 = 18$": "holds",
    r"2 \text{ pens} + 4 \text{ pens} = 6 \text{ pens}": "holds",
    r"\$4 \times 3 = \$12": "holds",
    r"2 + 4 &= 6 \\": "holds",
    r"30\% \times 60 = 18": "holds",
    r"30\% \times 60 = 1800": "fails",
    r"\(\frac{2}{3} \times 12 = 9\)": "fails",
    r"4{,}000 - 1{,}500 = 3{,}500": "fails",
    r"\sqrt{49} + 2 = 9": "left out",
    r"2 + \sqrt{49} = 9": "left out",
    r"1 - 0.\overline{9} = 0": "left out",
}
HUNDREDS = {
    "40% of 30 = 12": "holds",
    "40 percent of 30 = 12": "holds",
    "12 / 30 = 40%": "holds",
    "12 / 30 * 100 = 40%": "holds",
    "12 / 30 * 100% = 40": "holds",
    "30% + 15% = 45": "holds",
    "1.20 * 2 = 240 cents": "holds",
    "60 cents * 5 = $3": "holds",
    "60¢ * 5 = 300¢": "holds",
    "$1 + 50 cents = $1.50": "holds",
    "7 dozen / 12 = 7": "holds",
    "2 * 6 = 1 dozen": "holds",
    "1.5 million * 2 = 3,000,000": "holds",
    "40% of 30 = 1200": "fails",
    "40% of 30 = 0.12": "fails",
    "12% * 500 = 6000 pens": "fails",
    "At 5% interest, 2 * 6 = 1200": "fails",
    "It costs 5 cents: 2 * 6 = 1200": "fails",
    "60 cents * 5 = $300": "fails",
    "100 cents * 5 = $500": "fails",
    "$4 * 100 = 400 cents": "holds",
    "7 / 90 = 7.9%": "fails",
    "5 / 20 = 0.25%": "left out",
    "70 - 10% = 63": "left out",
    "In thousands: 2 thousand a day, so 2 * 6 = 12,000": "left out",
}
ROUNDING = {
    "20 / 3 = 6.67": "holds",
    "20 / 3 = 7": "holds",
    "34 / 10 = 4 vans (rounded up)": "holds",
    "Rounding up, 34 / 10 = 4 vans.": "holds",
    "<<34/10=4>>4 vans, rounded up": "holds",
    "39 / 10 = 3 (round down)": "holds",
    "39 / 10 = 3 full crates": "holds",
    "3.7 * 3 = 11 (rounded)": "holds",
    "3.7 * 3 ≈ 11": "holds",
    r"44 / 14 \approx 3.14": "holds",
    "48 + 37 = 90, to the nearest ten": "holds",
    "23 / 4 = 5 with 3 left": "holds",
    "34 / 10 = 4": "fails",
    "39 / 10 = 3": "fails",
    "0.3333 * 10 = 3.3": "holds",
    "0.3333 * 10 = 3.4": "fails",
    "3.7 * 3 = 11": "fails",
    "34 / 10 = 5 vans (rounded up)": "fails",
    "34 / 10 = 4 vans (rounded down)": "fails",
    "44 / 14 ≈ 4": "fails",
    "$1.99 + $2.99 = $4.97": "fails",
    "23 / 4 = 5 remainder 2": "left out",
    "16.67 * 3 = 50": "left out",
    "6 + 60 = 5 feet 6 inches": "left out",
    "2 * 500 = 1 kg": "left out",
}
LINES = {
    "1) 2 + 5 = 7": "holds",
    "(b) 2 + 5 = 7": "holds",
    "• 2 + 5 = 7": "holds",
    "Step 2: 2 + 5 = 7": "holds",
    "so 2 + 5 = **7**": "holds",
    "**2** + **5** = **7**": "holds",
    "2 + 5 = 7 → 7 * 3 = 21": "holds",
    "2 + 5 = 7 and 2 * 4 = 8": "holds",
    "2 + 5 = 7!": "holds",
    "4€ + 5€ = 9€": "holds",
    "₹40 * 2 = ₹80": "holds",
    "US$4 * 2 = US$8": "holds",
    "20 / 5 = 4 times": "holds",
    "4 * 6 miles / hour = 24 miles / hour": "holds",
    "2 + 5 = 3 + 4 = 7": "holds",
    "✓ 2 + 5 = 8": "fails",
    "Ella tenía 2 + 5 = 8 años": "fails",
    "2 + 5 = 7 → 7 * 3 = 22": "fails",
    "2 + 5 = 3 + 4 = 8": "fails",
    "2 + 5 = 7 + 4": "left out",
    "2 + 5 = 7 " + "and on " * 1_000: "left out",
}


def answer(text: str) -> str:
    equations = find_equations(text)
    if not equations:
        return "left out"
    return "holds" if all(equation.holds for equation in equations) else "fails"


@pytest.mark.parametrize(
    ("text", "expected"),
    [pair for kind in (SIGNS, POWERS_AND_FRACTIONS, LATEX, HUNDREDS, ROUNDING, LINES) for pair in kind.items()],
)
def test_answers(text: str, expected: str) -> None:
    assert answer(text) == expected


@pytest.mark.parametrize(
    ("text", "spelled"),
    [
        (r"\(1{,}500 \times 2²\)", " 1,500 * 2^(2) "),
        ("5¾", "(5+3/4)"),
        (r"\dfrac{x}{2}", "((x)/(2))"),
        ("**9** apples", "9 apples"),
        ("$-5", "-$5"),
        (r"\unheard", UNREADABLE),
        ("}{", UNREADABLE * 2),
    ],
)
def test_one_spelling(text: str, spelled: str) -> None:
    assert plain(text) == spelled


PIECES = ["9", "(", ")", "=", "{", "{}", "²", "-", " ", "1=1", "1+1=2 ", "\\frac{", "round up ", "½", "<<1=1>>"]


def critique(text: str, width: int) -> Critique:
    """The critic's of a text that is cut into lines, each with an equals sign at its end."""
    steps = tuple(text[start : start + width] + "=1" for start in range(0, len(text), width))
    solution = Solution(text=text, steps=steps, answer="1", finish_reason="stop", tokens=len(text))
    problem = Problem(id="0", task="sums", question="?", prompt="?")
    candidate = Candidate(
        id="draft", problem=problem, solution=solution, origin="draft", component="student", sample=0, round=0
    )
    return object.__new__(CalculatorCritic).critique([candidate])[0]


@pytest.mark.parametrize("piece", PIECES)
@pytest.mark.parametrize("width", [1_000_000, 3_900])
def test_of_a_megabyte_nothing_is_read(piece: str, width: int) -> None:
    """As one line, and as many lines of a length that is read."""
    started = time.process_time()
    found = critique(piece * (1_000_000 // len(piece)), width)
    assert time.process_time() - started < 1
    assert (found.score, found.first_bad_step) == (0.5, None)


@pytest.mark.parametrize("piece", PIECES)
def test_what_is_read_takes_no_second(piece: str) -> None:
    started = time.process_time()
    critique(piece * (15_000 // len(piece)), 3_900)
    assert time.process_time() - started < 1


def test_rule_2_reads_other_currencies() -> None:
    assert results_used(["4 * ₹5 = ₹20"], ["20 + 1 = 21", "#### 21"])
    assert not results_used(["4 * ₹5 = ₹20"], ["19 + 2 = 21", "#### 21"])


def test_the_script_counts_and_samples(tmp_path: Path) -> None:
    folder = tmp_path / "gsm8k"
    folder.mkdir()
    gold = '{"question": "?", "answer": "2 + 3 = 5\\n#### 5"}\n{"question": "?", "answer": "2 + 3 = 6\\n#### 5"}\n'
    (folder / "train.jsonl").write_text(gold)
    (folder / "test.jsonl").write_text(gold)
    recorded = '{"question": "?", "model": {"solution": "2 + 3 = 9\\nA: 9", "is_correct": false}}\n'
    (folder / "example_model_solutions.jsonl").write_text(recorded)
    script = Path(__file__).parents[2] / "benchmarks" / "calculator_check.py"

    def printed(*words: str) -> str:
        ran = subprocess.run(
            [sys.executable, script, *words], env={"REFINE_EVAL_DATA": str(tmp_path), "PYTHONPATH": ":".join(sys.path)},
            capture_output=True, text=True, check=True,
        )  # fmt: skip
        return ran.stdout

    shares = printed()
    assert "gold, train: 2 solutions, 2 equations read, 1 solutions with one called wrong (50.00 %)" in shares
    assert "gold, test: rule 2 accepts 1 (50.0 %)" in shares
    assert "recorded, wrong answer: 1 solutions, 1 equations read, 1 solutions with one called wrong" in shares
    assert "WRONG: 2 + 3 = 9" in printed("--sample", "1")
