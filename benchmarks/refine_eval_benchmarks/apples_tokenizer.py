"""A word-level tokenizer for small worlds: one token a word, a digit, a sign or a newline, and no loss.

`decode(encode(text)) == text` for every text made of known words, spaces and newlines included.
"""

from collections.abc import Iterable
from typing import Any

PAD, EOS, UNKNOWN = "<pad>", "</s>", "<unk>"

_PIECE = r" ?[A-Za-z]+|####|\s|[^\sA-Za-z]"
"""A word with the space before it, the answer mark, or any single other character (so a digit is a token)."""


def build_tokenizer(texts: Iterable[str], special: Iterable[str] = ()) -> Any:
    """A `PreTrainedTokenizerFast` that knows every word of `texts`, and the `special` tokens as whole ones.

    No token is added before or after a text. Equal texts give an equal tokenizer, whatever their order.
    """
    from tokenizers import Regex, Tokenizer, decoders, models, pre_tokenizers
    from transformers import PreTrainedTokenizerFast

    splitter = pre_tokenizers.Sequence(
        [
            pre_tokenizers.Split(Regex(_PIECE), behavior="isolated"),
            pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False),
        ]
    )
    words = {piece for text in texts for piece, _ in splitter.pre_tokenize_str(text)}
    order = [PAD, EOS, UNKNOWN, *special]
    vocabulary = {word: index for index, word in enumerate([*order, *sorted(words - set(order))])}
    tokenizer = Tokenizer(models.WordLevel(vocabulary, unk_token=UNKNOWN))
    tokenizer.pre_tokenizer = splitter
    tokenizer.decoder = decoders.ByteLevel()
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        pad_token=PAD,
        eos_token=EOS,
        unk_token=UNKNOWN,
        additional_special_tokens=list(special),
        clean_up_tokenization_spaces=False,
        model_input_names=["input_ids", "attention_mask"],
    )
