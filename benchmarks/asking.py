"""The driver's side of the conversation: where peers run, how they are started, and what is asked of them."""

import json
import os
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType
from typing import Any, Self, final

HERE = Path(__file__).resolve().parent
ROOT = HERE.parent
OWN = HERE / ".venv"
REQUIREMENTS = HERE / "requirements.txt"
CONSTRAINTS = ROOT / "constraints.txt"
ONE_THREAD = {
    "OMP_NUM_THREADS": "1",
    "OPENBLAS_NUM_THREADS": "1",
    "MKL_NUM_THREADS": "1",
    "XLA_FLAGS": "--xla_cpu_multi_thread_eigen=false intra_op_parallelism_threads=1",
    "JAX_PLATFORMS": "cpu",
    "PYTHONWARNINGS": "ignore",
}
FORCED_KERNELS = ("OPENBLAS_CORETYPE", "OPENBLAS_L2_SIZE")  # would keep numpy from the processor's own kernels


@final
@dataclass(frozen=True)
class Peer:
    """One process to time.

    Attributes:
        module: In `benchmarks.peers`.
        environment: Further variables of the process.
        is_ours: Whether it runs in the project's environment instead of the peers'.
    """

    module: str
    environment: Mapping[str, str] = field(default_factory=dict)
    is_ours: bool = False


PEERS = {
    "rates": Peer("rates"),
    "ours": Peer("ours", is_ours=True),
    "dataloader": Peer("dataloader"),
    "indexing": Peer("indexing"),
    "vmap": Peer("eager_vmap"),
    "jax": Peer("jax_scan"),
    "sklearn": Peer("sklearn_mlp"),
    "keras": Peer("keras_fit", {"KERAS_BACKEND": "jax"}),
    "keras-torch": Peer("keras_fit", {"KERAS_BACKEND": "torch"}),
}
OPTIONAL = ("keras-torch",)  # only when asked for: it is slow and nobody's first choice


def own_python() -> Path:
    """Return the interpreter of the peers' environment, which is made where it is missing or not up to date."""
    python = OWN / ("Scripts/python.exe" if sys.platform == "win32" else "bin/python")
    ready = OWN / "ready"
    wanted = REQUIREMENTS.read_text("utf-8")
    if not (ready.exists() and ready.read_text("utf-8") == wanted):
        tell("Making the peers' environment from requirements.txt: a few minutes, once.")
        subprocess.run([sys.executable, "-m", "venv", "--clear", str(OWN)], check=True)
        install = [str(python), "-m", "pip", "install", "-qq", "--disable-pip-version-check"]
        subprocess.run([*install, "-c", str(CONSTRAINTS), "-r", str(REQUIREMENTS)], check=True)
        ready.write_text(wanted, "utf-8")
    return python


def one_thread(extra: Mapping[str, str]) -> dict[str, str]:
    """Return the environment of a process of one thread."""
    kept = {name: value for name, value in os.environ.items() if name not in FORCED_KERNELS}
    return {**kept, **ONE_THREAD, **extra}


def ours_environment() -> dict[str, str]:
    """Return what our worker processes get at their start besides one thread."""
    from critbatch.executors.processes.pool import ENVIRONMENT

    return dict(ENVIRONMENT)


def tell(text: str) -> None:
    """Write a line to stderr, where progress goes."""
    sys.stderr.write(text + "\n")
    sys.stderr.flush()


@final
class Conversation:
    """A peer's process, one request at a time. On Linux it is held to one core, like every other peer.

    Args:
        name: In `PEERS`.
        log: Where its stderr goes.
    """

    def __init__(self, name: str, log: Path) -> None:
        peer = PEERS[name]
        python = Path(sys.executable) if peer.is_ours else own_python()
        extra = ours_environment() if peer.is_ours else peer.environment
        self.name = name
        self._log = log.open("w")
        self._process = subprocess.Popen(
            [str(python), "-m", f"benchmarks.peers.{peer.module}"], cwd=ROOT, env=one_thread(extra), text=True,
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=self._log,
        )  # fmt: skip
        if sys.platform == "linux":
            os.sched_setaffinity(self._process.pid, {max(os.sched_getaffinity(0))})
        hello = self._read()
        self.variants: list[str] = hello["variants"]
        self.versions: dict[str, str] = hello["versions"]

    def ask(self, **request: Any) -> dict[str, Any]:
        """Return the answer to a request.

        Raises:
            RuntimeError: If the process has ended.
        """
        if self._process.stdin is None:
            raise RuntimeError("the process was started without a stdin")
        self._process.stdin.write(json.dumps(request) + "\n")
        self._process.stdin.flush()
        return self._read()

    def _read(self) -> dict[str, Any]:
        if self._process.stdout is None:
            raise RuntimeError("the process was started without a stdout")
        line = self._process.stdout.readline()
        if not line:
            self._log.flush()
            said = Path(self._log.name).read_text("utf-8", "replace").strip().splitlines()[-5:]
            raise RuntimeError(f"peer {self.name!r} ended: {' / '.join(said) or 'without a word'}")
        return json.loads(line)

    def close(self) -> None:
        """End the process."""
        if self._process.stdin is not None:
            self._process.stdin.close()
        try:
            self._process.wait(10)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        self._log.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()
