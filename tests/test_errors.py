"""The sentences of errors, whatever they repeat."""

from refine_eval.errors import UsageError


def test_a_sentence_is_one_short_line() -> None:
    assert str(UsageError("'a\nb' is no name.")) == "'a b' is no name."
    said = str(UsageError(f"No task is called {'9' * 10_000!r}. See: refine-eval tasks list"))
    assert said.startswith("No task is called '999")
    assert said.endswith("999'. See: refine-eval tasks list")
    assert len(said) == 2_000
    assert str(UsageError("This fits.")) == "This fits."
