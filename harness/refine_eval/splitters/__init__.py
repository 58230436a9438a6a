"""Where does a step end? Splitters: lines, paragraphs, numbered steps, sentences.

They register through the same entry points as anybody's.
"""

from refine_eval.plugin.components import Splitter
from refine_eval.plugin.hookspecs import hookimpl


@hookimpl
def refine_eval_splitters() -> list[type[Splitter]]:
    """The splitters that come with refine-eval itself."""
    from refine_eval.splitters.bundled import (
        LinesSplitter,
        NumberedSplitter,
        ParagraphsSplitter,
        SentencesSplitter,
    )

    return [LinesSplitter, NumberedSplitter, ParagraphsSplitter, SentencesSplitter]
