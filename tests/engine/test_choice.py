"""Which tier trains a run, what is remembered of it, and what happens where nothing can be compiled."""

import dataclasses
import logging
import shutil
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

from critbatch.budgets.seconds import Seconds
from critbatch.budgets.steps import Steps
from critbatch.data import Stream
from critbatch.engine import choice, population, sequential
from critbatch.engine.choice import TOO_SHORT, Choice, choose
from critbatch.engine.native import build, pointwise
from critbatch.optimizers.sgd import SGD
from critbatch.plan import Run, RunResult
from critbatch.record import Ending
from critbatch.samplings.with_replacement import WithReplacement
from critbatch.task import Task
from tests.problems import MODELS, blob_task, blobs, run_of

from .by_hand import assert_alike

CPU = torch.device("cpu")
PLENTY = 1e9  # steps for which it is worth while to compile anything
ANSWERS = '#!/bin/sh\n[ "$1" = --version ] && echo compiler 1.0 && exit 0\n'


class Layered(nn.Module):
    """A small perceptron whose hidden states go through a function."""

    def __init__(self, change: Callable[[torch.Tensor], torch.Tensor]) -> None:
        super().__init__()
        self.first, self.out, self.change = nn.Linear(4, 6), nn.Linear(6, 3), change

    def forward(self, inputs):
        return self.out(self.change(self.first(inputs).tanh()))


def deciding(states: torch.Tensor) -> torch.Tensor:
    return states if states.sum() > 0 else 2 * states


def leaving(states: torch.Tensor) -> torch.Tensor:
    return states * states.sum().item()


def sorting(states: torch.Tensor) -> torch.Tensor:
    return states + states.sort(-1).values


def waves(states: torch.Tensor) -> torch.Tensor:
    return torch.fft.rfft(states).abs().repeat(1, 2)[:, :6]


def task_with(change: Callable[[torch.Tensor], torch.Tensor] = torch.square, **more: Any) -> Task:
    return blob_task(lambda: Layered(change), name=f"blobs {change.__name__}", **more)


def runs_of(task: Task, **changes: Any) -> tuple[Run, ...]:
    fields = {"budget": Steps(12), "dtype": "float64"} | changes
    return tuple(run_of(task, learning_rate=rate, seed=seed, **fields) for rate, seed in ((0.1, 0), (0.2, 1)))


def trained_by_itself(task: Task, **changes: Any) -> str:
    """Train and return the note; fail unless the records are the plain loop's."""
    runs = runs_of(task, **changes)
    found = population.train({task.name: task}, runs, engine="population")
    assert_alike(found, sequential.train({task.name: task}, runs), 1e-10)
    (note,) = {one.note for one in found}
    return note


