"""Weights & Biases: numbers of a run, over steps of their own."""

from collections.abc import Mapping
from typing import Any, final

from typing_extensions import override

from ..tracker import Tracker

try:
    import wandb
except ImportError as error:
    raise ImportError("Weights & Biases is not installed. Run: pip install 'critbatch[wandb]'") from error


@final
class Wandb(Tracker):
    """Logs to a run, against the optimizer's step (`noise/step`): the run's own steps are left to the training.

    Args:
        run: What `wandb.init` returned; it is not finished here. None for the run that goes on, else a new one.
        **settings: Of `wandb.init`, for a new run.
    """

    def __init__(self, run: Any = None, **settings: Any) -> None:
        found = wandb.run if run is None else run
        self._is_own = found is None
        self._run: Any = wandb.init(**settings) if found is None else found
        self._run.define_metric("noise/*", step_metric="noise/step")

    @override
    def write(self, step: int, values: Mapping[str, float]) -> None:
        self._run.log({"noise/step": step, **values})

    @override
    def close(self) -> None:
        if self._is_own:
            self._run.finish()
