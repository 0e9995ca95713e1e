"""Rules about source text. Each takes text and returns what is wrong with it, so that each can be shown a bad text."""

import ast
import re
from collections.abc import Iterator

BANNED_FILES = {"util", "utils", "common", "misc", "helper", "helpers", "core", "base", "shared", "tools"}
BANNED_CLASSES = re.compile(r"(Manager|Handler|Wrapper|Factory|Mixin|Config|Context)$")
LONGEST_FILE = 400
LONGEST_FUNCTION = 50
TORCH_CLASSES = (["nn.Module"], ["nn.BatchNorm1d"], ["optim.Optimizer"])
PEEKING = {"hasattr", "getattr", "super"}
# Written in pieces so that this file does not hold what it forbids.
MACHINE = re.compile(
    "|".join(
        [
            r"(?<![\w.])/" + r"(?:work|farm|root|opt/(?:wheels|pypi))\b",
            "file:" + "///",
            "index" + r"[-_]url",
            "find" + r"[-_]links",
            "extra" + r"[-_]index",
            "--" + "registry",
            r"\bpypi\." + "org/simple",
            r"\bpytorch\." + "org/whl",
        ]
    ),
    re.IGNORECASE,
)


def names(path: str, text: str) -> Iterator[str]:
    """Yield file and class names that say nothing."""
    stem = path.rsplit("/", 1)[-1].removesuffix(".py")
    if stem.strip("_") in BANNED_FILES:
        yield f"{path}: a file named {stem!r} has no subject"
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.ClassDef) and BANNED_CLASSES.search(node.name):
            yield f"{path}:{node.lineno}: class {node.name}"


def lengths(path: str, text: str) -> Iterator[str]:
    """Yield files and function bodies (docstring and signature not counted) that are too long."""
    if (count := len(text.splitlines())) > LONGEST_FILE:
        yield f"{path}: {count} lines, at most {LONGEST_FILE}"
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef)):
            body = node.body[1:] if ast.get_docstring(node, clean=False) is not None else node.body
            count = (node.end_lineno or 0) - body[0].lineno + 1 if body else 0
            if count > LONGEST_FUNCTION:
                yield f"{path}:{node.lineno}: {node.name} has {count} lines, at most {LONGEST_FUNCTION}"


def implementation(path: str, text: str, interface: str) -> Iterator[str]:
    """Yield public classes that are not @final or have another base than `interface` alone."""
    for node in ast.parse(text).body:
        if isinstance(node, ast.ClassDef) and not node.name.startswith("_"):
            if "final" not in [ast.unparse(decorator) for decorator in node.decorator_list]:
                yield f"{path}:{node.lineno}: {node.name} is not @final"
            if [ast.unparse(base) for base in node.bases] != [interface] or node.keywords:
                yield f"{path}:{node.lineno}: {node.name} must have one base, {interface}"


def peeking(path: str, text: str) -> Iterator[str]:
    """Yield calls that ask an object what it is; `super` is left to torch's modules and optimizers."""
    tree = ast.parse(text)
    modules = [node for node in ast.walk(tree) if isinstance(node, ast.ClassDef) and _bases(node) in TORCH_CLASSES]
    in_modules = {id(part) for node in modules for part in ast.walk(node)}

    def allowed(node: ast.AST) -> set[str]:
        return {"super"} if id(node) in in_modules else set()

    for node in ast.walk(tree):
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id in PEEKING - allowed(node):
            yield f"{path}:{node.lineno}: {node.func.id}()"


def _bases(node: ast.ClassDef) -> list[str]:
    return [ast.unparse(base).removeprefix("torch.") for base in node.bases]


def siblings(path: str, text: str) -> Iterator[str]:
    """Yield imports of one implementation by another; `path` is `folder/name.py` or `folder/name/part.py`."""
    folder, own, *deeper = path.removesuffix(".py").split("/")
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.ImportFrom) and node.level:
            base = [folder, own, *deeper][: -node.level]
            module = base + (node.module.split(".") if node.module else [])
            for place in [module] if node.module else [[*module, alias.name] for alias in node.names]:
                if len(place) > 1 and place[0] == folder and place[1] != own:
                    yield f"{path}:{node.lineno}: imports its sibling {place[1]}"


def absolute_imports(path: str, text: str) -> Iterator[str]:
    """Yield imports of the package's own modules by their absolute name."""
    for node in ast.walk(ast.parse(text)):
        match node:
            case ast.ImportFrom(level=0, module=str(module)):
                found = [module]
            case ast.Import(names=aliases):
                found = [alias.name for alias in aliases]
            case _:
                continue
        if any(name.split(".")[0] == "critbatch" for name in found):
            yield f"{path}:{node.lineno}: import critbatch's own modules relatively"


def machine_settings(path: str, text: str) -> Iterator[str]:
    """Yield lines that name a place on somebody's computer or where packages come from."""
    for number, line in enumerate(text.splitlines(), 1):
        if found := MACHINE.search(line):
            yield f"{path}:{number}: {found.group()}"
