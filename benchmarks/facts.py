"""What machine this is, as far as it explains a timing."""

import datetime
import os
import platform
from collections.abc import Mapping
from pathlib import Path
from typing import Any


def facts(versions: Mapping[str, str]) -> dict[str, Any]:
    """Return processor, cores, system, versions and date as JSON types; nothing that names the machine."""
    return {
        "processor": processor(),
        "cores": os.cpu_count(),
        "system": f"{platform.system()} {platform.machine()}",
        "load_before": list(os.getloadavg()),
        "date": datetime.datetime.now(datetime.UTC).date().isoformat(),
        "versions": {"python": platform.python_version(), **versions},
    }


def processor() -> str:
    """Return the name of the processor."""
    listed = Path("/proc/cpuinfo")
    lines = listed.read_text("utf-8").splitlines() if listed.exists() else []
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.processor() or "unknown processor"
