"""Rules against measurement: is the predicted learning rate at eight times the batch on the measured plateau?

python -m benchmarks.scale_rules
"""

import json
import sys
import tempfile
from pathlib import Path
from typing import Any

import critbatch as cb
from critbatch.catalog import load_task

CASES = (
    ("digits", (8, 64), {"seeds": 5}),
    ("digits", (32, 256), {"seeds": 5}),
    ("fashion_cnn", (32, 256), {"seeds": 2, "budget": cb.Steps(300)}),
)  # fmt: skip


def row(name: str, sizes: tuple[int, int], options: dict[str, Any], folder: Path) -> list[str]:
    """Return the table's rows of one case: one for each rule."""
    task = load_task(name)
    between = round((sizes[0] * sizes[1]) ** 0.5)
    tried = [sizes[0], between, sizes[1]]
    cb.run(task, batch_sizes=tried, confirm=False, progress=False, executor=cb.Processes(2), out=folder, **options)
    document = json.loads((folder / "result.json").read_text())
    points = {one["batch_size"]: one for one in document["learning_rate_rule"]["points"]}
    known = points[sizes[0]]["learning_rate"]["value"]
    best, flat = points[sizes[1]]["learning_rate"], points[sizes[1]]["plateau"]
    scales = [one["noise_scale"]["value"] for one in document["noise_scale"] if one["noise_scale"]["value"]]
    noise = sorted(scales)[len(scales) // 2] if scales else None
    config = {"optimizer": "sgd", "learning_rate": known}
    found = []
    for words, more in (
        ("linear", {"rule": "linear"}), ("linear to the noise scale", {"noise_scale": noise}),
        ("square root", {"rule": "square_root"}), ("fixed", {"rule": "fixed"}),
    ):  # fmt: skip
        if "noise_scale" in more and noise is None:
            continue
        predicted = cb.scale_hyperparameters(config, from_batch=sizes[0], to_batch=sizes[1], **more)[
            "learning rate"
        ].after
        inside = min(flat) / 2**0.5 <= predicted <= max(flat) * 2**0.5  # the grid's spacing is a factor of two
        ends = f"{best['value']:.3g} [{best['low'] or 0:.3g}, {best['high'] or float('inf'):.3g}]"
        found.append(
            f"| {name} | {sizes[0]} to {sizes[1]} | {known:.3g} | {words} | {predicted:.3g} | {ends} | {min(flat):.3g} to "
            f"{max(flat):.3g} | {'yes' if inside else 'no'} |"
        )
    return found


def main() -> None:
    """Write benchmarks/results/scale_rules.md."""
    lines = [
        "# Predicted learning rates at eight times the batch",
        "",
        "`python -m benchmarks.scale_rules`. The best rate at the smaller batch is measured (plain SGD, the task's target), "
        "translated by each rule, and compared with the plateau measured at the larger one: all rates that are not told apart from "
        "its best. The grid's spacing is a factor of two; half of it counts as on the plateau.",
        "",
        "| task | batch | best rate, smaller | rule | predicted | best rate, larger | plateau | on it |",
        "|---|---|---|---|---|---|---|---|",
    ]
    for at, (name, sizes, options) in enumerate(CASES):
        with tempfile.TemporaryDirectory() as folder:
            lines += row(name, sizes, options, Path(folder) / str(at))
    text = "\n".join(lines) + "\n"
    (Path(__file__).parent / "results" / "scale_rules.md").write_text(text)
    sys.stdout.write(text)


if __name__ == "__main__":
    main()
