"""Characters of Shakespeare's plays as sequences for next-character prediction."""

import functools
from pathlib import Path

import torch
from jaxtyping import Int
from torch import Tensor

from ..data import Examples
from ..randomness import generator
from .location import locate
from .splits import Splits, stratified

SHAKESPEARE_CHARACTERS = 65


def sequences(tokens: Int[Tensor, " token"], length: int) -> Examples:
    """Return non-overlapping stretches of `length` tokens; the targets are the tokens one place later.

    Args:
        tokens: The text as numbers.
        length: Tokens in a sequence. What does not fill one at the end is left out.

    Raises:
        ValueError: If the text is too short for one sequence.
    """
    count = (len(tokens) - 1) // length
    if count < 1:
        raise ValueError(
            f"`sequences(length={length})`: {len(tokens)} tokens do not fill one. Give {length + 1} or more."
        )
    return Examples(
        tokens[: count * length].reshape(count, length), tokens[1 : count * length + 1].reshape(count, length)
    )


def shakespeare(*, train: int = 8192, validation: int = 500, test: int = 500, length: int = 32) -> Splits:
    """Return sequences of the 65 characters of Tiny Shakespeare (0 to 64, in code point order).

    Training sequences are a fixed sample from the first 90 % of the text, validation from the next 5 %, test from the
    last 5 %: the parts are stretches of different plays, not neighbouring lines.

    Source: Karpathy (2015), char-rnn, tinyshakespeare/input.txt; the plays are in the public domain.

    Args:
        train: Training sequences.
        validation: Validation sequences.
        test: Test sequences.
        length: Characters in a sequence.

    Returns:
        The three sets.
    """
    path = locate("tiny-shakespeare/input.txt", "tinyshakespeare/input.txt")
    return _load(path, (train, validation, test), length)


@functools.lru_cache(maxsize=4)
def _load(path: Path, sizes: tuple[int, int, int], length: int) -> Splits:
    text = path.read_text(encoding="utf-8")
    alphabet = sorted(set(text))
    if len(alphabet) != SHAKESPEARE_CHARACTERS:
        raise ValueError(
            f"{path} has {len(alphabet)} distinct characters, not {SHAKESPEARE_CHARACTERS}. Copy it again."
        )
    number = {character: index for index, character in enumerate(alphabet)}
    tokens = torch.tensor([number[character] for character in text], dtype=torch.int64)
    first, second = len(tokens) * 90 // 100, len(tokens) * 95 // 100
    stretches = (tokens[:first], tokens[first:second], tokens[second:])
    return Splits(*(_sample(sequences(stretches[part], length), sizes[part], part) for part in range(3)))


def _sample(whole: Examples, size: int, part: int) -> Examples:
    one_class = torch.zeros(len(whole), dtype=torch.int64)
    (chosen,) = stratified(one_class, [size], generator(0, "split", part))
    return Examples(whole.inputs[chosen], whole.targets[chosen])
