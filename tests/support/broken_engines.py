"""Engines that each break the contract in one way, and one that keeps it. Not installed anywhere."""

import math
import random
from dataclasses import replace

from refine_eval.data import Generation
from refine_eval.formats import cut_at_stops, prefill_of, prompt_text
from refine_eval.plugin.components import Engine


class _Engine(Engine):
    accepts_pretrained = False

    def one(self, request):
        return Generation(text=f"#### {request.seed}", tokens=3, finish_reason="stop")

    def generate(self, requests):
        for index, request in enumerate(requests):
            yield index, cut(self.one(request), request)


def cut(generation, request):
    return replace(generation, text=cut_at_stops(generation.text, request.sampling.stop))


class SoundEngine(_Engine):
    """Writes the seed."""

    name = "sound-engine"


class SkipsARequest(_Engine):
    """Loses the last request."""

    name = "skips"

    def generate(self, requests):
        return iter(list(super().generate(requests))[:-1])


class AnswersTwice(_Engine):
    """Yields the first index twice."""

    name = "twice"

    def generate(self, requests):
        found = list(super().generate(requests))
        return iter(found[:1] + found)


class SeedsByBatch(_Engine):
    """Samples with one generator for the whole batch."""

    name = "seeds-by-batch"

    def generate(self, requests):
        drawn = random.Random(0)
        for index in range(len(requests)):
            yield index, Generation(text=str(drawn.random()), tokens=1, finish_reason="stop")


class SoundChooser(SoundEngine):
    """Tells how likely choices are, each the same."""

    name = "sound-chooser"
    can_choose = True

    def choose(self, requests):
        for index, request in enumerate(requests):
            yield index, Generation.of_choices([-math.log(len(request.choices))] * len(request.choices))


class TooLikely(SoundChooser):
    """Is as good as sure of every choice."""

    name = "too-likely"

    def choose(self, requests):
        for index, request in enumerate(requests):
            yield index, Generation.of_choices([-0.1] * len(request.choices))


class ForgetsAChoice(SoundChooser):
    """Does not tell of the last choice."""

    name = "forgets-a-choice"

    def choose(self, requests):
        for index, request in enumerate(requests):
            yield index, Generation.of_choices([-9.0] * (len(request.choices) - 1))


class ChoosesByBatch(SoundChooser):
    """Is the surer the more is asked."""

    name = "chooses-by-batch"

    def choose(self, requests):
        for index, request in enumerate(requests):
            yield index, Generation.of_choices([-9.0 / len(requests)] * len(request.choices))


class LeavesStop(_Engine):
    """Does not cut the stop string off."""

    name = "leaves-stop"

    def generate(self, requests):
        for index, _ in enumerate(requests):
            yield index, Generation(text="1 Question: 2", tokens=3, finish_reason="stop")


class ReadsNothing(_Engine):
    """Says that prompts have no tokens, where it does not count them."""

    name = "reads-nothing"

    def one(self, request):
        return replace(super().one(request), prompt_tokens=0)


class CachesTooMuch(_Engine):
    """Says that it had read more of a prompt than there is."""

    name = "caches-too-much"

    def one(self, request):
        return replace(super().one(request), prompt_tokens=3, cached_tokens=4)


class CutsAtTheLastStop(_Engine):
    """Looks for stop strings from the end."""

    name = "last-stop"

    def generate(self, requests):
        for index, request in enumerate(requests):
            text = "1212121212"
            for stop in request.sampling.stop:
                text = text.rsplit(stop, 1)[0]
            yield index, Generation(text=text, tokens=0, finish_reason="stop")


class CallsStopsLength(_Engine):
    """Says that a stop string were the limit."""

    name = "stops-as-length"

    def generate(self, requests):
        for index, generation in super().generate(requests):
            cut_off = generation.text != self.one(requests[index]).text
            yield index, replace(generation, finish_reason="length" if cut_off else "stop", tokens=0)


class CallsLimitsStop(_Engine):
    """Cuts at the limit and calls it the end."""

    name = "limit-as-stop"

    def one(self, request):
        return Generation(text="1 2 3 4 5"[: 2 * request.sampling.max_tokens - 1], tokens=0, finish_reason="stop")


class CountsWrong(_Engine):
    """Ends by length before the limit."""

    name = "counts-wrong"

    def one(self, request):
        return Generation(text="1", tokens=request.sampling.max_tokens - 1, finish_reason="length")


class KeepsTheEnd(_Engine):
    """Leaves the end-of-text token in the text."""

    name = "keeps-the-end"

    def one(self, request):
        return Generation(text="#### 1</s>", tokens=2, finish_reason="stop")


class KeepsUnwritten(_Engine):
    """Says that a text could not be written, and yields some of it."""

    name = "keeps-unwritten"

    def one(self, request):
        return Generation(text="#### 1", tokens=3, finish_reason="stop", unwritten="cut by a filter")


class WritesNothing(_Engine):
    """Has no text for anything."""

    name = "writes-nothing"

    def one(self, request):
        return Generation.without_text("a bad day")


class SoundChatEngine(_Engine):
    """Writes how much it was told."""

    name = "sound-chat"
    takes_messages = True

    def one(self, request):
        told = len(prompt_text(request.prompt)) + request.seed
        return Generation(text=f"#### {told}", tokens=3, finish_reason="stop")


class ReadsTextsOnly(SoundChatEngine):
    """Takes every prompt for a text."""

    name = "texts-only"

    def one(self, request):
        return Generation(text=request.prompt.strip()[:5], tokens=3, finish_reason="stop")


class LeavesMessagesOut(SoundChatEngine):
    """Has no text for messages."""

    name = "leaves-messages-out"

    def one(self, request):
        return super().one(request) if isinstance(request.prompt, str) else Generation.without_text("a chat")


class CountsMessages(SoundChatEngine):
    """Writes which message of the batch it is."""

    name = "counts-messages"

    def generate(self, requests):
        for index, generation in super().generate(requests):
            yield index, replace(generation, text=f"{generation.text} {index}")


class RepeatsWhatWasBegun(SoundChatEngine):
    """Yields the whole of the assistant's message."""

    name = "repeats-begun"

    def one(self, request):
        return replace(super().one(request), text=f"{prefill_of(request.prompt)}#### 1")


class FailsOnBegunAnswers(SoundChatEngine):
    """Knows no last message by the assistant."""

    name = "fails-on-begun"

    def one(self, request):
        if prefill_of(request.prompt):
            raise ValueError("the last message must be the user's")
        return super().one(request)


class OneKeyForAll(SoundChatEngine):
    """Forgets the prompt in its key."""

    name = "one-key"

    def cache_key_of(self, request):
        return request.problem.id


class OnlyMessagesOfNone(_Engine):
    """Says that it reads nothing but messages, and that it takes none."""

    name = "only-messages"
    only_messages = True


class DeclaresLate(_Engine):
    """Takes messages once it is open."""

    name = "declares-late"

    def open(self, runtime):
        vars(self)["takes_messages"] = True


class ThinksInNumbers(_Engine):
    """Has a thought that is no text."""

    name = "thinks-in-numbers"

    def one(self, request):
        return replace(super().one(request), thought=7)
