"""What changes when the batch size does."""

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any, final

import torch
from torch import Tensor

from ..estimate import short
from .families import COUPLED, family_of


@final
@dataclass(frozen=True)
class Change:
    """One hyperparameter, before and after.

    Attributes:
        name: In the field's words.
        before: At the batch size that it is known for.
        after: At the new one.
        formula: With B for the batch size, k for the new one over the old.
        source: Authors, year, arXiv id; or what was measured.
        validity: Where the formula holds.
        warning: What speaks against it here; empty inside its validity.
        low: Lower end where the formula was measured, else None.
        high: Upper end.
    """

    name: str
    before: float
    after: float
    formula: str
    source: str
    validity: str
    warning: str = ""
    low: float | None = None
    high: float | None = None


@final
@dataclass(frozen=True)
class Translation:
    """All hyperparameters at another batch size.

    Attributes:
        family: Of the optimizer: sgd, adam, adamw, adafactor or sign.
        from_batch: Examples in a batch that the hyperparameters are known for.
        to_batch: Examples in the new batch.
        changes: One for each hyperparameter that is known, those that stay included.
        lost: What no rule brings over.
    """

    family: str
    from_batch: int
    to_batch: int
    changes: tuple[Change, ...]
    lost: tuple[str, ...]

    @property
    def warnings(self) -> tuple[str, ...]:
        """Return all warnings."""
        return tuple(f"{one.name}: {one.warning}" for one in self.changes if one.warning)

    def __getitem__(self, name: str) -> Change:
        for one in self.changes:
            if one.name == name:
                return one
        raise KeyError(f"nothing is known of {name!r}. There are: {', '.join(one.name for one in self.changes)}.")

    def apply(self, optimizer: torch.optim.Optimizer) -> None:
        """Change learning rate, betas, epsilon and decoupled weight decay of every parameter group, in place.

        Groups keep their ratios: each rate is multiplied by the same factor. All new values are computed first, so that
        an error leaves the optimizer as it was. The optimizer's state (its averages) is kept.

        Raises:
            ValueError: If the optimizer is of another family, or a group lacks what changes.
        """
        family = family_of(optimizer)
        if family != self.family:
            raise ValueError(
                f"`Translation.apply(optimizer)`: {type(optimizer).__name__} is of the family {family}, this translation of "
                f"{self.family}. Translate for this optimizer: scale_hyperparameters(optimizer, ...)."
            )
        moved = [self._moved(group) for group in optimizer.param_groups]
        for group, values in zip(optimizer.param_groups, moved, strict=True):
            for name, value in values.items():
                if isinstance(group[name], Tensor):
                    group[name].copy_(value)
                else:
                    group[name] = value

    def _moved(self, group: dict[str, Any]) -> dict[str, Any]:
        changes = {one.name: one for one in self.changes}
        found: dict[str, Any] = {}
        rate = changes["learning rate"]
        for name in ("lr", "initial_lr"):
            if name in group:
                found[name] = group[name] * (rate.after / rate.before)
        power = self.to_batch / self.from_batch
        if "beta2" in changes:
            name = "betas" if "betas" in group else "alpha"
            found[name] = (
                (group["betas"][0], group["betas"][1] ** power) if name == "betas" else group["alpha"] ** power
            )
        if "epsilon" in changes:
            found["eps"] = group["eps"] / power**0.5
        if self.family not in COUPLED and "weight_decay" in group:
            found["weight_decay"] = group["weight_decay"] * power * rate.before / rate.after
        return found

    def to_json(self) -> dict[str, Any]:
        """Return the translation as JSON types."""
        return {
            "schema_version": 1, "family": self.family, "from_batch": self.from_batch, "to_batch": self.to_batch,
            "changes": [asdict(one) for one in self.changes], "lost": list(self.lost), "warnings": list(self.warnings),
        }  # fmt: skip

    def __str__(self) -> str:
        rows = [("", f"B = {self.from_batch}", f"B = {self.to_batch}", "formula")]
        rows += [(one.name, _digits(one.before), _after(one), one.formula) for one in self.changes]
        widths = [max(len(row[at]) for row in rows) for at in range(3)]
        lines = [
            "  ".join(f"{cell:<{width}}" for cell, width in zip(row, [*widths, 0], strict=True)).rstrip()
            for row in rows
        ]
        lines += _listed("Sources", [f"{one.name}: {one.source}; {one.validity}" for one in self.changes])
        lines += _listed("Warnings", self.warnings) + _listed("What is lost", self.lost)
        return "\n".join(lines)


def _after(one: Change) -> str:
    ends = "" if one.low is None or one.high is None else f" [{short(one.low)}, {short(one.high)}]"
    return _digits(one.after) + ends


def _digits(value: float) -> str:
    """Return a number with three digits, or as many as tell it from 1."""
    return f"{value:.6g}" if 0.9 < value < 1 else short(value)


def _listed(title: str, texts: Sequence[str]) -> list[str]:
    return ["", title, *(f"  - {one}" for one in texts)] if texts else []
