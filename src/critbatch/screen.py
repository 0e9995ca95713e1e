"""The answer on one screen of a terminal."""

from rich.console import Console
from rich.markup import escape
from rich.table import Table

from .estimate import Estimate
from .finding import BatchSizeFinding, Finding


def show(finding: Finding, console: Console) -> None:
    """Print the answer: failures first, then a row for each batch size, the budgets' winners, and the advice."""
    task = finding.task
    failed = finding.endings.get("FAILED", 0)
    if failed:
        console.print(f"[bold red]{failed} runs FAILED[/bold red]: {escape(finding.warnings[0])}")
    runs = sum(finding.endings.values())
    console.print(
        f"[bold]{escape(task.name)}[/bold]: {task.train_size:,} training examples, {task.parameters:,} parameters, "
        f"{runs} runs, {len(finding.plan.get('seeds', []))} seeds, {finding.seconds:.0f} s of training"
    )
    console.print(_table(finding))
    _paragraph(console, "Which batch size wins", finding.flips)
    _paragraph(console, "Why", _why(finding))
    _advice(finding, console)


def brief(estimate: Estimate, *, percent: bool = False) -> str:
    """Return value and interval in as few characters as three digits allow; a bound or a dash when there is none."""

    def number(value: float) -> str:
        return f"{100 * value:.1f}" if percent else f"{value:,.0f}" if abs(value) >= 1000 else f"{value:.3g}"

    low, high = estimate.low, estimate.high
    if estimate.value is None:
        if low is not None:
            return f"above {number(low)}"
        return f"below {number(high)}" if high is not None else "-"
    if low is None or high is None:
        return number(estimate.value)
    return f"{number(estimate.value)} [{number(low)}, {number(high)}]"


def _table(finding: Finding) -> Table:
    task = finding.task
    table = Table(
        title=f"to {task.target_quantity} {task.target_direction} {task.target_value:.4g} (target {task.target_origin})"
        if task.target_value is not None
        else None,
        title_justify="left",
        pad_edge=False,
    )
    percent = task.metric == "accuracy"
    names = (
        "batch size",
        "best learning rate",
        "steps",
        "examples",
        "seconds",
        f"test {task.metric}{' %' * percent}",
        "",
    )
    for name in names:
        table.add_column(name, justify="left" if not name else "right")
    for row in finding.batch_sizes:
        table.add_row(
            f"{row.batch_size:,}", brief(row.best_learning_rate), brief(row.steps_to_target),
            brief(row.examples_to_target), brief(row.seconds_to_target), brief(row.test_metric, percent=percent),
            _flags(row),
        )  # fmt: skip
    return table


def _flags(row: BatchSizeFinding) -> str:
    flags = [f"{row.diverged} diverged"] if row.diverged else []
    if row.learning_rate_at_edge != "none":
        flags.append(f"rate at {row.learning_rate_at_edge} edge")
    if row.steps_to_target.value is None:
        flags.append("censored")
    return ", ".join(flags)


def _why(finding: Finding) -> list[str]:
    lines = []
    if finding.fit is not None:
        critical = finding.fit.critical_batch_size
        definition = critical.definition.split(":")[0]
        reason = f"; not identified: {critical.reason}" if critical.reason else ""
        lines.append(f"Critical batch size ({definition}): {brief(critical)}{reason}.")
    rule = finding.learning_rate_rule
    lines.append(f"Learning rate rule: {rule.reason}.")
    resolved = [point for point in finding.noise_scale if point.noise_scale.value is not None]
    if resolved:
        first, last = resolved[0], resolved[-1]
        lines.append(
            f"Gradient noise scale (simple, at batch size {first.batch_size}): {brief(first.noise_scale)} at step "
            f"{first.step}, {brief(last.noise_scale)} at step {last.step}."
        )
    elif finding.noise_scale:
        lines.append(f"Gradient noise scale: undetermined ({finding.noise_scale[-1].noise_scale.reason}).")
    return lines


def _advice(finding: Finding, console: Console) -> None:
    advice = finding.recommendation
    if advice is None:
        console.print(f"[bold yellow]No recommendation[/bold yellow]: {escape(finding.recommendation_reason or '')}.")
        return
    console.print(
        f"[bold green]Recommended[/bold green]: batch size [bold]{brief(advice.batch_size)}[/bold], learning rate "
        f"[bold]{brief(advice.learning_rate)}[/bold]"
    )
    _paragraph(console, "", advice.reasons)
    others = [f"batch size {one.batch_size}, rate {brief(one.learning_rate)}: {one.why}" for one in advice.alternatives]
    _paragraph(console, "Also", others)
    _paragraph(console, "Beware", advice.warnings)


def _paragraph(console: Console, title: str, lines: tuple[str, ...] | list[str]) -> None:
    if not lines:
        return
    if title:
        console.print(f"[bold]{title}[/bold]")
    for line in lines:
        console.print(f"  - {escape(line)}", highlight=False)
