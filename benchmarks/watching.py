"""Run a command, and tell how long it took and how much memory each of its processes used at most."""

import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import final

from .asking import ROOT

LOOK_SECONDS = 0.2
FINE = (0, 3)  # 3: finished, but no answer in the data


@final
@dataclass(frozen=True)
class Watched:
    """How a command went.

    Attributes:
        seconds: Of wall time, from its start to its end.
        peaks: Largest resident memory in bytes of each process, with its name; empty where there is no /proc.
        said: What it wrote to stdout.
    """

    seconds: float
    peaks: tuple[tuple[str, int], ...]
    said: str

    @property
    def largest(self) -> tuple[str, int]:
        """Return the process that used most memory, and how much."""
        return max(self.peaks, key=lambda peak: peak[1], default=("unknown", 0))


def watch(command: Sequence[str], environment: Mapping[str, str]) -> Watched:
    """Run a command to its end.

    Raises:
        RuntimeError: If it fails; the message ends with what it said.
    """
    started = time.perf_counter()
    process = subprocess.Popen(
        list(command), cwd=ROOT, env=dict(environment), text=True, stdout=subprocess.PIPE, stderr=subprocess.PIPE
    )
    peaks: dict[int, tuple[str, int]] = {}
    while True:
        try:
            said, complaints = process.communicate(timeout=LOOK_SECONDS)
            break
        except subprocess.TimeoutExpired:
            peaks |= _peaks(process.pid)
    seconds = time.perf_counter() - started
    if process.returncode not in FINE:
        last = " / ".join(complaints.strip().splitlines()[-5:])
        raise RuntimeError(f"`{' '.join(command[1:])}` ended with {process.returncode}: {last}")
    return Watched(seconds, tuple(peaks.values()), said)


def _peaks(root: int) -> dict[int, tuple[str, int]]:
    """Return name and largest resident memory so far of a process and all that it started."""
    if sys.platform != "linux":
        return {}
    known: dict[int, tuple[int, str, int]] = {}
    for folder in Path("/proc").iterdir():
        if folder.name.isdigit():
            try:
                lines = (folder / "status").read_text("utf-8", "replace").splitlines()
            except OSError:  # it has ended meanwhile
                continue
            fields = dict(line.split(":", 1) for line in lines if ":" in line)
            if "VmHWM" in fields:
                kilobytes = int(fields["VmHWM"].split()[0])
                known[int(folder.name)] = int(fields["PPid"]), fields["Name"].strip(), 1024 * kilobytes
    family, grown = {root}, True
    while grown:
        more = {pid for pid, (parent, _, _) in known.items() if parent in family} - family
        family |= more
        grown = bool(more)
    return {pid: known[pid][1:] for pid in family if pid in known}
