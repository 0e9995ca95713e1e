"""Which kind of update rule an optimizer is, and its hyperparameters under common names."""

from collections.abc import Mapping
from typing import Any

import torch

FAMILIES = {
    "sgd": ("sgd",),
    "adam": ("adam", "nadam", "radam", "adamax", "rmsprop"),
    "adamw": ("adamw", "lamb"),
    "adafactor": ("adafactor",),
    "sign": ("lion", "signsgd", "signum", "sign", "muon"),
}
COUPLED = ("sgd", "adam")  # whose weight decay is part of the gradient
ALIASES = {
    "lr": "learning_rate", "eps": "epsilon", "alpha": "beta2", "b1": "beta1", "b2": "beta2", "wd": "weight_decay",
    "name": "optimizer", "adam_beta1": "beta1", "adam_beta2": "beta2", "adam_epsilon": "epsilon",
}  # fmt: skip
KNOWN = ("optimizer", "learning_rate", "momentum", "nesterov", "beta1", "beta2", "epsilon", "weight_decay")
DEFAULTS: dict[str, dict[str, float]] = {
    "sgd": {"momentum": 0.0, "weight_decay": 0.0},
    "adam": {"beta1": 0.9, "beta2": 0.999, "epsilon": 1e-8, "weight_decay": 0.0},
    "adamw": {"beta1": 0.9, "beta2": 0.999, "epsilon": 1e-8, "weight_decay": 0.01},
    "adafactor": {"weight_decay": 0.0},
    "sign": {"beta1": 0.9, "beta2": 0.99, "weight_decay": 0.0},
}


def family_of(optimizer: torch.optim.Optimizer | str) -> str:
    """Return the family of an optimizer or of its name.

    Raises:
        ValueError: If it is none that rules are known for.
    """
    if isinstance(optimizer, str):
        name = optimizer.lower().replace("_", "").replace("-", "")
    else:
        name = type(optimizer).__name__.lower()
        if name in ("adam", "nadam", "radam") and optimizer.param_groups[0].get("decoupled_weight_decay"):
            return "adamw"
    for family, names in FAMILIES.items():
        if name in names:
            return family
    known = ", ".join(name for names in FAMILIES.values() for name in names)
    raise ValueError(
        f"`scale_hyperparameters(optimizer)`: no rule is known for {name!r}. There are rules for {known}. If it behaves like "
        "one of these, give a mapping with that name under 'optimizer'."
    )


def settings_of(optimizer: torch.optim.Optimizer | Mapping[str, Any]) -> tuple[str, dict[str, float]]:
    """Return the family, and hyperparameters under common names.

    Of an optimizer they are those of its first parameter group, and the largest weight decay of all groups.

    Raises:
        ValueError: If there is no learning rate, a key is not known, or a number is impossible.
    """
    if isinstance(optimizer, torch.optim.Optimizer):
        family, found = family_of(optimizer), _of_group(optimizer)
    else:
        given = _renamed(optimizer)
        if "optimizer" not in given:
            raise ValueError("`scale_hyperparameters(config)`: it needs 'optimizer', the name of the update rule.")
        family = family_of(str(given.pop("optimizer")))
        found = DEFAULTS[family] | {key: float(value) for key, value in given.items() if key != "nesterov"}
    _check(found)
    return family, found


def _of_group(optimizer: torch.optim.Optimizer) -> dict[str, float]:
    group = optimizer.param_groups[0]
    found = {"learning_rate": float(group["lr"])}
    for theirs, ours in (
        ("momentum", "momentum"),
        ("eps", "epsilon"),
        ("alpha", "beta2"),
        ("weight_decay", "weight_decay"),
    ):
        if isinstance(group.get(theirs), float | int):
            found[ours] = float(group[theirs])
    if "weight_decay" in found:  # groups without it, as of biases, may come first
        found["weight_decay"] = max(float(one["weight_decay"]) for one in optimizer.param_groups)
    if "betas" in group:
        found |= {"beta1": float(group["betas"][0]), "beta2": float(group["betas"][1])}
    return found


def _renamed(config: Mapping[str, Any]) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for key, value in config.items():
        if key == "betas":
            found["beta1"], found["beta2"] = value
            continue
        name = ALIASES.get(key, key)
        if name not in KNOWN:
            raise ValueError(
                f"`scale_hyperparameters(config)`: {key!r} is not known. Known are {', '.join(KNOWN)}, betas."
            )
        found[name] = value
    return found


def _check(found: Mapping[str, float]) -> None:
    if "learning_rate" not in found or not 0 < found["learning_rate"] < float("inf"):
        raise ValueError(
            f"`scale_hyperparameters`: learning_rate must be above 0 and finite, got {found.get('learning_rate')}."
        )
    for name in ("momentum", "beta1", "beta2"):
        if not 0 <= found.get(name, 0.0) < 1:
            raise ValueError(f"`scale_hyperparameters`: {name} must be in [0, 1), got {found[name]}.")
    for name in ("weight_decay", "epsilon"):
        if not 0 <= found.get(name, 0.0) < float("inf"):
            raise ValueError(f"`scale_hyperparameters`: {name} must be at least 0 and finite, got {found[name]}.")
