"""The command line: arguments to calls, results to stdout, the rest to stderr. No logic."""

import contextlib
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from .claim_commands import claims
from .measure_command import measure
from .scale_command import scale
from .terminal import (
    CORES,
    FAILED,
    NO_ANSWER,
    OK,
    Device,
    EngineName,
    ExecutorName,
    Json,
    Out,
    Quiet,
    StoreUrl,
    Workers,
    command_line,
    finish,
    orderly,
    print_json,
    print_plan,
)

if TYPE_CHECKING:
    pass

app = typer.Typer(
    name="critbatch",
    help="How does the batch size affect SGD on your model and data, why, and which batch size and rate to use?",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    add_completion=False,
    rich_markup_mode=None,
    epilog="Exit codes: 0 ok, 1 a run failed, 2 usage, 3 finished but no answer in the data, 130 interrupted.",
)

app.add_typer(claims, name="claims")
app.command()(measure)
app.command()(scale)

TaskName = Annotated[
    str, typer.Argument(metavar="TASK", help="A name from `critbatch tasks`, path/to/file.py:name, or module:name.")
]
BatchSizes = Annotated[
    str, typer.Option(help="1,4,16 or 1:1024:x4. Default: 1, 4, 16, ... and the whole training set.")
]
Rates = Annotated[str, typer.Option(help="The same grid at every batch size. Default: searched for each.")]
Seeds = Annotated[int, typer.Option(min=1, help="Paired across the grid.")]
Epochs = Annotated[
    float | None, typer.Option(help="Budget of every run; the longest of those given counts. Default: 8.")
]
Steps = Annotated[float | None, typer.Option(help="Likewise, in updates. Default: 1000.")]
Examples = Annotated[float | None, typer.Option(help="Likewise, in training examples.")]
Seconds = Annotated[float | None, typer.Option(help="Likewise, in seconds of training; not reproducible.")]
TargetText = Annotated[str, typer.Option(help="What counts as trained: 0.95, test_accuracy=0.95 or test_loss<0.1.")]
OptimizerName = Annotated[str, typer.Option(help="sgd, adam, adamw, lars or lamb.")]
RunOptimizerName = Annotated[str, typer.Option(help="sgd, adam, adamw, lars, lamb or emso.")]
Momentum = Annotated[float | None, typer.Option(help="Of SGD or LARS. Default: 0 and 0.9.")]
InnerSteps = Annotated[
    int | None, typer.Option(min=1, help="Of EMSO on every batch; each counts as a step. Default: 3.")
]
Strength = Annotated[float | None, typer.Option(help="Of EMSO's pull to where a batch began. Default: 0.1.")]
Nesterov = Annotated[bool, typer.Option("--nesterov", help="Nesterov momentum.")]
WeightDecay = Annotated[float | None, typer.Option(help="Default: the optimizer's.")]
ClipNorm = Annotated[float | None, typer.Option(help="Largest norm of the gradient. Default: no clipping.")]
ScheduleName = Annotated[str, typer.Option(help="constant, cosine or linear, stretched over the budget.")]
SamplingName = Annotated[
    str | None,
    typer.Option(
        help="reshuffle, partition, with_replacement or without_replacement. Default: reshuffle; with emso, repeated."
    ),
]
LastBatchName = Annotated[str, typer.Option(help="What happens to an incomplete last batch: drop or weight.")]
MicroBatchSize = Annotated[int | None, typer.Option(min=1, help="Examples per forward pass (accumulation).")]
Confirm = Annotated[
    bool, typer.Option("--confirm/--no-confirm", help="Train the best learning rates on fresh seeds; quote only these.")
]
Margin = Annotated[
    float | None, typer.Option(help="Differences of the test metric that count as none. Default: 0.01 of accuracy, 2%.")
]
Dtype = Annotated[str, typer.Option(help="float32 or float64.")]
Minima = Annotated[bool, typer.Option("--minima", help="Measure solutions too: sharpness, width along lines, noise.")]
Ramps = Annotated[bool, typer.Option("--ramps", help="Try batch sizes that grow: would one have saved time?")]
DryRun = Annotated[bool, typer.Option("--dry-run", help="Say how many runs and how long; train (nearly) nothing.")]


