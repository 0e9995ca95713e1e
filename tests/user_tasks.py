"""Task files as users write them, right and wrong."""

import textwrap
from pathlib import Path

GOOD = """
    import torch
    from critbatch import Target, Task

    def model():
        return torch.nn.Sequential(torch.nn.Linear(4, 8), torch.nn.Tanh(), torch.nn.Linear(8, 3))

    def data(count, seed):
        draw = torch.Generator().manual_seed(seed)
        labels = torch.randint(3, (count,), generator=draw)
        return 2 * torch.eye(3, 4)[labels] + torch.randn(count, 4, generator=draw), labels

    task = Task(name="mine", model=model, train=data(64, 0), test=data(200, 1), validation=data(200, 2),
                target=Target("validation_accuracy", 0.7))

    def made():
        return task

    def raises():
        return 1 / 0

    number = 3
"""
WRONG = {
    "raises": ("raise RuntimeError('no disk')", "raised RuntimeError: no disk"),
    "syntax": ("def (", "SyntaxError"),
    "missing import": ("import nowhere_to_be_found", "nowhere_to_be_found"),
}


def write(folder: Path, text: str = GOOD, name: str = "mine.py") -> Path:
    """Return the path of a task file with `text` in `folder`."""
    path = folder / name
    path.write_text(textwrap.dedent(text))
    return path
