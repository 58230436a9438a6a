"""The bundled refiners and selectors, and the critics that need no training. Hooks only: classes load when asked for.

Refiners: `local` and `global` (GLoRe), `resample` (fresh samples: best-of-N), `continue` (local without training),
`wait` (the control), `rewrite` (by prompt), `merge` (of all candidates). Selectors: `rerank`, `gate`, `vote`,
`weighted-vote`, `select-by-prompt`, `draft`, `oracle`. Critics: `calculator`, `agreement`, `random`, `oracle`,
`oracle-steps`.
"""

from refine_eval import Critic, Refiner, Selector, Trainer, hookimpl


@hookimpl
def refine_eval_critics() -> list[type[Critic]]:
    """The critics that need no training, the control and the two oracles."""
    from refine_eval_refiners import critics

    return [
        critics.AgreementCritic,
        critics.CalculatorCritic,
        critics.OracleCritic,
        critics.OracleStepsCritic,
        critics.RandomCritic,
    ]


@hookimpl
def refine_eval_refiners() -> list[type[Refiner]]:
    """The paper's two refiners, those without training, and the baseline of fresh samples."""
    from refine_eval_refiners.continue_refiner import ContinueRefiner
    from refine_eval_refiners.global_refiner import GlobalRefiner
    from refine_eval_refiners.local_refiner import LocalRefiner
    from refine_eval_refiners.merge_refiner import MergeRefiner
    from refine_eval_refiners.resample import ResampleRefiner
    from refine_eval_refiners.rewrite_refiner import RewriteRefiner
    from refine_eval_refiners.wait_refiner import WaitRefiner

    return [
        ContinueRefiner,
        GlobalRefiner,
        LocalRefiner,
        MergeRefiner,
        ResampleRefiner,
        RewriteRefiner,
        WaitRefiner,
    ]


@hookimpl
def refine_eval_selectors() -> list[type[Selector]]:
    """The ways to choose among a problem's candidates."""
    from refine_eval_refiners import selectors
    from refine_eval_refiners.select_by_prompt import SelectByPromptSelector

    return [
        selectors.DraftSelector,
        selectors.GateSelector,
        selectors.OracleSelector,
        selectors.RerankSelector,
        SelectByPromptSelector,
        selectors.VoteSelector,
        selectors.WeightedVoteSelector,
    ]


@hookimpl
def refine_eval_trainers() -> list[type[Trainer]]:
    """The trainers of the two refiners."""
    from refine_eval_refiners.trainers import GlobalTrainer, LocalTrainer

    return [GlobalTrainer, LocalTrainer]
