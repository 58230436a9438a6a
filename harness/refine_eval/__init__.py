"""refine-eval: when, where and how to refine a language model's reasoning (GLoRe, arXiv 2402.10963)."""

from importlib.metadata import PackageNotFoundError, version

try:
    __version__ = version("refine-eval")
except PackageNotFoundError:  # a source tree that was never installed
    __version__ = "0+unknown"
