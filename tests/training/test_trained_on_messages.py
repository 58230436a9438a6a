"""Models trained on messages, or on steps that are not lines: what they learn is what they read when they run."""

import json
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import tiny_models as tiny
from in_process import error_line, refine_eval
from stage_folders import QUESTION, SAMPLES, collected, data_of, labelled

from refine_eval.critics.token_classifier import TrainedCriticOptions
from refine_eval.data import Critique, Message, ScoredCandidate
from refine_eval.errors import ModelError, StageError, UsageError
from refine_eval.formats import PromptForm, global_prompt, local_prompt, student_prompt
from refine_eval.models.tokens import encode_steps, first_tokens
from refine_eval.plugin.components import Trainer
from refine_eval.plugin.registry import registry
from refine_eval.plugin.templates import system_text
from refine_eval.runs.settings import RunSettings, SessionSettings
from refine_eval.runs.trained import settled, steps_notes
from refine_eval.terminal import Progress
from refine_eval.testing import ToyRuntime, toy_tokenizer
from refine_eval.training.examples import completion_example, critic_example
from refine_eval.training.settings import FitSettings, TrainSettings
from refine_eval.training.train import train_stage
from refine_eval.training.trainers import SftTrainer
from refine_eval.training_rows import IGNORE, Example
from refine_eval_orm.critic import OrmCritic
from refine_eval_orm.trainers import OrmTrainer
from refine_eval_refiners.global_refiner import GlobalRefiner
from refine_eval_refiners.local_refiner import LocalRefiner
from refine_eval_refiners.model_refiner import ModelOptions
from refine_eval_refiners.trainers import GlobalTrainer, GlobalTrainerOptions, LocalTrainer

CHAT = PromptForm(messages=True, system="x")


def chatty(template: Any = tiny.CHAT_TEMPLATE, tokenizer: Any = None) -> Any:
    tokenizer = tokenizer or toy_tokenizer()
    tokenizer.chat_template = template
    return tokenizer


def read_of(example: Example) -> str:
    """What a generator's example has before the completion."""
    learnt = next(index for index, label in enumerate(example.labels) if label != IGNORE)
    return str(toy_tokenizer().decode(example.input_ids[: learnt + 1]))


# Messages.


def test_a_generator_learns_from_the_rendered_messages() -> None:
    example = completion_example(chatty(), QUESTION, "how", "3", CHAT, "1+2=")
    assert read_of(example) == "system(x)user(how)assistant(1+2="
    assert example.labels[-1] == toy_tokenizer().eos_token_id
    plain = completion_example(chatty(), QUESTION, "how", "3", begun="1+2=")
    assert plain == completion_example(toy_tokenizer(), QUESTION, "how1+2=", "3")


def test_a_critic_learns_from_what_it_reads_when_it_runs() -> None:
    example = critic_example(chatty(), QUESTION, ["1+2=3", "3"], [1, 0], CHAT)
    ids, ends = encode_steps(chatty(), QUESTION, ["1+2=3", "3"], form=CHAT)
    assert (example.input_ids, [example.labels[end] for end in ends]) == (ids, [1, 0])
    assert toy_tokenizer().decode(ids).startswith(f"system(x)user({student_prompt(QUESTION)})assistant(1+2=3\n")


def test_the_beginning_of_text_stands_once() -> None:
    tokenizer: Any = lambda text: SimpleNamespace(input_ids=[7])  # noqa: E731
    tokenizer.bos_token, tokenizer.bos_token_id = "<s>", 7
    assert (first_tokens(tokenizer, "how"), first_tokens(tokenizer, "<s>user"), first_tokens(tokenizer)) == (
        [7],
        [],
        [7],
    )


