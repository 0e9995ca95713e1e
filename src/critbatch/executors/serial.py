"""One item after the other, in this process."""

from collections.abc import Callable, Generator, Sequence
from typing import final

from typing_extensions import override

from ..executor import Executor, Item, Lost, Result, Shared


@final
class Serial(Executor):
    """Works in this process: needs nothing importable, and a debugger can follow. If the process dies, all stops."""

    workers: int = 1

    @override
    def map(
        self, function: Callable[[Shared, Item], Result], shared: Shared, items: Sequence[Item]
    ) -> Generator[tuple[Item, Result | Lost], None, None]:
        for item in items:
            yield item, function(shared, item)
