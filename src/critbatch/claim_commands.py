"""`critbatch claims`: the registry of the literature's claims, put to the test."""

import contextlib
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from .terminal import (
    CORES,
    FAILED,
    NO_ANSWER,
    OK,
    Device,
    EngineName,
    Json,
    Quiet,
    Workers,
    orderly,
    print_json,
)

if TYPE_CHECKING:
    from .claim import Claim, Scale
    from .inquiry import Judged

claims = typer.Typer(
    help="The literature's claims about batch size, each an experiment that can lose.", no_args_is_help=True,
    pretty_exceptions_enable=False, rich_markup_mode=None,
)  # fmt: skip

Ids = Annotated[list[str] | None, typer.Argument(metavar="[ID]...", help="As in `critbatch claims list`: QA-2, H3.")]
Every = Annotated[bool, typer.Option("--all", help="Every claim of the registry.")]
ScaleName = Annotated[str, typer.Option(help="smoke (seconds, checks the machinery) or full (the protocol).")]
TaskName = Annotated[str, typer.Option(help="Try them on this task instead of their own test beds.")]
FirstSeed = Annotated[int, typer.Option(min=0, help="Added to every seed: the same experiment, fresh randomness.")]
ArchiveFolder = Annotated[
    Path | None, typer.Option(help="Folder of archived evidence: runs in it are not trained again, new ones are added.")
]
Folder = Annotated[Path, typer.Option(help="Folder for runs.db, claims.json and the evidence.")]


@claims.command("list")
def listed(as_json: Json = False) -> None:
    """List the claims."""
    with orderly():
        from .claims import registry

        found = [_described(claim) for claim in registry().values()]
        if as_json:
            print_json({"claims": found})
        else:
            for one in found:
                typer.echo(f"{one['id']:<7} {one['statement']}")


@claims.command()
def show(claim: Annotated[str, typer.Argument(metavar="ID")], as_json: Json = False) -> None:
    """Show one claim: statement, source, published numbers, protocol."""
    with orderly():
        one = _described(_chosen([claim], every=False)[0])
        if as_json:
            print_json(one)
        else:
            for name, value in one.items():
                typer.echo(f"{name.replace('_', ' ')}: {', '.join(value) if isinstance(value, list) else value}")


@claims.command()
def run(  # noqa: PLR0913, PLR0917
    ids: Ids = None, every: Every = False, scale: ScaleName = "full", task: TaskName = "", first_seed: FirstSeed = 0,
    out: Folder = Path("critbatch-results/claims"), workers: Workers = CORES, device: Device = "cpu",
    engine: EngineName = "auto", archive: ArchiveFolder = None, as_json: Json = False, no_progress: Quiet = False,
) -> None:  # fmt: skip
    """Train what the claims ask for, unless it is there already, and judge them."""
    with orderly():
        from . import arguments, catalog
        from .archive import Archive, read, write
        from .executors.processes import Processes
        from .inquiry import inquire
        from .progress import Bar
        from .stores.sql import Sql
        from .study import Silent, Workshop, check_device, task_facts

        chosen, at = _chosen(ids or [], every=every), _scale(scale)
        own = catalog.load_task(task) if task else None
        check_device(device)
        kept = read(archive) if archive and archive.is_dir() else Archive()
        with contextlib.ExitStack() as open_things:
            store = open_things.enter_context(Sql(str(_folder(out) / "runs.db")))
            watcher = (
                Silent()
                if no_progress
                else open_things.enter_context(Bar(None if own is None else task_facts(own, None)))
            )
            hands = open_things.enter_context(Processes(workers=workers))
            shop = Workshop(store, hands, device=device, engine=arguments.engine(engine), watcher=watcher)
            found = _reported(inquire(chosen, at, shop, own=own, first_seed=first_seed, archive=kept), as_json=as_json)
        if archive:
            write(kept, archive)
        _finish(found, out, as_json=as_json)


@claims.command()
def judge(
    ids: Ids = None, evidence: Annotated[Path, typer.Option(help="Folder of an archive.")] = Path("docs/evidence"),
    as_json: Json = False,
) -> None:  # fmt: skip
    """Judge claims again from archived evidence: nothing is trained, and no data are needed."""
    with orderly():
        from .archive import read
        from .inquiry import reconsider

        chosen = _chosen(ids or [], every=not ids)
        _finish(_reported(reconsider(chosen, read(evidence)), as_json=as_json), None, as_json=as_json)


def _chosen(ids: Sequence[str], *, every: bool) -> "list[Claim]":
    """Return the claims of these ids.

    Raises:
        ValueError: If there is none of that id, or nothing is asked for.
    """
    from .claims import registry

    known = registry()
    if not ids and not every:
        raise ValueError("`critbatch claims`: name claims, or give --all. `critbatch claims list` lists them.")
    if wrong := [one for one in ids if one.upper() not in known]:
        raise ValueError(f"No claim is called {wrong[0]!r}. There are: {', '.join(known)}.")
    return [known[one.upper()] for one in ids] if ids else list(known.values())


def _scale(name: str) -> "Scale":
    if name not in {"smoke", "full"}:
        raise ValueError(f"`--scale {name}`: use smoke or full.")
    return name  # pyrefly: ignore


def _folder(path: Path) -> Path:
    path.mkdir(parents=True, exist_ok=True)
    return path


def _described(claim: "Claim") -> dict[str, Any]:
    return {
        "id": claim.id, "statement": claim.statement, "source": claim.source, "about": claim.about,
        "kinds": [kind.value for kind in claim.kinds], "budget": claim.budget, "learning_rate_policy": claim.policy,
        "test_beds": [bed.name for bed in claim.beds("full").values()], "published": claim.published or "none",
        "on_your_task": claim.why_not_yours or "yes", "judged_in_every_report": "yes" if claim.reads_sweep else "no",
    }  # fmt: skip


def _reported(found: "Any", *, as_json: bool) -> "list[Judged]":
    """Return all that were judged, each told as soon as it is there."""
    kept = []
    for one in found:
        kept.append(one)
        if as_json:
            continue
        outcome = one.verdict.outcome.name if one.verdict else "NOT TRIED"
        typer.echo(f"{outcome:<12} {one.claim.id:<7} {one.claim.statement} [{one.seconds:.1f} s]")
        typer.echo(f"             {one.verdict.reason if one.verdict else one.reason}")
    return kept


def _finish(found: "list[Judged]", out: Path | None, *, as_json: bool) -> None:
    """Write claims.json if there is a folder for it, and leave with the exit code that the verdicts deserve."""
    import json

    from .claim import Outcome, verdict_json

    documents = [
        verdict_json(one.verdict, one.claim)
        if one.verdict
        else {"id": one.claim.id, "outcome": None, "reason": one.reason}
        for one in found
    ]
    if out is not None:
        text = json.dumps({"schema_version": 1, "claims": documents}, indent=1, sort_keys=True, allow_nan=False)
        (out / "claims.json").write_text(text + "\n", encoding="utf-8")
    if as_json:
        print_json({"claims": documents})
    endings = (
        [] if out is None else [end for one in found if one.exhibit for end in one.exhibit.evidence.runs["ending"]]
    )
    if "FAILED" in endings:
        raise typer.Exit(FAILED)
    undecided = [one for one in found if one.verdict is None or one.verdict.outcome is Outcome.INCONCLUSIVE]
    raise typer.Exit(NO_ANSWER if len(undecided) == len(found) else OK)
