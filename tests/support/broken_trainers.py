"""Trainers that each break the contract in one way, to prove that its checks can fail. Not installed anywhere."""

import random
from dataclasses import replace

from refine_eval.errors import StageError
from refine_eval.plugin.components import Trainer
from refine_eval.training_rows import IGNORE, Example


class SoundTrainer(Trainer):
    """Keeps the whole contract, with a loss of its own; the others change one thing."""

    name = "sound"

    def examples(self, data, tokenizer, seed):
        return [
            self.one(row.question, tokenizer.encode(sample.text), tokenizer)
            for row in data.samples
            for sample in row.samples
            if sample.text.strip()
        ]

    def one(self, question, ids, tokenizer):
        return Example(question=question, input_ids=ids, labels=[*ids[1:], tokenizer.eos_token_id])

    def loss(self, model, input_ids, labels, num_items):
        from torch.nn.functional import cross_entropy

        logits = model(input_ids=input_ids).logits.flatten(0, 1)
        return cross_entropy(logits, labels.flatten(), ignore_index=IGNORE, reduction="sum") / num_items


class SoundCriticTrainer(SoundTrainer):
    """Keeps the contract of a critic's trainer, and that of one which refuses what it cannot use."""

    name = "sound-critic"
    head = "critic"
    reads = ("label",)

    def examples(self, data, tokenizer, seed):
        if not data.labels:
            raise StageError("There are no labels; run label first.")
        return [self.scored(row, tokenizer) for row in data.labels if row.steps]

    def scored(self, row, tokenizer):
        ids = [tokenizer.encode(step)[-1] for step in row.steps]
        return Example(question=row.question, input_ids=ids, labels=[int(label > 0) for label in row.labels])


class StrangeHead(SoundTrainer):
    """Trains what there is no head for."""

    head = "reader"


class ReadsARun(SoundTrainer):
    """Reads what no stage writes."""

    reads = ("collect", "run")


class ReadsAWord(SoundTrainer):
    """Forgets the comma of a tuple."""

    reads = "collect"


class NeitherBaseNorModel(SoundTrainer):
    """Needs no base, and makes no model."""

    needs_base = False


class MakesNothing(SoundTrainer):
    """Finds every sample wanting."""

    def examples(self, data, tokenizer, seed):
        return []


class YieldsExamples(SoundTrainer):
    """Is a generator, which can be gone through only once."""

    def examples(self, data, tokenizer, seed):
        yield from super().examples(data, tokenizer, seed)


class ReturnsPairs(SoundTrainer):
    """Returns tuples for Examples."""

    def one(self, question, ids, tokenizer):
        return (question, ids)


class ForgetsTheEnd(SoundTrainer):
    """Has no label for the last token."""

    def one(self, question, ids, tokenizer):
        return Example(question=question, input_ids=ids, labels=ids[1:])


class NoTokens(SoundTrainer):
    """Makes rows of nothing."""

    def one(self, question, ids, tokenizer):
        return Example(question=question, input_ids=[], labels=[])


class TokensOfAnother(SoundTrainer):
    """Counts on a larger vocabulary."""

    def one(self, question, ids, tokenizer):
        return replace(super().one(question, ids, tokenizer), input_ids=[len(tokenizer)] * len(ids))


class LabelsBeyond(SoundTrainer):
    """Gives a generator labels that are no tokens."""

    def one(self, question, ids, tokenizer):
        return replace(super().one(question, ids, tokenizer), labels=[-1] * len(ids))


class SharesForTokens(SoundTrainer):
    """Gives a generator shares."""

    def one(self, question, ids, tokenizer):
        return replace(super().one(question, ids, tokenizer), labels=[0.5] * len(ids))


class LabelsInPercent(SoundCriticTrainer):
    """Gives a critic more than 1."""

    def scored(self, row, tokenizer):
        example = super().scored(row, tokenizer)
        return replace(example, labels=[100 * label for label in example.labels])