@pytest.fixture
def counted(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Return a list that grows by a name with each preparation and each check."""
    calls: list[str] = []

    def counting(name: str, function: Callable[..., Any]) -> Callable[..., Any]:
        def called(*given: Any, **options: Any) -> Any:
            calls.append(name)
            return function(*given, **options)

        return called

    for name in ("prepare", "check_steps"):
        monkeypatch.setattr(choice, name, counting(name, getattr(choice, name)))
    return calls


def later(monkeypatch: pytest.MonkeyPatch) -> None:
    """Forget what this process knows, as if another one had started."""
    monkeypatch.setattr(choice, "_chosen", {})


def script(folder: Path, text: str) -> str:
    path = folder / "mycc"
    path.write_text(text)
    path.chmod(0o755)
    return str(path)


# Models


@pytest.mark.parametrize(("change", "reason"), [(deciding, "its step cannot be traced ("), (leaving, "the operation ")])
def test_a_model_that_looks_at_its_numbers_trains_in_the_plain_loop(fresh, caplog, change, reason):
    with caplog.at_level(logging.WARNING, "critbatch.engine"):
        note = trained_by_itself(task_with(change))
        trained_by_itself(task_with(change))
    assert note.startswith(f"trained in the plain loop: its step cannot be compiled: {reason}")
    assert "\n" not in note
    assert len(note) < 400
    assert caplog.messages == [f"blobs {change.__name__}, batch size 8: {note}"]


@pytest.mark.parametrize("change", [sorting, waves])
def test_a_model_without_a_c_form_trains_stacked_or_plainly_and_says_why(fresh, change):
    note = trained_by_itself(task_with(change))
    assert note.startswith(("trained in the stacked engine: ", "trained in the plain loop: "))
    assert "cannot be compiled: " in note


def test_a_stacked_run_has_the_same_numbers_alone_and_in_any_cohort(fresh):
    task = task_with(sorting)
    runs = [*runs_of(task), *(run_of(task, seed=seed, budget=Steps(12), dtype="float64") for seed in range(2, 7))]

    def values(some: list[Run]) -> list[list[float]]:
        found = population.train({task.name: task}, tuple(some), engine="population")
        assert all("stacked" in one.note for one in found)
        return [one.records["value"].to_list() for one in found]

    together = values(runs)
    assert [values([run])[0] for run in runs] == together
    assert values(runs[2:5]) == together[2:5]


def test_a_compiled_step_that_is_wrong_is_refused(fresh, monkeypatch):
    monkeypatch.setitem(pointwise.ARITHMETIC, "tanh", "1.0001 * tanh_{s}({0})")
    note = trained_by_itself(task_with())
    assert "of its steps in float64 differ by" in note
    assert "more than 1e-09" in note


def test_a_compiled_evaluation_that_is_wrong_is_not_used(fresh, monkeypatch):
    chosen = choose(task_with(), runs_of(task_with())[0], CPU, steps=PLENTY, is_forced=True)
    assert chosen.prepared.look is not None
    monkeypatch.setattr(choice, "check_steps", lambda *given: None)
    monkeypatch.setitem(pointwise.ARITHMETIC, "tanh", "2 * tanh_{s}({0})")
    monkeypatch.setenv("CRITBATCH_CACHE", str(fresh.with_name("another cache")))
    later(monkeypatch)
    chosen = choose(task_with(), runs_of(task_with())[0], CPU, steps=PLENTY, is_forced=True)
    assert chosen.tier == "compiled"
    assert chosen.prepared.look is None


@pytest.mark.parametrize("wrong", [3, -1])
@pytest.mark.parametrize("engine", ["sequential", "population"])
def test_a_label_outside_of_the_classes_raises_what_the_plain_loop_raises(engine, wrong):
    def draw(generator: torch.Generator, count: int) -> tuple[torch.Tensor, torch.Tensor]:
        inputs, labels = torch.randn(count, 4, generator=generator), torch.zeros(count, dtype=torch.int64)
        drawn.append(count)
        labels[0] = wrong if len(drawn) > 1000 else 0
        return inputs, labels

    drawn: list[int] = []
    task = Task(name="late", model=MODELS["mlp"], train=Stream(draw, 16), test=blobs(8, 1), revision="1")
    population.train({"late": task}, runs_of(task), engine=engine)  # as long as the labels are good
    drawn += [0] * 1000
    with pytest.raises(IndexError, match=f"Target {wrong} is out of bounds"):
        population.train({"late": task}, runs_of(task), engine=engine)


# Runs


def test_a_budget_of_seconds_trains_in_the_plain_loop():
    task = task_with()
    results = population.train({task.name: task}, runs_of(task, budget=Seconds(0.02)), engine="population")
    assert {one.note for one in results} == {
        "trained in the plain loop: its budget counts seconds, which a run has for itself only when it trains alone"
    }
    assert all(one.ending is Ending.BUDGET and one.seconds >= 0.02 for one in results)


def test_micro_batches_train_in_the_plain_loop():
    assert (
        trained_by_itself(task_with(), micro_batch_size=3) == "trained in the plain loop: it accumulates micro-batches"
    )


# Machines


def test_without_a_c_compiler_the_answers_are_the_same(fresh, monkeypatch):
    monkeypatch.setenv("PATH", "")
    monkeypatch.delenv("CC", raising=False)
    assert "there is no C compiler (cc, gcc, clang, or the one that CC names)" in trained_by_itself(task_with())


def test_that_there_was_no_compiler_is_not_held_against_the_model_later(fresh, monkeypatch):
    task = task_with()
    monkeypatch.setenv("PATH", "")
    monkeypatch.delenv("CC", raising=False)
    assert choose(task, runs_of(task)[0], CPU, steps=PLENTY, is_forced=True).tier != "compiled"
    monkeypatch.undo()
    build.compiler.cache_clear()
    monkeypatch.setenv("CRITBATCH_CACHE", str(fresh))
    later(monkeypatch)
    assert choose(task, runs_of(task)[0], CPU, steps=PLENTY, is_forced=True).tier == "compiled"


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        (f"{ANSWERS}echo no space left >&2\nexit 1\n", "the C compiler failed: no space left"),
        ("#!/bin/sh\nexit 1\n", "the C compiler failed: exit code 1"),
        ("this is not a program", "the C compiler failed: "),
    ],
)
def test_a_compiler_that_fails_is_named_and_the_answers_are_the_same(fresh, monkeypatch, tmp_path, text, reason):
    monkeypatch.setenv("CC", script(tmp_path, text))
    assert reason in trained_by_itself(task_with())


def test_a_compiler_that_takes_too_long_is_given_up(fresh, monkeypatch, tmp_path):
    monkeypatch.setenv("CC", script(tmp_path, f"{ANSWERS}sleep 20\nexit 1\n"))  # like gcc, which has others work for it
    monkeypatch.setattr(choice, "MOST_COMPILE_SECONDS", 0.3)
    began = time.monotonic()
    note = trained_by_itself(task_with())
    assert "the C compiler took longer than" in note
    assert time.monotonic() - began < 10


def test_a_folder_that_cannot_be_written_to_is_named_and_the_answers_are_the_same(fresh, monkeypatch, tmp_path):
    (tmp_path / "file").touch()
    monkeypatch.setenv("CRITBATCH_CACHE", str(tmp_path / "file" / "cache"))
    note = trained_by_itself(task_with())
    assert f"nothing can be kept in {tmp_path / 'file' / 'cache'} (" in note


LOAD = "import sys; from critbatch.engine.native.build import load; print([load(name) for name in sys.argv[1:]])"


def test_a_damaged_library_is_removed_and_compiled_again(fresh, monkeypatch, tmp_path):
    task = task_with()
    assert trained_by_itself(task) == ""
    elsewhere = tmp_path / "damaged"  # a library of the old folder would be found by its name, whatever the file holds
    shutil.copytree(fresh, elsewhere)
    for path in elsewhere.glob("*.so"):
        path.write_bytes(b"\x7fELF, but no more than that")
    monkeypatch.setenv("CRITBATCH_CACHE", str(elsewhere))
    later(monkeypatch)
    assert trained_by_itself(task) == ""
    assert all(path.stat().st_size > 1000 for path in elsewhere.glob("*.so"))


def test_no_damage_to_a_library_crashes_the_process(fresh):
    whole = build.compiled("void connect(void *a, void *b) {} long run(void) { return 7; }", seconds=60)[1]
    content = (fresh / whole).read_bytes()
    damages = {"empty.so": b"", "half.so": content[: len(content) // 2], "text.so": b"text"}
    for name, damaged in damages.items():
        (fresh / name).write_bytes(damaged)
    asked = subprocess.run(
        [sys.executable, "-c", LOAD, *damages], capture_output=True, text=True, check=False, timeout=120
    )
    assert (asked.returncode, asked.stdout.strip()) == (0, str([None] * 3)), asked.stderr
    assert [path.name for path in fresh.glob("*.so")] == [whole]


# Decisions


def test_what_would_not_pay_is_not_compiled_and_not_remarked_upon(fresh):
    task = task_with()
    run = runs_of(task)[0]
    chosen = choose(task, run, CPU, steps=10)
    assert (chosen.tier, chosen.reason, chosen.prepared) == ("plain", TOO_SHORT, None)
    assert chosen.seconds == chosen.plain_seconds > 0
    assert {one.note for one in population.train({task.name: task}, (run,), planned={8: 10})} == {""}
    assert list(fresh.glob("*.so")) == []
    assert choose(task, run, CPU, steps=PLENTY).reason != TOO_SHORT  # the next stage of a sweep may be longer


@pytest.mark.parametrize(("plain", "tier"), [(1e-9, "plain"), (1e3, "compiled")])
def test_the_faster_tier_is_taken(fresh, monkeypatch, plain, tier):
    monkeypatch.setattr(choice, "plain_step_seconds", lambda *given: plain)
    task = task_with()
    chosen = choose(task, runs_of(task)[0], CPU, steps=1e12)
    assert (chosen.tier, chosen.reason, chosen.plain_seconds) == (tier, "", plain)
    assert 0 < chosen.seconds < 1
    forced = choose(task, runs_of(task)[0], CPU, steps=1, is_forced=True)
    assert forced.tier == "compiled"


def test_a_step_that_was_checked_is_not_checked_again_by_another_process(fresh, monkeypatch, counted):
    task = task_with()
    assert trained_by_itself(task) == ""
    assert counted == ["prepare", "check_steps"]
    trained_by_itself(task, budget=Steps(13))  # another budget asks for nothing new
    later(monkeypatch)
    assert trained_by_itself(task) == ""
    assert counted.count("check_steps") == 1
    later(monkeypatch)
    monkeypatch.setattr(choice, "_engine", lambda: "another version")
    assert trained_by_itself(task) == ""
    assert counted.count("check_steps") == 2


def test_each_kind_of_run_has_a_decision_of_its_own_and_a_refusal_is_remembered(fresh, monkeypatch, counted):
    task = task_with(deciding)
    base = runs_of(task)[0]
    kinds = [base, *(dataclasses.replace(base, **one) for one in (
        {"optimizer": SGD(momentum=0.9)}, {"batch_size": 9, "micro_batch_size": 9}, {"dtype": "float32"},
        {"sampling": WithReplacement()},
    ))]  # fmt: skip

    def choices() -> list[Choice]:
        later(monkeypatch)
        return [choose(task, run, CPU, steps=PLENTY, is_forced=True) for run in kinds]

    first = choices()
    assert counted.count("prepare") == len(kinds)
    assert [one.reason for one in choices()] == [one.reason for one in first]
    assert counted.count("prepare") == len(kinds)
    other = dataclasses.replace(base, learning_rate=0.5, seed=9)
    choose(task, other, CPU, steps=PLENTY, is_forced=True)
    assert counted.count("prepare") == len(kinds)


def test_a_changed_model_of_the_same_name_is_another_decision(fresh):
    results: list[list[RunResult]] = []
    for change in (torch.square, torch.cos):
        task = blob_task(lambda change=change: Layered(change))
        runs = runs_of(task)
        results.append(population.train({"blobs": task}, runs, engine="population"))
        assert_alike(results[-1], sequential.train({"blobs": task}, runs), 1e-10)
    assert {one.note for some in results for one in some} == {""}


def test_a_process_keeps_choices_for_the_tasks_of_its_work_alone(fresh, counted):
    first, second = task_with(), task_with(torch.cos)
    one, other = runs_of(first), runs_of(second)
    both = {first.name: first, second.name: second}
    for cohort in (one, other, one, other):
        population.train(both, cohort, engine="population")
    assert counted.count("prepare") == 2
    population.train({first.name: first}, one, engine="population")
    assert counted.count("prepare") == 2
    assert {key[0] for key in choice._chosen} == {id(first)}
    assert id(second) not in choice._tasks
