"""Names to things: the folder is the list."""

import importlib
import importlib.util
import inspect
import pkgutil
import sys
from functools import partial
from pathlib import Path
from types import ModuleType
from typing import Any

from .task import Task

KINDS = (
    "batch_policies", "budgets", "curves", "executors", "measurements", "optimizers", "samplings", "scaling_rules",
    "schedules", "stores", "tasks",
)  # fmt: skip


def names(kind: str) -> list[str]:
    """Return the names of all implementations of `kind` (a folder of this package), sorted."""
    package = importlib.import_module(f".{kind}", __package__)
    return sorted(module.name for module in pkgutil.iter_modules(package.__path__))


def singular(kind: str) -> str:
    """Return the name of the file that says what a kind is: of `batch_policies`, `batch_policy`."""
    return f"{kind[:-3]}y" if kind.endswith("ies") else kind[:-1]


def module(kind: str, name: str) -> ModuleType:
    """Return the module of one implementation.

    Raises:
        ValueError: If there is none of that name; the message lists those that are there.
    """
    if name not in names(kind):
        raise ValueError(
            f"No {singular(kind).replace('_', ' ')} is called {name!r}. There are: {', '.join(names(kind))}."
        )
    return importlib.import_module(f".{kind}.{name}", __package__)


def summary(kind: str, name: str) -> str:
    """Return the first line of what one implementation says of itself."""
    return (inspect.getdoc(module(kind, name)) or "").partition("\n")[0]


def load(kind: str, name: str) -> type:
    """Return the class of one implementation: the one public class that its file defines.

    Raises:
        ValueError: If there is none of that name.
        TypeError: If the file defines no public class or several.
    """
    found = module(kind, name)
    classes = [
        value
        for key, value in inspect.getmembers(found, inspect.isclass)
        if value.__module__ == found.__name__ and not key.startswith("_")
    ]
    if len(classes) != 1:
        raise TypeError(f"{found.__name__} must define one public class, has {[cls.__name__ for cls in classes]}.")
    return classes[0]


def load_task(reference: str) -> Task:
    """Return the task that `reference` names.

    Args:
        reference: A name from `names("tasks")`, `path/to/file.py:name` or `module:name`; the named object is a `Task`
            or a function without arguments that returns one. A file is executed: name only files that you trust.

    Raises:
        ValueError: If nothing is found there, the file raises, or it is no task. The original error is the cause.
    """
    place, separator, attribute = reference.rpartition(":")
    if not separator:
        found: Any = module("tasks", reference).task
    else:
        found = _attribute(_import(place, reference), attribute, reference)
    try:
        task = found() if not isinstance(found, Task) and callable(found) else found
    except Exception as error:
        raise ValueError(f"Task {reference!r} could not be made: {type(error).__name__}: {error}") from error
    if not isinstance(task, Task):
        raise ValueError(
            f"Task {reference!r} is of type {type(task).__name__}. Give a Task or a function returning one."
        )
    return task.from_source(partial(load_task, reference))


def _import(place: str, reference: str) -> ModuleType:
    path = Path(place).expanduser()
    is_file = place.endswith(".py")
    if is_file and not path.is_file():
        raise ValueError(f"Task {reference!r}: there is no file {str(path.absolute())!r}. Check the path.")
    try:
        return _import_file(path) if is_file else importlib.import_module(place)
    except Exception as error:
        raise ValueError(f"Task {reference!r}: importing {place!r} raised {type(error).__name__}: {error}") from error


def _import_file(path: Path) -> ModuleType:
    name = f"critbatch_task_{path.stem}"
    spec = importlib.util.spec_from_file_location(name, path)
    if spec is None or spec.loader is None:
        raise ValueError(f"{str(path)!r} is not a Python file.")
    loaded = importlib.util.module_from_spec(spec)
    sys.modules[name] = loaded
    spec.loader.exec_module(loaded)
    return loaded


def _attribute(found: ModuleType, attribute: str, reference: str) -> Any:
    if not hasattr(found, attribute):
        public = sorted(key for key in vars(found) if not key.startswith("_"))
        raise ValueError(f"Task {reference!r}: {found.__name__} has no {attribute!r}. It has: {', '.join(public)}.")
    return getattr(found, attribute)
