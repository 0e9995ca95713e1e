"""MLflow: metrics of a run."""

import time
from collections.abc import Mapping
from typing import final

from typing_extensions import override

from ..tracker import Tracker

try:
    import mlflow
    from mlflow.entities import Metric
    from mlflow.tracking import MlflowClient
except ImportError as error:
    raise ImportError("MLflow is not installed. Run: pip install 'critbatch[mlflow]'") from error


@final
class Mlflow(Tracker):
    """Logs metrics of a run, all of a step in one request.

    Args:
        run_id: Of a run, which is not ended here. None for the run that is active, else a new one.
        tracking_uri: Where runs are kept, None for where MLflow is told to.
        experiment: Id of the experiment of a new run.
    """

    def __init__(self, run_id: str | None = None, *, tracking_uri: str | None = None, experiment: str = "0") -> None:
        self._client = MlflowClient(tracking_uri)
        active = mlflow.active_run()
        found = active.info.run_id if run_id is None and active is not None else run_id
        self._is_own = found is None
        self._run_id: str = self._client.create_run(experiment).info.run_id if found is None else found

    @override
    def write(self, step: int, values: Mapping[str, float]) -> None:
        now = int(time.time() * 1000)
        self._client.log_batch(self._run_id, [Metric(name, value, now, step) for name, value in values.items()])

    @override
    def close(self) -> None:
        if self._is_own:
            self._client.set_terminated(self._run_id)
