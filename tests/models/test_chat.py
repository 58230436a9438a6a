"""Models with a chat template: messages rendered with it, and what people are told of it, once."""

import json
from dataclasses import replace
from pathlib import Path
from typing import Any
from unittest import mock

import pytest
import tiny_models as tiny
import yaml
from in_process import error_line, refine_eval
from small_run import PROBLEMS, SmallRun

from refine_eval.data import ChatForm, Message, Prompt, Request
from refine_eval.engines.lm_eval_engine import LmEvalEngine
from refine_eval.engines.recorded import RecordedEngine
from refine_eval.engines.replicas.engine import ReplicatedEngine
from refine_eval.engines.replicas.worker import Setup, Worker
from refine_eval.engines.scripted import ScriptedEngine
from refine_eval.engines.transformers_engine import TransformersEngine, TransformersOptions
from refine_eval.errors import ModelError, UsageError
from refine_eval.formats import continued, prefill_of
from refine_eval.models.chat import TRAINED_HERE, ChatTemplate, UnrenderedError
from refine_eval.plugin.options import make_options

ADVICE = "has a chat template, which is not applied"
RUN = ("--limit", "1", "--max-gen-toks", "2", "--critic", "calculator", "--refiner", "resample", "--selector", "vote")


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny.chat_model(tmp_path_factory.mktemp("models") / "chatty")


def test_a_model_with_a_chat_template_gets_one_line_of_advice(folder: Path, tmp_path: Path) -> None:
    model = ("--model-args", f"pretrained={folder}", "--device", "cpu")
    twice = refine_eval("run", *RUN, *model, "--tasks", "apples,gsm8k", "--data-dir", _data(tmp_path), cwd=tmp_path)
    (line,) = (line for line in twice.stderr.splitlines() if ADVICE in line)
    assert line.startswith(f"Note: the model {folder} {ADVICE}")
    again = refine_eval("run", *RUN, *model, "--json", cwd=tmp_path)
    assert ADVICE in again.stderr, "also where every text was stored before"
    assert ADVICE not in refine_eval("run", *RUN, *model, "-q", cwd=tmp_path).stderr


def _data(folder: Path) -> str:
    """GSM8K with eight invented problems a split."""
    (folder / "gsm8k").mkdir()
    rows = [
        json.dumps({"question": f"Ann has {n} pears and gets 3. How many?", "answer": f"{n}+3={n + 3}\n#### {n + 3}"})
        for n in range(16)
    ]
    for split, some in (("train", rows[:8]), ("test", rows[8:])):
        (folder / "gsm8k" / f"{split}.jsonl").write_text("\n".join(some) + "\n")
    return str(folder)


def test_the_bundled_student_gets_no_advice(tmp_path: Path) -> None:
    assert ADVICE not in refine_eval("run", *RUN, cwd=tmp_path).stderr


def test_a_model_that_was_trained_here_on_plain_prompts_gets_no_advice(tmp_path: Path) -> None:
    folder = tiny.chat_model(tmp_path / "student")
    assert ADVICE in _advice(folder)
    (folder / TRAINED_HERE).write_text("{}")
    assert _advice(folder) == ""


def test_lm_evals_own_class_gets_the_same_advice(folder: Path, tmp_path: Path) -> None:
    for model, expected in ((folder, True), (tiny.language_model(tmp_path / "plain"), False)):
        engine = LmEvalEngine(make_options(LmEvalEngine, {"model": "hf", "pretrained": str(model)}))
        engine.open(tiny.CPU)
        assert (ADVICE in engine.advice) is expected


def _advice(folder: Path) -> str:
    engine = TransformersEngine(TransformersOptions(pretrained=str(folder)))
    engine.open(tiny.CPU)
    engine.close()
    return engine.advice


# Messages.

NO_SYSTEM = "{% if messages[0]['role'] == 'system' %}{{ raise_exception('no system (role)') }}{% endif %}"
STRICT = "{% if messages | length > 1 %}{{ raise_exception('one turn only') }}{% endif %}" + tiny.CHAT_TEMPLATE
OTHER_ROLES = (
    "{% for message in messages %}{% if message['role'] not in ('human', 'model') %}"
    "{{ raise_exception('there is no role ' ~ message['role'] ~ ' here') }}{% endif %}{% endfor %}"
)
THINKS = "{{ 'thinking ' ~ (enable_thinking | default('as it likes')) }}" + tiny.CHAT_TEMPLATE
SYSTEM, USER = Message(role="system", content="be brief"), Message(role="user", content="how many? ")


def rendered(template: Any, *messages: Message, form: ChatForm | None = None) -> str:
    tokenizer = tiny.tokenizer()
    tokenizer.chat_template = template
    return ChatTemplate("chatty", tokenizer, form or ChatForm()).text_of(messages)


def test_a_template_renders_messages_and_leaves_plain_prompts_alone() -> None:
    assert rendered(tiny.CHAT_TEMPLATE, SYSTEM, USER) == "system(be brief)user(how many? )assistant("
    assert ChatTemplate("chatty", tiny.tokenizer(), None).text_of("plain") == "plain"