@app.callback(invoke_without_command=True)
def root(version: Annotated[bool, typer.Option("--version", help="Print versions and stop.")] = False) -> None:
    """Print versions, if asked."""
    if version:
        from .study import versions

        typer.echo(" ".join(f"{name} {number}" for name, number in versions().items()))
        raise typer.Exit(OK)


@app.command()
def demo(
    out: Out = None,
    seeds: Seeds = 5,
    workers: Workers = CORES,
    engine: EngineName = "auto",
    dry_run: DryRun = False,
    as_json: Json = False,
    no_progress: Quiet = False,
) -> None:
    """Answer the question on scikit-learn's digits, offline: `critbatch run digits --epochs 6 --steps 600`."""
    run(
        "digits", epochs=6, steps=600, out=out, seeds=seeds, workers=workers, engine=engine, dry_run=dry_run, as_json=as_json,
        no_progress=no_progress,
    )  # fmt: skip


@app.command()
def run(  # noqa: PLR0913, PLR0917
    task: TaskName, batch_sizes: BatchSizes = "", learning_rates: Rates = "", seeds: Seeds = 5,
    epochs: Epochs = None, steps: Steps = None, examples: Examples = None, seconds: Seconds = None,
    target: TargetText = "", optimizer: RunOptimizerName = "sgd", momentum: Momentum = None, nesterov: Nesterov = False,
    weight_decay: WeightDecay = None, inner_steps: InnerSteps = None, strength: Strength = None,
    clip_norm: ClipNorm = None, schedule: ScheduleName = "constant", sampling: SamplingName = None,
    last_batch: LastBatchName = "drop", micro_batch_size: MicroBatchSize = None, confirm: Confirm = True,
    minima: Minima = False, ramps: Ramps = False, margin: Margin = None, dtype: Dtype = "float32", device: Device = "cpu",
    engine: EngineName = "auto", executor: ExecutorName = "processes", workers: Workers = CORES, store: StoreUrl = "",
    out: Out = None, dry_run: DryRun = False, as_json: Json = False, no_progress: Quiet = False,
) -> None:  # fmt: skip
    """Sweep batch size x learning rate x seed on TASK and say which batch size and learning rate to use, and why."""
    with orderly():
        from . import arguments, catalog, job

        chosen = catalog.load_task(task)
        rule = arguments.optimizer(
            optimizer, momentum=momentum, nesterov=nesterov, weight_decay=weight_decay, clip_norm=clip_norm,
            inner_steps=inner_steps, strength=strength,
        )  # fmt: skip
        options: dict[str, Any] = {
            "batch_sizes": arguments.numbers(batch_sizes, int, "--batch-sizes"),
            "learning_rates": arguments.numbers(learning_rates, float, "--learning-rates"),
            "seeds": seeds,
            "budget": arguments.budget(epochs, steps, examples, seconds),
            "optimizer": rule,
            "schedule": arguments.schedule(schedule),
            "sampling": arguments.sampling(sampling, last_batch, rule=rule),
            "micro_batch_size": micro_batch_size,
            "confirm": confirm,
            "minima": minima,
            "ramps": ramps,
            "dtype": dtype,
            "device": device,
            "engine": arguments.engine(engine),
        }
        goal = arguments.target(target, chosen)
        if dry_run:
            print_plan(chosen, options, workers if executor == "processes" else 1, as_json=as_json)
            raise typer.Exit(OK)
        folder = out or job.default_folder(chosen.name)
        with contextlib.ExitStack() as open_things:
            kept = open_things.enter_context(job.Sql(store)) if store else None
            found = job.run(
                chosen, **options, target=goal, margin=margin, store=kept, out=folder,
                executor=arguments.executor(executor, workers), progress=not no_progress, command=command_line(),
            )  # fmt: skip
        finish(found, folder, as_json=as_json)