def test_each_trainer_makes_messages_of_its_prompts(tmp_path: Path) -> None:
    samples, labels = data_of(collected(tmp_path / "s", SAMPLES)), data_of(labelled(tmp_path / "l"))
    wrong, bad = ("1+2=4", "#### 4"), ("1+2=3", "3*4=0", "#### 0")
    local = local_prompt(QUESTION, bad, 1).removesuffix("1+2=3\n")
    for trainer, data, text, begun in (
        (SftTrainer(), samples, student_prompt(QUESTION), ""),
        (GlobalTrainer(GlobalTrainerOptions(right_share=0)), samples, global_prompt(QUESTION, wrong), ""),
        (LocalTrainer(), labels, local, "1+2=3\n"),
    ):
        trainer.form = CHAT
        assert read_of(trainer.examples(data, chatty(), 0)[0]) == f"system(x)user({text})assistant({begun}"
    critic = OrmTrainer()
    critic.form = CHAT
    ids, _ = encode_steps(chatty(), QUESTION, ("1+2=3", "#### 3"), form=CHAT)
    assert critic.examples(samples, chatty(), 0)[0].input_ids == ids


@pytest.mark.parametrize(
    ("template", "error", "said"),
    [
        (None, ModelError, "has no chat template in its tokenizer"),
        (
            "{{ raise_exception('no') }}",
            StageError,
            "The trainer makes messages that the model's chat template does not",
        ),
    ],
    ids=["none", "refuses"],
)
def test_a_base_that_takes_no_messages_is_one_sentence(template: Any, error: type[Exception], said: str) -> None:
    with pytest.raises(error, match=said):
        completion_example(chatty(template), QUESTION, "how", "3", CHAT)
    with pytest.raises(error, match=said):
        critic_example(chatty(template), QUESTION, ["3"], [1], CHAT)


class PlainTrainer(Trainer):
    """Knows nothing of messages."""

    name = "plain-trainer"