@pytest.mark.parametrize("trim", ["", " | trim"])
def test_a_prefill_is_continued_where_it_ends(trim: str) -> None:
    template = tiny.CHAT_TEMPLATE.replace("message['content']", f"(message['content']{trim})")
    begun = Message(role="assistant", content="3+4=7\n")
    assert rendered(template, USER, begun).endswith("assistant(3+4=7\n")


def test_the_template_is_asked_for_a_thought_only_where_the_user_says() -> None:
    said = {value: rendered(THINKS, USER, form=ChatForm(enable_thinking=value)) for value in (None, True, False)}
    assert [text.partition("user")[0] for text in said.values()] == [
        "thinking as it likes",
        "thinking True",
        "thinking False",
    ]


def test_of_several_templates_the_named_one_renders() -> None:
    several = {"default": tiny.CHAT_TEMPLATE, "short": "{{ messages[-1]['content'] }}!"}
    assert rendered(several, USER).startswith("user(")
    assert rendered(several, USER, form=ChatForm(template="short")) == "how many? !"


@pytest.mark.parametrize(
    ("template", "form", "error", "said"),
    [
        (None, ChatForm(), ModelError, "has no chat template in its tokenizer"),
        (tiny.CHAT_TEMPLATE, ChatForm(template="short"), UsageError, "has one chat template, which has no name"),
        ({"long": "x"}, ChatForm(template="lond"), UsageError, "has no chat template 'lond'. Did you mean 'long'?"),
        ({"long": "x", "short": "y"}, ChatForm(), UsageError, "--apply-chat-template names one: long, short."),
        (STRICT, ChatForm(), UnrenderedError, "does not take (one turn only); use another"),
        (OTHER_ROLES, ChatForm(), UnrenderedError, "does not take (there is no role user here); use another"),
        ("{{ 1 / 0 }}", ChatForm(), UnrenderedError, "does not take (division by zero)"),
        ("{% for x in %}", ChatForm(), UnrenderedError, "does not take (Expected an expression"),
    ],
    ids=[
        *("none", "a name too many", "unknown name", "no default", "refuses", "wants other roles", "fails"),
        "no template at all",
    ],
)
def test_what_cannot_be_rendered_is_said_in_one_sentence(
    template: Any, form: ChatForm, error: type[Exception], said: str
) -> None:
    turns = (USER, Message(role="assistant", content="7"), USER)
    with pytest.raises(error) as raised:
        rendered(template, *turns, form=form)
    assert said in str(raised.value)
    assert "\n" not in str(raised.value)


def test_a_system_text_that_a_template_refuses_is_left_out_and_told_of() -> None:
    tokenizer = tiny.tokenizer()
    tokenizer.chat_template = NO_SYSTEM + tiny.CHAT_TEMPLATE
    template = ChatTemplate("chatty", tokenizer, ChatForm())
    assert template.advice == ""
    assert template.text_of((SYSTEM, USER)) == "user(how many? )assistant("
    assert template.advice.startswith("Note: the chat template of chatty takes no system text")


def test_messages_that_are_not_taken_leave_one_text_unwritten(tmp_path: Path) -> None:
    engine = TransformersEngine(TransformersOptions(pretrained=str(tiny.chat_model(tmp_path / "strict", STRICT))))
    engine.chat = ChatForm()
    engine.open(tiny.CPU)
    requests = [
        replace(tiny.request("q", n), prompt=prompt) for n, prompt in enumerate([(USER,), (SYSTEM, USER, USER)])
    ]
    written = dict(engine.generate(requests))
    engine.close()
    assert written[0].unwritten is None
    assert (written[1].unwritten or "").startswith("messages that the model's chat template does not take (")


def test_keys_of_messages_hold_all_that_renders_them_and_those_of_plain_prompts_are_as_ever(tmp_path: Path) -> None:
    def key(prompt: Prompt, form: ChatForm | None = None, template: str = tiny.CHAT_TEMPLATE) -> str:
        engine = TransformersEngine()
        engine.chat, tokenizer = form, tiny.tokenizer()
        tokenizer.chat_template = template
        engine.template_hash = ChatTemplate("chatty", tokenizer, form).hash
        return engine.cache_key_of(replace(tiny.request("q"), prompt=prompt))

    assert key("plain") == key("plain", ChatForm(template="x", enable_thinking=True), STRICT) == "plain"
    different = [
        key((USER,)),
        key((SYSTEM, USER)),
        key((USER, Message(role="assistant", content=""))),
        key((USER,), ChatForm(enable_thinking=True)),
        key((USER,), ChatForm(enable_thinking=False)),
        key((USER,), ChatForm(template="short")),
        key((USER,), template=STRICT),
        key("how many? "),
    ]
    assert len(set(different)) == len(different)
    assert key((USER,), ChatForm()) == key((USER,))


def test_an_engine_without_chat_says_so_before_it_is_asked(tmp_path: Path) -> None:
    run = SmallRun(tmp_path)
    problem = replace(PROBLEMS[0], prompt=(USER,))
    with pytest.raises(UsageError, match="Engine 'plain-engine' takes plain prompts only, and 'draft' gives it"):
        run.pipeline.run([problem])


