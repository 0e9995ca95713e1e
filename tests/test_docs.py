"""What the documentation says has to hold: links, commands, and that every choice is named."""

import importlib
import importlib.util
import re
import subprocess
from pathlib import Path
from types import ModuleType

import pytest
import typer

from critbatch import catalog

ROOT = Path(__file__).resolve().parents[1]
CHOSEN_KINDS = ("budgets", "measurements", "optimizers", "samplings", "scaling_rules", "schedules", "tasks")
LINK = re.compile(r"(?<!!)\[[^\]]*\]\(([^)\s]+)\)|!\[[^\]]*\]\(([^)\s]+)\)")
CODE = re.compile(r"```.*?```|`[^`\n]+`", re.DOTALL)
needs_command_line = pytest.mark.skipif(
    not (ROOT / "src/critbatch/cli.py").exists(), reason="there is no command line yet"
)


def pages() -> list[Path]:
    """Return every Markdown file that is or will be tracked."""
    command = ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard", "*.md"]
    listed = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True).stdout
    return [path for name in listed.split("\0") if name and (path := ROOT / name).is_file()]


def anchors(text: str) -> set[str]:
    """Return the anchors that headings get: lower case, punctuation dropped, blanks to hyphens."""
    headings = re.findall(r"^#+ +(.*?)\s*$", re.sub(r"```.*?```", "", text, flags=re.DOTALL), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


def broken_links(page: Path) -> list[str]:
    """Return the relative links of `page` that lead nowhere."""
    broken = []
    for found in LINK.finditer(CODE.sub("", page.read_text("utf-8"))):
        target = found.group(1) or found.group(2)
        if re.match(r"[a-z]+:", target):
            continue
        place, _, anchor = target.partition("#")
        file = page.parent / place if place else page
        if not file.exists() or (anchor and file.suffix == ".md" and anchor not in anchors(file.read_text("utf-8"))):
            broken.append(f"{page.name}: {target}")
    return broken


def unnamed(names: list[str], texts: list[str]) -> list[str]:
    """Return those of `names` that stand in no code span or code block of `texts` as whole words."""
    code = " ".join(part for text in texts for part in CODE.findall(text))
    return [name for name in names if not re.search(rf"(?<![\w-]){re.escape(name)}(?![\w-])", code)]


def generator() -> ModuleType:
    spec = importlib.util.spec_from_file_location("generate_cli", ROOT / "docs" / "generate_cli.py")
    assert spec is not None
    assert spec.loader is not None
    loaded = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(loaded)
    return loaded


def test_links_lead_somewhere():
    assert [problem for page in pages() for problem in broken_links(page)] == []


def test_a_broken_link_is_found(tmp_path):
    page = tmp_path / "page.md"
    page.write_text("# One two\n[a](missing.md) [b](#one-two) [c](#three) [d](page.md#no) [e](https://example.org)")
    assert broken_links(page) == ["page.md: missing.md", "page.md: #three", "page.md: page.md#no"]


@pytest.mark.parametrize("kind", CHOSEN_KINDS)
def test_every_choice_is_named_in_the_documentation(kind):
    texts = [path.read_text("utf-8") for path in [*(ROOT / "docs").glob("*.md"), ROOT / "README.md"]]
    assert unnamed(catalog.names(kind), texts) == []


def test_a_name_that_is_missing_is_found():
    assert unnamed(["epochs", "steps"], ["epochs in prose, and `steps`", "`epochs-like`"]) == ["epochs"]


@needs_command_line
def test_the_page_of_commands_is_what_the_program_says():
    from critbatch.cli import app

    assert (ROOT / "docs" / "cli.md").read_text("utf-8") == generator().page(app), "docs/cli.md is old: run `make docs`"


def test_the_generator_writes_every_command_with_its_options():
    app = typer.Typer()
    claims = typer.Typer()
    app.add_typer(claims, name="claims")

    @app.command()
    def run(task: str, seeds: int = typer.Option(5, help="Seeds | runs of each cell.")) -> None:
        """Train and report."""

    @claims.command("list")
    def list_claims() -> None:
        """Show all."""

    page = generator().page(app)
    assert "## `critbatch run`\n\nTrain and report.\n\n```\ncritbatch run [OPTIONS]" in page
    assert re.search(r"\| `--seeds [^|`]+` \| Seeds \\\| runs of each cell\. \[default: 5\] \|", page)
    assert "## `critbatch claims list`\n\nShow all.\n" in page


def interface_methods(folder: str) -> tuple[str, set[str]]:
    """Return the name of the interface behind a plural folder and of what implementations must define."""
    interface = catalog.singular(folder).title().replace("_", "")
    found = getattr(importlib.import_module(f"critbatch.{catalog.singular(folder)}"), interface)
    return interface, set(getattr(found, "__abstractmethods__", ()))


@pytest.mark.parametrize("kind", [kind for kind in catalog.KINDS if kind != "tasks"])
def test_the_page_on_extending_names_the_methods_to_implement(kind):
    interface, methods = interface_methods(kind)
    page = (ROOT / "docs" / "extending.md").read_text("utf-8")
    copied, named = re.findall(rf"^\|[^|]+\| `({kind}/\w+\.py)` \| `{interface}` \|(.*)\|$", page, re.MULTILINE)[0]
    assert set(re.findall(r"\w+", named)) == methods
    assert methods
    assert (ROOT / "src" / "critbatch" / copied).exists()
