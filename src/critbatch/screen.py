"""The answer on one screen of a terminal."""

from typing import TYPE_CHECKING

from rich import box
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from .estimate import Estimate, short
from .finding import BatchSizeFinding, Finding, Regime

if TYPE_CHECKING:
    from .analysis.noise_over_training import NoiseAverage, NoiseFinding, NoiseLook
    from .hardware.probe import Probe


def show(finding: Finding, console: Console) -> None:
    """Print the answer: failures first, then a row for each batch size, the budgets' winners, and the advice."""
    task = finding.task
    failed = finding.endings.get("FAILED", 0)
    if failed:
        console.print(f"[bold red]{failed} runs FAILED[/bold red]: {escape(finding.warnings[0])}")
    runs = sum(finding.endings.values())
    if task.train_size is None:
        console.print(f"[bold]{escape(task.name)}[/bold]: a log of {runs} runs")
    else:
        console.print(
            f"[bold]{escape(task.name)}[/bold]: {task.train_size:,} training examples, {task.parameters:,} parameters, "
            f"{runs} runs, {len(finding.plan.get('seeds', []))} seeds, {finding.seconds:.0f} s of training (as the plain "
            "loop takes them)"
        )
    console.print(_table(finding))
    if any("edge" in note for row in finding.batch_sizes for note in _notes(row)):
        console.print("  edge: the best learning rate may lie outside of those tried", style="yellow")
    if any(row.diverged for row in finding.batch_sizes):
        diverged = ", ".join(f"{row.diverged} at {row.batch_size}" for row in finding.batch_sizes if row.diverged)
        console.print(f"  diverged runs: {diverged}")
    _paragraph(console, "Which batch size wins", finding.flips)
    _paragraph(console, "Why", _why(finding))
    _paragraph(console, "Would a ramp have saved time", [finding.ramps.sentence] if finding.ramps else [])
    _advice(finding, console)


def _table(finding: Finding) -> Table:
    task = finding.task
    table = Table(
        title=f"to {task.target_quantity} {task.target_direction} {task.target_value:.4g} (target {task.target_origin})"
        if task.target_value is not None
        else None,
        title_justify="left",
        box=box.SIMPLE_HEAD,
        pad_edge=False,
        padding=(0, 0, 0, 1),
    )
    percent = task.metric == "accuracy"
    metric = f"test {task.metric}{' %' * percent}"
    logged = task.train_size is None
    names = ["batch size", "best learning rate", "steps", "examples"] + ([] if logged else ["seconds", metric])
    for name in names:
        table.add_column(name.replace(" ", "\n", 1), justify="right", no_wrap=True)
    for row in finding.batch_sizes:
        costs = [row.best_learning_rate, row.steps_to_target, row.examples_to_target]
        cells = [_two_lines(one.brief()) for one in costs + ([] if logged else [row.seconds_to_target])]
        cells += [] if logged else [_two_lines(row.test_metric.brief(percent=percent))]
        table.add_row("\n".join([f"{row.batch_size:,}", *_notes(row)]), *cells)
    return table


def _two_lines(text: str) -> str:
    value, _, interval = text.partition(" [")
    return f"{value}\n[dim]{interval.rstrip(']').replace(', ', '–')}[/dim]" if interval else value


def _notes(row: BatchSizeFinding) -> list[str]:
    notes = ["edge"] if row.learning_rate_at_edge != "none" else []
    if row.steps_to_target.value is None:
        notes.append("censored" if row.censored else "no run arrived")
    return [f"[yellow]{note}[/yellow]" for note in notes]


