"""Where cohorts are trained."""

from abc import ABC, abstractmethod
from collections.abc import Callable, Generator, Sequence
from dataclasses import dataclass
from types import TracebackType
from typing import Self, TypeVar, final

Shared = TypeVar("Shared")
Item = TypeVar("Item")
Result = TypeVar("Result")


@final
@dataclass(frozen=True)
class Lost:
    """Stands in for the result of an item whose worker died, again and again, without an exception."""

    reason: str


class Executor(ABC):
    """Something with a `map`. Results come back to the caller, which is the only writer.

    Entered as a context, an executor may keep its workers from one `map` to the next; they end with the context.

    Attributes:
        workers: How many items are worked on at once.
    """

    workers: int

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        return None

    @abstractmethod
    def map(
        self, function: Callable[[Shared, Item], Result], shared: Shared, items: Sequence[Item]
    ) -> Generator[tuple[Item, Result | Lost], None, None]:
        """Yield each item once with `function(shared, item)`, in the order in which they finish.

        Closing the generator stops the work that is under way.

        Args:
            function: A module-level function. What it raises is raised here.
            shared: Sent to each worker once.
            items: In the order in which they should start.
        """