def test_continued_prompts_are_prefilled_messages() -> None:
    begun = continued((USER,), "3+")
    assert begun == (USER, Message(role="assistant", content="3+"))
    assert continued(begun, "4") == (USER, Message(role="assistant", content="3+4"))
    assert continued((USER,), "") == (USER,)
    assert continued("plain ", "text") == "plain text"
    assert (prefill_of(begun), prefill_of((USER,)), prefill_of("plain")) == ("3+", "", "")


def test_the_advice_ends_with_the_option(folder: Path, tmp_path: Path) -> None:
    model = ("--model-args", f"pretrained={folder}", "--device", "cpu")
    done = refine_eval("run", *RUN, *model, "--apply-chat-template", "--name", "chat", cwd=tmp_path)
    assert ADVICE not in done.stderr
    record = yaml.safe_load((tmp_path / "results" / "runs" / "chat" / "run.yaml").read_text())
    assert record["task"]["apply_chat_template"] == "true"
    assert not {"system_instruction", "gen_kwargs", "enable_thinking", "fewshot_as_multiturn"} & record["task"].keys()
    refine_eval("run", *RUN, *model, "--name", "plain", cwd=tmp_path)
    plain = yaml.safe_load((tmp_path / "results" / "runs" / "plain" / "run.yaml").read_text())
    assert "apply_chat_template" not in plain["task"]
    line = error_line("run", *RUN, *model, "--name", "chat", cwd=tmp_path)
    assert "holds another run, with task.apply_chat_template 'true' and not None" in line


def test_replicas_render_messages_as_their_engine_does(folder: Path) -> None:
    inner = TransformersEngine(TransformersOptions(pretrained=str(folder)))
    inner.chat = ChatForm(enable_thinking=True)
    outer = ReplicatedEngine(inner, workers=1)
    assert outer.takes_messages
    assert not outer.only_messages
    # What Ray runs in a process of its own.
    worker = Worker(Setup(kind=TransformersEngine, options=inner.options, folder="", compute=tiny.CPU))
    identity, _, (advice, template_hash, parameters, thinking) = worker.open(outer._named)
    inner.template_hash = template_hash
    request = replace(tiny.request("q"), prompt=(SYSTEM, USER))
    ((_, replicated),) = worker.work(outer._named, [request])
    alone = TransformersEngine(inner.options)
    alone.chat = inner.chat
    alone.open(tiny.CPU)
    ((_, expected),) = alone.generate([request])
    assert (advice, identity, parameters) == ("", alone.identity(), alone.model_parameters)
    assert thinking == alone.thinking
    assert replicated.text == expected.text
    assert outer.cache_key_of(request) == alone.cache_key_of(request)


def test_recorded_solutions_do_not_depend_on_messages(tmp_path: Path) -> None:
    (tmp_path / "said.jsonl").write_text(json.dumps({"question": "q", "said": "3"}))
    engine = RecordedEngine(RecordedEngine.Options(path=str(tmp_path / "said.jsonl"), field="said"))
    engine.open(tiny.CPU)
    plain, chat = tiny.request("q"), replace(tiny.request("q"), prompt=(USER,))
    assert [g.text for _, g in engine.generate([plain, chat])] == ["3", "3"]
    assert engine.cache_key_of(plain) == engine.cache_key_of(chat)


def test_rollouts_of_a_chat_model_go_on_from_the_kept_steps(tmp_path: Path) -> None:
    seen: list[Prompt] = []

    def says(request: Request) -> str:
        seen.append(request.prompt)
        return ("1+1=2\n#### 2", "1+1=3\n#### 3")[request.sample % 2] if request.purpose == "sample" else "#### 0"

    def made(*_: object) -> ScriptedEngine:
        engine = ScriptedEngine.from_function(says)
        engine.chat = ChatForm()
        return engine

    samples = ("collect", "-q", "--limit", "2", "--samples", "2", "--num-fewshot", "0", "--out", "samples")
    system = ("--apply-chat-template", "--system-instruction", "Add with care.")
    with (
        mock.patch("refine_eval.stages.collect.make_student", made),
        mock.patch("refine_eval.stages.label.make_student", made),
        mock.patch("refine_eval.stages.label.check_outcomes"),
    ):
        refine_eval(*samples, *system, cwd=tmp_path)
        refine_eval("label", "-q", "samples", "--rollouts", "1", "--naive", "--out", "labels", cwd=tmp_path)
    settings = yaml.safe_load((tmp_path / "samples" / "stage.yaml").read_text())["settings"]
    assert (settings["apply_chat_template"], settings["system_instruction"]) == ("true", "Add with care.")
    drawn, rolled = (set(map(prefill_of, some)) for some in (seen[:4], seen[4:]))
    assert drawn == {""}
    assert {"1+1=2\n", "1+1=3\n"} <= rolled
    assert {prompt[0] for prompt in seen} == {Message(role="system", content="Add with care.")}