def _why(finding: Finding) -> list[str]:
    lines = []
    if finding.fit is not None:
        critical = finding.fit.critical_batch_size
        definition = critical.definition.split(":")[0]
        reason = f"; not identified: {critical.reason}" if critical.reason else ""
        lines.append(f"Critical batch size ({definition}): {critical.brief()}{reason}.")
        if finding.fit.misspecified:
            lines.append(f"The hyperbola is misspecified: {finding.fit.misspecified}.")
    if finding.regimes:
        lines.append("; ".join(_regime(one) for one in finding.regimes) + ".")
    rule = finding.learning_rate_rule
    lines.append(f"Learning rate rule: {rule.reason}.")
    resolved = [point for point in finding.noise_scale if point.noise_scale.value is not None]
    if resolved:
        first, last = resolved[0], resolved[-1]
        missing = len(finding.noise_scale) - len(resolved)
        unresolved = f"; undetermined at {missing} of {len(finding.noise_scale)} looks" if missing else ""
        lines.append(
            f"Gradient noise scale (simple, at batch size {first.batch_size}): {first.noise_scale.brief()} at step "
            f"{first.step}, {last.noise_scale.brief()} at step {last.step}{unresolved}."
        )
    elif finding.noise_scale:
        lines.append(f"Gradient noise scale: undetermined ({finding.noise_scale[-1].noise_scale.reason}).")
    return lines


def _regime(one: Regime) -> str:
    low, high = ("" if end is None else end.brief() for end in (one.low, one.high))
    where = f"from {low} to {high}" if low and high else f"up to {high}" if high else f"from {low}"
    return f"{one.name[0].upper()}{one.name[1:]} {where}"


def _advice(finding: Finding, console: Console) -> None:
    advice = finding.recommendation
    if advice is None:
        console.print(f"[bold yellow]No recommendation[/bold yellow]: {escape(finding.recommendation_reason or '')}.")
        _paragraph(console, "Beware", finding.warnings)
        _paragraph(console, "Run next", finding.next_runs)
        return
    console.print(
        f"[bold green]Recommended[/bold green]: batch size [bold]{advice.batch_size.brief()}[/bold], learning rate "
        f"[bold]{advice.learning_rate.brief()}[/bold]"
    )
    _paragraph(console, "", advice.reasons)
    others = [
        f"batch size {one.batch_size}, rate {one.learning_rate.brief()}: {one.why}" for one in advice.alternatives
    ]
    _paragraph(console, "Also", others)
    _paragraph(console, "Beware", advice.warnings)
    _paragraph(console, "To narrow this, run next", finding.next_runs)


def _paragraph(console: Console, title: str, lines: tuple[str, ...] | list[str]) -> None:
    if not lines:
        return
    if title:
        console.print(f"[bold]{title}[/bold]")
    for line in lines:
        console.print(f"  - {escape(line)}", highlight=False)


def show_probe(found: "Probe", console: Console) -> None:
    """Print step time and throughput at each batch size, the line through them, memory and accumulation."""
    console.print(
        f"[bold]{escape(found.task)}[/bold] on {escape(found.device)}, {found.dtype}, {found.threads} thread(s)"
    )
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False, padding=(0, 0, 0, 1))
    for name in ("batch size", "seconds a step", "examples a second", "first step", "off the line"):
        table.add_column(name.replace(" ", "\n", 1), justify="right", no_wrap=True)
    points = {point.batch_size: point for point in found.step_time.points}
    for one in found.sizes:
        residual = points[one.batch_size].residual if one.batch_size in points else None
        off = "" if residual is None else f"{100 * residual:+.0f} %"
        cells = _two_lines(one.seconds.brief()), f"{one.examples_per_second:,.0f}", short(one.first_seconds), off
        table.add_row(f"{one.batch_size:,}", *cells)
    console.print(table)
    line = found.step_time
    named = {"fixed time of a step (t0)": line.t0, "time of an example (t1)": line.t1,
             "half of full speed from batch size (t0/t1)": line.knee, "90 % of full speed from": line.ninety_percent}  # fmt: skip
    lines = [f"{name}: {_said(one)}" for name, one in named.items()]
    if found.memory is not None:
        lines.append(f"largest batch size in {found.memory.limit_bytes / 2**30:.3g} GiB: {_said(found.memory.ceiling)}")
    if found.accumulation is not None:
        one = found.accumulation
        same = "the same gradient" if one.is_same else f"another gradient ({one.reason})"
        lines.append(
            f"batch size {one.batch_size} in micro-batches of {one.micro_batch_size}: {one.ratio.brief()} times the time of a "
            f"whole batch, {same}"
        )
    _paragraph(console, "", [*lines, *([found.left_out] if found.left_out else [])])


