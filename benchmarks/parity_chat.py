"""Whether drafts of a chat model are what lm-eval writes: texts and accuracy of both on the same questions.

    python benchmarks/parity_chat.py --model FOLDER --data-dir DIR --work FOLDER

Three comparisons, all greedy and in float32: `messages` against lm-eval's hf with apply_chat_template, `turns` the same
with two few-shot examples as turns of their own, and `server`: the engine server against lm-eval's
local-chat-completions, on a server that answers with the texts of the first. Prints how many texts differ, the accuracy
of both under each of the task's filters, and whether lm-eval's is ours to the digit; a line of JSON last.

Everything written is kept in the folder `--work`: interrupted, the same command goes on; with more `--questions` the
first ones are not written again. benchmarks/real_models.py makes models for it.
"""

import argparse
import json
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from refine_eval.formats import one_line
from refine_eval.plugin.registry import registry
from refine_eval.runs.execute import RunOutcome, execute
from refine_eval.runs.settings import RunSettings
from refine_eval.terminal import Progress

TASK = "gsm8k_chat"
ASKED = "Please reason step by step"
"""What the task asks for after the question."""
Texts = dict[int, str]
"""By the question's number."""


def ours(work: Path, given: argparse.Namespace, **how: Any) -> RunOutcome:
    """A run that drafts and does nothing else; its texts are in the store in `work`."""
    settings = RunSettings(
        task=TASK,
        data_dir=given.data_dir,
        limit=given.questions,
        gen_kwargs=given.gen_kwargs,
        apply_chat_template="true",
        when="calculator",
        where="calculator",
        choose="calculator",
        refiners=(),
        selectors=("draft",),
        device="cpu",
        dtype="float32",
        results=work,
        **how,
    )
    return execute(settings, registry(), Progress(), record=False)


def theirs(model: Any, given: argparse.Namespace, kept: Path | None, shots: int = 0, **how: Any) -> dict[str, Any]:
    """lm-eval's own evaluation; its texts are kept in its cache `kept`."""
    import datasets
    from lm_eval import simple_evaluate
    from lm_eval.tasks import TaskManager
    from lm_eval.tasks._yaml_loader import load_yaml

    chat = registry().benchmarks()[TASK]
    assert chat.local_data is not None
    assert isinstance(chat.yaml, Path)
    splits = {s: datasets.Dataset.from_list(list(rows)) for s, rows in chat.local_data(given.data_dir).items()}
    found: dict[str, Any] | None = simple_evaluate(
        model,
        # A task's own 0 examples are no default to lm-eval, which a command line could change.
        tasks=[{**load_yaml(chat.yaml), "custom_dataset": lambda **_: splits, "num_fewshot": shots}],
        task_manager=TaskManager(include_defaults=False),
        apply_chat_template=True,
        limit=given.questions,
        gen_kwargs=given.gen_kwargs,
        use_cache=str(kept) if kept else None,
        bootstrap_iters=0,
        log_samples=True,
        **how,
    )
    assert found is not None
    return found


def compared(name: str, run: RunOutcome, evaluated: Mapping[str, Any]) -> dict[str, Any]:
    """The figures of a comparison, printed."""
    mine = {int(trace.problem.id.rpartition("/")[2]): trace for trace in run.traces}
    samples = [sample for sample in evaluated["samples"][TASK] if sample["filter"] == run.filter]
    texts = texts_of(evaluated)
    same = [n for n, text in texts.items() if mine[n].draft.solution.text == text]
    right = {sample["doc_id"]: bool(sample["exact_match"]) for sample in samples}
    draft = run.rows[0]
    accuracy = {
        rule: (count / len(mine), evaluated["results"][TASK][f"exact_match,{rule}"])
        for rule, count in draft.correct.items()
    }
    equal = all(mine[n].correct["draft"][run.filter] == right[n] for n in same)
    cut = sum(trace.draft.solution.finish_reason == "length" for trace in run.traces)
    print(f"{name}: {len(texts) - len(same)} of {len(texts)} texts differ; {cut} were cut off at their limit")
    for rule, (own, other) in accuracy.items():
        print(f"  {rule}: refine-eval {own:.4f}, lm-eval {other:.4f}")
    print(f"  on the {len(same)} texts that are the same both grade {'alike' if equal else 'DIFFERENTLY'}")
    for n in [n for n in texts if n not in same][:3]:
        print(f"  question {n}: {mine[n].draft.solution.text!r}\n  lm-eval's:  {texts[n]!r}")
    return {"name": name, "texts": len(texts), "differ": len(texts) - len(same), "accuracy": accuracy, "alike": equal}