def test_what_cannot_be_trained_so_is_refused_at_once(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="what a message says: add --apply-chat-template"):
        TrainSettings(system_instruction="Add.")
    settings = TrainSettings(base="x", apply_chat_template="true")
    with pytest.raises(UsageError, match="'plain-trainer' makes plain prompts only; leave out --apply-chat-template"):
        train_stage(PlainTrainer(), [], settings, FitSettings(), out=tmp_path / "o", data_dir=None, progress=None)  # type: ignore[arg-type]
    assert TrainSettings(apply_chat_template="false").form == PromptForm()
    assert TrainSettings(apply_chat_template="short").chat_choices == {"apply_chat_template": "short"}
    assert TrainSettings().chat_choices == {}


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A student and an ORM trained on messages, from one base."""
    place = tmp_path_factory.mktemp("trained")
    tiny.chat_model(place / "base")
    collected(place / "samples", SAMPLES)
    how = ("--base", "base", "--steps", "2", "--held-out", "0", "-q", "--apply-chat-template")
    for name in ("sft", "orm"):
        refine_eval("train", name, "samples", *how, "--system-instruction", "x", "--out", name, cwd=place)
    return place


def test_the_card_says_how_it_was_trained(trained: Path) -> None:
    reads = {"messages": True, "template": None, "system_instruction": "x", "steps": "lines"}
    assert json.loads((trained / "sft" / "training.json").read_text())["reads"] == reads
    said = "It reads messages, rendered with its chat template, with the system text 'x'; steps are cut by the splitter"
    assert said in (trained / "sft" / "README.md").read_text()


def test_a_run_asks_its_student_as_it_was_trained(trained: Path, tmp_path: Path) -> None:
    run = ("run", "--limit", "1", "--max-gen-toks", "2", "--critic", "calculator", "--refiner", "resample", "-q")
    student = ("--resample-samples", "1", "--selector", "vote", "--model-args", f"pretrained={trained / 'sft'}")
    refine_eval(*run, *student, "--device", "cpu", "--name", "as-trained", cwd=tmp_path)
    line = error_line(*run, *student, "--apply-chat-template", "false", "--name", "as-trained", cwd=tmp_path)
    assert "with task.apply_chat_template 'true' and not None" in line
    refine_eval("collect", "-q", "--limit", "1", "--samples", "1", *student[-2:], "--out", "drawn", cwd=tmp_path)
    assert "system_instruction: x" in (tmp_path / "drawn" / "stage.yaml").read_text()


def test_what_the_user_says_comes_first(trained: Path) -> None:
    options = {"pretrained": str(trained / "sft")}
    found = settled(RunSettings(model_options=options), registry())
    assert (found.apply_chat_template, found.system_instruction, found.steps) == ("true", "x", None)
    found = settled(RunSettings(model_options=options, apply_chat_template="false", steps="sentences"), registry())
    assert (found.messages, found.system_instruction, found.steps) == (False, None, "sentences")
    found = settled(RunSettings(model_options=options, system_instruction="Add up."), registry())
    assert (found.messages, found.system_instruction) == (True, "Add up.")
    assert settled(RunSettings(), registry()) == RunSettings()


def test_a_card_cannot_have_a_file_read(trained: Path, tmp_path: Path) -> None:
    (tmp_path / "secret.txt").write_text("mine")
    card = json.loads((trained / "sft" / "training.json").read_text())
    card["reads"]["system_instruction"] = str(tmp_path / "secret.txt")
    (tmp_path / "training.json").write_text(json.dumps(card))
    found = settled(SessionSettings(model_options={"pretrained": str(tmp_path)}), registry())
    assert system_text(found.system_instruction) == str(tmp_path / "secret.txt")
    assert type(found.chat_choices["system_instruction"]) is str, "records are YAML"


def test_a_critic_reads_as_it_was_trained_unless_the_user_says(trained: Path) -> None:
    def critic(**options: Any) -> Any:
        made = OrmCritic(TrainedCriticOptions(model=str(trained / "orm"), **options))
        made.open(tiny.CPU)
        return made

    candidate = tiny.candidate("how", "1+2=3\n#### 3")
    as_trained, plain = critic(), critic(prompts="plain")
    assert as_trained.form == CHAT
    assert ":messages=" in as_trained.identity()
    assert plain.identity() == as_trained.identity().replace(as_trained.identity().split(":")[5] + ":", "")
    (found,), (other,) = as_trained.critique([candidate]), plain.critique([candidate])
    assert found.step_scores != other.step_scores
    ids, ends = encode_steps(chatty(tokenizer=tiny.tokenizer()), "how", candidate.solution.steps, form=CHAT)
    assert found.step_scores == pytest.approx(as_trained._model.scores([(ids, ends)])[0])
    assert found.read_tokens == len(ids)


def test_a_critic_without_a_template_cannot_read_messages(tmp_path: Path) -> None:
    critic = OrmCritic(TrainedCriticOptions(model=str(tiny.critic(tmp_path / "c")), prompts="messages"))
    with pytest.raises(ModelError, match=r"has no chat template .*say --NAME-prompts plain"):
        critic.open(tiny.CPU)
    reading = chatty("{{ raise_exception('no') }}", tiny.tokenizer())
    reading.save_pretrained(tmp_path / "c")
    with pytest.raises(ModelError, match=r"^The critic orm is to read messages that .* pass --orm-prompts plain\.$"):
        critic.open(tiny.CPU)


def test_refiners_ask_their_model_as_it_was_trained(trained: Path) -> None:
    steps = ("1+2=4", "#### 4")
    candidate = tiny.candidate(QUESTION, "\n".join(steps))
    judged = ScoredCandidate(
        candidate=candidate, critique=Critique(score=0.1, step_scores=(0.9, 0.1), first_bad_step=1)
    )
    system = Message(role="system", content="x")
    kept = Message(role="assistant", content="1+2=4\n")
    local = local_prompt(QUESTION, steps, 1)
    for refiner, text, begun in (
        (GlobalRefiner, global_prompt(QUESTION, steps), ()),
        (LocalRefiner, local.removesuffix("1+2=4\n"), (kept,)),
    ):
        asked = []
        for prompts in ("as-trained", "messages", "plain"):
            runtime = ToyRuntime()
            made = refiner(ModelOptions(model=str(trained / "sft"), prompts=prompts))
            made.open(runtime)
            made.refine([judged])
            asked += runtime.prompts
        user = Message(role="user", content=text)
        assert asked[0] == asked[1] == (system, user, *begun)
        assert asked[2] == text + "".join(message.content for message in begun)


# Steps.

TEXT = "1+2=3\n3\n\n3*4=12\n\n#### 12"
PARAGRAPHS = [(QUESTION, [(TEXT, True), (TEXT.replace("12", "0"), False)])]


def by_paragraphs(text: str) -> list[int]:
    ends = [at + 2 for at in range(len(text)) if text.startswith("\n\n", at)]
    return [0, *ends, len(text)]


@pytest.fixture
def paragraphs(tmp_path: Path) -> Path:
    return collected(tmp_path / "paragraphs", PARAGRAPHS, by_paragraphs, steps="paragraphs")


def test_samples_are_trained_on_where_they_are_cut(paragraphs: Path) -> None:
    data = data_of(paragraphs)
    right, wrong = OrmTrainer().examples(data, toy_tokenizer(), 0)
    assert [label for label in right.labels if label != IGNORE] == [1, 1, 1]
    assert [label for label in wrong.labels if label != IGNORE] == [0, 0, 0]
    ids, _ = encode_steps(toy_tokenizer(), QUESTION, ("1+2=3\n3", "3*4=12", "#### 12"))
    assert right.input_ids == ids
    (refined,) = GlobalTrainer(GlobalTrainerOptions(right_share=0)).examples(data, toy_tokenizer(), 0)
    # The draft as the refiner reads it when it runs, and the solution to the byte.
    read = global_prompt(QUESTION, ("1+2=3\n3", "3*4=0", "#### 0")) + TEXT
    assert toy_tokenizer().decode(refined.input_ids) == read
    (student,) = SftTrainer().examples(data, toy_tokenizer(), 0)
    assert toy_tokenizer().decode(student.input_ids) == student_prompt(QUESTION) + TEXT


def train(out: Path, *inputs: Path) -> Any:
    base = str(tiny.language_model(out.parent / "base"))
    settings = TrainSettings(base=base, held_out=0.0)
    return train_stage(
        OrmTrainer(), inputs, settings, FitSettings(steps=1), out=out, data_dir=None, progress=Progress(quiet=True)
    )


def test_the_card_says_the_splitter_and_runs_cut_by_it(paragraphs: Path, tmp_path: Path) -> None:
    train(tmp_path / "orm", paragraphs)
    options = {("critic", "orm"): {"model": str(tmp_path / "orm")}}
    assert settled(RunSettings(options=options), registry()).steps == "paragraphs"
    assert settled(RunSettings(options=options, when="calculator", choose="calculator"), registry()).steps is None
    settings = settled(RunSettings(options=options, steps="lines"), registry())
    assert settings.steps is None
    (note,) = steps_notes(settings, registry())
    assert note == (
        "Note: the model of orm was trained on steps by 'paragraphs', and this run cuts by 'lines'; --steps paragraphs "
        "cuts as it was trained."
    )
    assert steps_notes(settled(RunSettings(options=options), registry()), registry()) == []


def test_samples_that_do_not_say_where_they_are_cut_are_refused(tmp_path: Path) -> None:
    old = collected(tmp_path / "old", PARAGRAPHS, steps="paragraphs")
    with pytest.raises(StageError, match="is cut into steps by 'paragraphs' and does not say where; collect again"):
        train(tmp_path / "orm", old)


def test_inputs_that_are_cut_in_two_ways_are_refused(paragraphs: Path, tmp_path: Path) -> None:
    lines = collected(tmp_path / "lines", SAMPLES)
    with pytest.raises(StageError, match=r"by 'lines' and .*by 'paragraphs', and a model learns one of them"):
        train(tmp_path / "orm", lines, paragraphs)


def test_cuts_that_do_not_fit_are_damage(tmp_path: Path) -> None:
    folder = collected(tmp_path / "spoilt", PARAGRAPHS, lambda text: [0, 3], steps="paragraphs")
    with pytest.raises(StageError, match=r"line 1 is damaged \(cuts that do not fit its text: \[0, 3\]\)"):
        data_of(folder)
