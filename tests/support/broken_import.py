"""A component whose module imports something heavy at the top. See broken_components."""

import datasets  # noqa: F401
from broken_components import Sound


class ImportsAtTop(Sound):
    """Makes `refine-eval --help` slow."""
