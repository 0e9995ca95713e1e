"""What is seen while a sweep runs: on a terminal, and where there is none."""

import io

from rich.console import Console

from critbatch.progress import Bar
from tests.made_up_sweeps import World, facts


def shown(*, terminal: bool) -> str:
    """Return what two stages of two runs print."""
    world = World(seeds=1)
    results = [world._run(size, 0, 0, 0.0) for size in (16, 64)]
    screen = io.StringIO()
    console = Console(file=screen, force_terminal=terminal, width=150, color_system=None, force_interactive=terminal)
    with Bar(facts(), console) as bar:
        for stage in ("pilot", "grid", "nothing to do"):
            bar.stage(stage, {} if stage.startswith("nothing") else {one.run.id: 1.0 for one in results})
            for result in results if not stage.startswith("nothing") else []:
                bar.finished(result)
                bar._progress.refresh()
    return screen.getvalue()


def test_a_terminal_shows_stage_runs_and_the_leader_through_all_stages():
    text = shown(terminal=True)
    assert "pilot" in text
    assert "grid" in text
    assert "2/2 runs" in text
    assert "fastest: B=64, rate 0.64, target in 0.046 s" in text


def test_elsewhere_there_is_a_line_for_each_stage_with_something_to_do():
    assert shown(terminal=False) == "pilot: 2 runs\ngrid: 2 runs\n"