@app.command()
def report(
    store: Annotated[str, typer.Argument(metavar="STORE", help="runs.db, its folder, or a database URL.")],
    study: Annotated[str, typer.Option(help="Which study of the store. Default: the latest.")] = "",
    out: Out = None,
    as_json: Json = False,
) -> None:
    """Read a stored study again and write its report; nothing is trained, and an unfinished study is read as it is."""
    with orderly():
        from . import job

        path = Path(store.removeprefix("sqlite:///"))
        place = str(path / "runs.db") if path.is_dir() else store
        found = job.reread(place, study)
        folder = out or (path if path.is_dir() else path.parent)
        job.write_json(found.to_json(), folder / "result.json")
        finish(found, folder, as_json=as_json)


@app.command()
def fit(
    path: Annotated[
        str, typer.Argument(metavar="FILE", help="A table, or a folder of TensorBoard, W&B or MLflow runs.")
    ],
    target: Annotated[str, typer.Option(help="For whole curves: '>0.9' or '<0.5', the side where runs arrived.")] = "",
    column: Annotated[list[str] | None, typer.Option(help="ROLE=NAME, where a guess is wrong: batch_size=bs.")] = None,
    train_size: Annotated[
        int | None, typer.Option(min=1, help="Training examples, for logs that count epochs.")
    ] = None,
    kind: Annotated[str | None, typer.Option(help="runs, summaries or curves. Default: told by the columns.")] = None,
    out: Annotated[Path | None, typer.Option(help="Folder for result.json and report.html. Default: none.")] = None,
    as_json: Json = False,
) -> None:
    """Fit steps to target against batch size on runs of your own: critical batch size, learning-rate rule, what to add."""
    with orderly():
        from . import arguments, job

        value, direction = arguments.log_target(target)
        found = job.fit(
            path, target=value, direction=direction, columns=arguments.log_columns(column or []), train_size=train_size,
            kind=kind, command=command_line(),
        )  # fmt: skip
        if out is not None:
            job.write_json(found.to_json(), out / "result.json")
        finish(found, out, as_json=as_json)


@app.command()
def probe(  # noqa: PLR0913, PLR0917
    task: TaskName,
    batch_sizes: BatchSizes = "",
    optimizer: OptimizerName = "sgd",
    repeats: Annotated[int, typer.Option(min=10, help="Timed steps of each batch size.")] = 20,
    memory: Annotated[
        bool, typer.Option("--memory/--no-memory", help="Seek the largest batch that memory holds.")
    ] = True,
    memory_limit: Annotated[
        float | None, typer.Option(help="GiB that training may use. Default: 80% of what is free.")
    ] = None,
    device: Device = "cpu",
    dtype: Dtype = "float32",
    as_json: Json = False,
) -> None:
    """Measure step time, throughput and memory against the batch size on this device, with TASK's own model."""
    with orderly():
        from rich.console import Console

        from . import arguments, catalog, job
        from .screen import show_probe

        found = job.probe(
            catalog.load_task(task), batch_sizes=arguments.numbers(batch_sizes, int, "--batch-sizes"),
            optimizer=arguments.one_step_a_batch(
                arguments.optimizer(optimizer, momentum=None, nesterov=False, weight_decay=None, clip_norm=None)
            ),
            repeats=repeats, memory=memory, memory_limit=memory_limit, device=device, dtype=dtype,
        )  # fmt: skip
        if as_json:
            print_json(job.to_json(found))
        else:
            show_probe(found, Console())
        raise typer.Exit(NO_ANSWER if found.step_time.knee.value is None else OK)


