"""Engines that each break the contract in one way, and one that keeps it. Not installed anywhere."""

import random

from refine_eval.data import Generation
from refine_eval.plugin.components import Engine


class _Engine(Engine):
    accepts_pretrained = False

    def one(self, request):
        return Generation(text=f"#### {request.seed}", tokens=3, finish_reason="stop")

    def generate(self, requests):
        for index, request in enumerate(requests):
            yield index, self.one(request)


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


class LeavesStop(_Engine):
    """Does not cut the stop string off."""

    name = "leaves-stop"

    def one(self, request):
        return Generation(text="1 Question: 2", tokens=3, finish_reason="stop")