def show_noise(found: "NoiseFinding", console: Console) -> None:
    """Print the noise at each look, its averages over training, what batch size it suggests, and how far to believe it."""
    failed = found.endings.get("FAILED", 0)
    if failed:
        console.print(f"[bold red]{failed} runs FAILED[/bold red]: {escape(found.warnings[0])}")
    rate = "no learning rate" if found.learning_rate is None else f"learning rate {short(found.learning_rate)}"
    seeds = len(found.plan.get("seeds", []))
    console.print(
        f"[bold]{escape(found.task.name)}[/bold]: batch size {found.batch_size:,}, {rate} "
        f"({escape(found.learning_rate_origin)}), {seeds} seeds, {found.seconds:.1f} s of training",
        highlight=False,
    )
    console.print(f"Measured: {escape(found.objective)}", highlight=False)
    if found.looks:
        console.print(_noise_table(found.looks))
        unknown = [one for one in found.looks if one.noise_scale.value is None]
        if unknown:
            count = f"{len(unknown)} look{'s' * (len(unknown) > 1)}"
            last = f"at step {unknown[-1].step:,} {escape(unknown[-1].noise_scale.reason or '')}"
            console.print(f"  undetermined at {count}: {last}", style="yellow", highlight=False)
    task = found.task
    target = f"to {task.target_quantity} {task.target_direction} {task.target_value}"
    named = {target: found.to_target, "the whole training": found.whole, "its last half": found.last_half}
    lines = [f"{name}, {_average(one)}" for name, one in named.items() if one]
    _paragraph(console, "Noise scale averaged over steps, in examples, with 95 % intervals over seeds", lines)
    if found.suggestion:
        console.print(f"[bold green]As a first guess[/bold green]: {escape(found.suggestion)}.", highlight=False)
    else:
        console.print(f"[bold yellow]Nothing can be said[/bold yellow]: {escape(found.reason or '')}.", highlight=False)
    _paragraph(console, "Beware", [found.caution, *found.warnings])


def _noise_table(looks: "tuple[NoiseLook, ...]") -> Table:
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False, padding=(0, 0, 0, 1))
    for name in ("step", "examples", "training loss", "tr(Sigma)", "|G|^2", "noise scale"):
        table.add_column(name.replace(" ", "\n", 1), justify="right", no_wrap=True)
    for one in looks:
        numbers = [one.train_loss, one.covariance_trace, one.squared_norm]
        means = ["-" if each.value is None else short(each.value) for each in numbers]
        scale = one.noise_scale
        text = (
            scale.brief()
            if scale.value is not None
            else f"[yellow]undetermined{f', {scale.brief()}' * (scale.low is not None)}[/yellow]"
        )
        table.add_row(f"{one.step:,}", f"{one.examples:,}", *means, text)
    return table


def _average(one: "NoiseAverage") -> str:
    scale = one.noise_scale
    value = (
        scale.brief() if scale.value is not None else f"undetermined{f', {scale.brief()}' * (scale.low is not None)}"
    )
    reason = "" if scale.value is not None else f": {scale.reason}"
    return f"steps {one.first_step:,} to {one.last_step:,}: {value}{reason}"


def _said(one: Estimate) -> str:
    unit = "" if one.unit == "examples" else f" {one.unit}"
    return f"{one.brief()}{unit}" if one.value is not None else f"{one.brief()} ({one.reason})"