@app.command()
def noise(  # noqa: PLR0913, PLR0917
    task: TaskName,
    batch_size: Annotated[
        int | None, typer.Option(min=1, help="Of the training. Default: a power of two, about the root of its examples.")
    ] = None,
    learning_rate: Annotated[
        float | None, typer.Option(help="Of the training. Default: the best of a short search, six rates or more.")
    ] = None,
    seeds: Annotated[int, typer.Option(min=2, help="Trainings behind each number; intervals are over them.")] = 3,
    epochs: Epochs = None, steps: Steps = None, examples: Examples = None, seconds: Seconds = None,
    optimizer: OptimizerName = "sgd", momentum: Momentum = None,
    measured_examples: Annotated[int, typer.Option(min=2, help="Training examples behind each measurement.")] = 1024,
    looks_per_decade: Annotated[int, typer.Option(min=1, help="Measurements per factor of ten in steps.")] = 6,
    dtype: Dtype = "float32", device: Device = "cpu", engine: EngineName = "auto",
    executor: ExecutorName = "processes", workers: Workers = CORES, store: StoreUrl = "",
    out: Annotated[Path | None, typer.Option(help="Folder for noise.json and runs.db.")] = None,
    as_json: Json = False, no_progress: Quiet = False,
) -> None:  # fmt: skip
    """Measure the gradient noise scale tr(Sigma)/|G|^2 along a training of TASK, with intervals: a screening dial."""
    with orderly():
        from rich.console import Console

        from . import arguments, catalog, job
        from .noise_study import measure_noise
        from .screen import show_noise

        chosen = catalog.load_task(task)
        folder = out or job.default_folder(chosen.name)
        with contextlib.ExitStack() as open_things:
            kept = open_things.enter_context(job.Sql(store)) if store else None
            found = measure_noise(
                chosen, batch_size=batch_size, learning_rate=learning_rate, seeds=seeds,
                budget=arguments.budget(epochs, steps, examples, seconds),
                optimizer=arguments.one_step_a_batch(
                    arguments.optimizer(optimizer, momentum=momentum, nesterov=False, weight_decay=None, clip_norm=None)
                ),
                measured_examples=measured_examples, looks_per_decade=looks_per_decade, dtype=dtype, device=device,
                engine=arguments.engine(engine), executor=arguments.executor(executor, workers), store=kept, out=folder,
                progress=not no_progress, command=command_line(),
            )  # fmt: skip
        if as_json:
            print_json(found.to_json())
        else:
            show_noise(found, Console())
            typer.echo(f"Result: {folder / 'noise.json'}")
        raise typer.Exit(FAILED if found.endings["FAILED"] else OK if found.suggestion else NO_ANSWER)


@app.command()
def calibrate(
    quick: Annotated[bool, typer.Option("--quick", help="Under 20 seconds instead of two minutes.")] = False,
    full: Annotated[bool, typer.Option("--full", help="1,000 studies of each kind and more: many minutes.")] = False,
    as_json: Json = False,
) -> None:
    """Test the instrument against known truths: estimators, coverage of intervals, false alarms, engine equality."""
    with orderly():
        from rich.console import Console

        from .calibration import calibrate as run_checks
        from .calibration.shown import show_checks

        found = run_checks("quick" if quick else "full" if full else "normal")
        if as_json:
            print_json({"checks": [one.to_json() for one in found]})
        else:
            show_checks(found, Console())
        raise typer.Exit(OK if all(one.passed for one in found) else FAILED)


@app.command()
def tasks(as_json: Json = False) -> None:
    """List the built-in tasks."""
    listing("tasks", as_json=as_json)


@app.command()
def measurements(as_json: Json = False) -> None:
    """List what can be measured while a run trains."""
    listing("measurements", as_json=as_json)


@app.command()
def doctor(as_json: Json = False) -> None:
    """Check this machine: versions, device, store, data."""
    with orderly():
        from .doctor import checks

        found = checks()
        if as_json:
            print_json({"checks": found})
        else:
            for one in found:
                typer.echo(f"{'ok  ' if one['ok'] else 'NOT '} {one['name']}: {one['says']}")
        raise typer.Exit(OK if all(one["ok"] or one["optional"] for one in found) else FAILED)


def listing(kind: str, *, as_json: bool) -> None:
    """Print the names of one kind with the first line of each one's documentation."""
    with orderly():
        from . import catalog

        found = [{"name": name, "summary": catalog.summary(kind, name)} for name in catalog.names(kind)]
        if as_json:
            print_json({kind: found})
        else:
            for one in found:
                typer.echo(f"{one['name']:<20} {one['summary']}")