class FloatsAmongInts(SoundCriticTrainer):
    """Makes floats of the labels of right samples only."""

    def scored(self, row, tokenizer):
        example = super().scored(row, tokenizer)
        return replace(example, labels=list(map(float, row.labels))) if row.correct else example


class TeachesNothing(SoundTrainer):
    """Ignores every token."""

    def one(self, question, ids, tokenizer):
        return replace(super().one(question, ids, tokenizer), labels=[IGNORE] * len(ids))


class NoQuestion(SoundTrainer):
    """Names no question."""

    def one(self, question, ids, tokenizer):
        return super().one("", ids, tokenizer)


class QuestionsOfItsOwn(SoundTrainer):
    """Names prompts for questions, so that no leak would be found."""

    def one(self, question, ids, tokenizer):
        return super().one(f"Question: {question}", ids, tokenizer)


class ShufflesUnseeded(SoundTrainer):
    """Draws the order of its examples from Python's global generator."""

    def examples(self, data, tokenizer, seed):
        examples = super().examples(data, tokenizer, seed)
        random.shuffle(examples)
        return examples


class MoreEachTime(SoundTrainer):
    """Remembers, over all its instances, what it has seen."""

    seen = 0

    def examples(self, data, tokenizer, seed):
        type(self).seen += 1
        return super().examples(data, tokenizer, seed)[self.seen :]


class TakesARowForGranted(SoundTrainer):
    """Looks at the first row."""

    def examples(self, data, tokenizer, seed):
        assert data.samples[0]
        return super().examples(data, tokenizer, seed)


class TakesAWrongSampleForGranted(SoundTrainer):
    """Looks for a wrong sample of each question."""

    def examples(self, data, tokenizer, seed):
        for row in data.samples:
            next(sample for sample in row.samples if not sample.correct)
        return super().examples(data, tokenizer, seed)


class KeepsEmptyTexts(SoundTrainer):
    """Makes a row of a sample without text."""

    def examples(self, data, tokenizer, seed):
        return [
            self.one(row.question, tokenizer.encode(sample.text.strip()), tokenizer)
            for row in data.samples
            for sample in row.samples
        ]

    def one(self, question, ids, tokenizer):
        return Example(question=question, input_ids=ids, labels=list(ids))


class FailsOnEscapes(SoundTrainer):
    """Chokes on control characters."""

    def examples(self, data, tokenizer, seed):
        for row in data.samples:
            if not all(sample.text.replace("\n", "").isprintable() for sample in row.samples):
                raise ValueError("unprintable")
        return super().examples(data, tokenizer, seed)


class WritesIntoTheData(SoundTrainer):
    """Gets round the frozen records."""

    def examples(self, data, tokenizer, seed):
        object.__setattr__(data.samples[0].samples[0], "correct", None)
        return super().examples(data, tokenizer, seed)


class SharesWithoutALoss(SoundCriticTrainer):
    """Gives shares to the default loss, which counts classes."""

    def scored(self, row, tokenizer):
        example = super().scored(row, tokenizer)
        return replace(example, labels=list(map(float, row.labels)))

    def loss(self, model, input_ids, labels, num_items):
        return None


class LossByRow(SoundTrainer):
    """Forgets to take the mean."""

    def loss(self, model, input_ids, labels, num_items):
        return model(input_ids=input_ids).logits.mean(dim=(1, 2))


class LossWithoutGradient(SoundTrainer):
    """Takes the number out of the tensor's graph."""

    def loss(self, model, input_ids, labels, num_items):
        return super().loss(model, input_ids, labels, num_items).detach()


class LossAsNumber(SoundTrainer):
    """Takes the number out of the tensor."""

    def loss(self, model, input_ids, labels, num_items):
        return super().loss(model, input_ids, labels, num_items).item()


class InfiniteLoss(SoundTrainer):
    """Divides by nothing."""

    def loss(self, model, input_ids, labels, num_items):
        return super().loss(model, input_ids, labels, num_items) / 0


class IgnoresItsForm(SoundTrainer):
    """Says that it makes messages, and makes plain prompts."""

    takes_messages = True
