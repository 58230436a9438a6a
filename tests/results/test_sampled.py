"""What records tell of samples: which answers are equal, and whose scores hold for fewer."""

from pathlib import Path

from in_process import refine_eval

from refine_eval.results.equal_cost import equal_cost
from refine_eval.results.records import keeps_texts, read_run
from refine_eval.results.sampled import read_sampled


def test_a_record_without_texts_tells_which_answers_are_equal(tmp_path: Path) -> None:
    refine_eval(
        *("run", "--limit", "20", "--critic", "calculator", "--refiner", "resample", "--resample-samples", "3"),
        *("--name", "mine", "-q"),
        cwd=tmp_path,
    )
    refine_eval("publish", "results/runs/mine", cwd=tmp_path)
    own, small = (read_sampled(tmp_path / "results" / place / "mine") for place in ("runs", "published"))
    assert not keeps_texts(tmp_path / "results" / "published" / "mine")
    assert (own.has_answers, small.has_answers) == (True, True)
    found = equal_cost([small], "resample")
    assert found == equal_cost([own], "resample")
    assert not found.missing


def test_a_critic_that_scores_samples_by_the_others_would_score_fewer_otherwise(tmp_path: Path) -> None:
    run = ("run", "--limit", "20", "--critic", "agreement", "--refiner", "resample", "--curves")
    for name, samples in (("shared", "4"), ("apart", "4")):
        own = ("--agreement-temperature", "1.0") if name == "apart" else ()
        done = refine_eval(
            *(*run, "--resample-samples", samples, "--agreement-samples", samples, "--name", name, *own), cwd=tmp_path
        )
        ways = {each.way for each in read_run(tmp_path / "results" / "runs" / name).curves}
        assert ways == ({"pass", "maj"} if name == "shared" else {"pass", "best-of", "maj", "weighted-maj"})
        assert ("'agreement' scored a sample by the others" in done.stderr) == (name == "shared")
    record = read_run(tmp_path / "results" / "runs" / "shared")
    assert record.shared_texts == ("agreement",)
    said = equal_cost([read_sampled(tmp_path / "results" / "runs" / "shared")], "resample")
    assert said.missing.keys() == {"best-of", "weighted-maj"}
    assert "'agreement' scored a sample by the others" in said.missing["best-of"]
    assert not equal_cost([read_sampled(tmp_path / "results" / "runs" / "apart")], "resample").missing
