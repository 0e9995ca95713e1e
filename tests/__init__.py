"""How annotations are checked while tests run: pyproject.toml names `tests.check` to jaxtyping."""

import typing

from beartype import BeartypeConf, FrozenDict, beartype

# The tower lets an int stand where a float is asked for (PEP 484). beartype can check `Self` only where it decorates a
# whole class; jaxtyping decorates each method alone.
RULES = BeartypeConf(is_pep484_tower=True, hint_overrides=FrozenDict({typing.Self: typing.Any}))


def check(function: typing.Callable[..., typing.Any]) -> typing.Callable[..., typing.Any]:
    return beartype(conf=RULES)(function)