def texts_of(evaluated: Mapping[str, Any]) -> Texts:
    """What lm-eval's model wrote."""
    return {sample["doc_id"]: sample["resps"][0][0] for sample in evaluated["samples"][TASK]}


@contextmanager
def recorded_server(answers: Mapping[str, str]) -> Iterator[str]:
    """The address of a chat server that answers each question with its recorded text."""

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_GET(self) -> None:
            self.answer({"object": "list", "data": [{"id": "recorded", "object": "model"}]})

        def do_POST(self) -> None:
            asked = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
            question, _, _ = asked["messages"][-1]["content"].partition(ASKED)
            text = answers[one_line(question)]
            message = {"role": "assistant", "content": text}
            choice = {"index": 0, "message": message, "finish_reason": "stop"}
            usage = {"prompt_tokens": 1, "completion_tokens": len(text.split()), "total_tokens": 1}
            self.answer({"id": "r", "object": "chat.completion", "choices": [choice], "usage": usage})

        def answer(self, body: object) -> None:
            content = json.dumps(body).encode()
            self.send_response(200)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(content)))
            self.end_headers()
            self.wfile.write(content)

        def log_message(self, *_: object) -> None:
            """Says nothing."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        yield f"http://127.0.0.1:{server.server_address[1]}/v1"
    finally:
        server.shutdown()
        server.server_close()


def main() -> None:
    """Compare and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", required=True, help="folder of a chat model")
    parser.add_argument("--data-dir", type=Path, required=True, help="folder with gsm8k/train.jsonl and test.jsonl")
    parser.add_argument("--work", type=Path, required=True, help="where texts are kept")
    parser.add_argument("--questions", type=int, default=50)
    parser.add_argument("--batch-size", type=int, default=1, help="lm-eval's; its texts may depend on it")
    parser.add_argument("--gen-kwargs", default="max_gen_toks=300")
    given = parser.parse_args()

    from lm_eval.models.huggingface import HFLM

    given.work.mkdir(parents=True, exist_ok=True)
    model = HFLM(pretrained=given.model, dtype="float32", device="cpu", batch_size=given.batch_size)
    found, first = [], None
    for name, shots in (("messages", 0), ("turns", 2)):
        evaluated = theirs(model, given, given.work / f"lm-eval-{name}", shots, fewshot_as_multiturn=True)
        student = {"pretrained": given.model}
        run = ours(given.work, given, num_fewshot=shots, fewshot_as_multiturn=True, model_options=student)
        found.append(compared(name, run, evaluated))
        first = first or evaluated
    del model
    assert first is not None
    answers = {one_line(sample["doc"]["question"]): sample["resps"][0][0] for sample in first["samples"][TASK]}
    if find_spec("tenacity") is None:
        print("server: left out, as lm-eval's API classes need packages: pip install 'lm-eval[api]'")
        print(json.dumps(found))
        return
    with recorded_server(answers) as url:
        how = f"model=recorded,base_url={url}/chat/completions,num_concurrent=1,tokenizer_backend=None"
        evaluated = theirs("local-chat-completions", given, None, model_args=how)
        run = ours(given.work, given, model="server", model_options={"base_url": url, "identity": str(given.model)})
    found.append(compared("server", run, evaluated))
    print(json.dumps(found))


if __name__ == "__main__":
    main()
