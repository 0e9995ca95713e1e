"""The next character of Shakespeare, for a small transformer."""

from functools import partial

from ..datasets.text import shakespeare
from ..models.transformer import transformer
from ..task import Target, Task


def task() -> Task:
    """Return a causal transformer on sequences of 32 characters of Tiny Shakespeare, read from CRITBATCH_DATA.

    8,192 training sequences, a fixed sample from the first 90 % of the text; 500 validation and 500 test sequences
    from the last 10 %. 65 characters; 2 blocks, 4 heads, width 64; 110,529 parameters. One sequence is one example:
    its loss is the mean over its 32 characters.

    Target: validation loss 2.4 nats per character. A table of pairs of characters has 2.47, so that more context
    must be used. With one seed: SGD 500 steps at batch size 16 (learning rate 1) and 3,000 at 1 (0.2), Adam 200 at
    16 (0.003); SGD at 128 was at 2.45 after 250 (1.5) and diverges at 3.

    Source: Karpathy (2015), char-rnn, tinyshakespeare/input.txt.
    """
    data = shakespeare(length=32)
    return Task(
        name="shakespeare",
        model=partial(transformer, 65, 32),
        train=data.train,
        validation=data.validation,
        test=data.test,
        target=Target("validation_loss", 2.4),
    )
