"""Draw the pictures of docs/concepts.md from the result.json of a demo: `python docs/generate_images.py PATH`."""

import importlib
import json
import sys
from pathlib import Path

import vl_convert

PICTURES = {
    "budgets": "budgets",
    "steps": "steps_to_target",
    "noise": "noise_scale",
    "rates": "learning_rate",
    "pareto": "pareto",
}
FOLDER = Path(__file__).parent / "images"


def main() -> None:
    """Write demo-NAME.png for every picture."""
    if len(sys.argv) != 2:
        sys.exit("usage: python docs/generate_images.py critbatch-results/digits/result.json")
    result = json.loads(Path(sys.argv[1]).read_text("utf-8"))
    for name, module in PICTURES.items():
        drawing = importlib.import_module(f"critbatch.plots.{module}").still(result)
        (FOLDER / f"demo-{name}.png").write_bytes(
            vl_convert.vegalite_to_png(drawing.to_dict(validate=False), scale=1.5)
        )


if __name__ == "__main__":
    main()
