"""What a made-up sweep found of batch sizes that change."""

from critbatch.estimate import Estimate
from critbatch.ramp_finding import Ramps, SteeredArm


def _estimate(value: float) -> Estimate:
    facts = {
        "unit": "ratio",
        "method": "paired t on logs",
        "definition": "to the target, over the best fixed batch size's",
    }
    return Estimate(value, 0.9 * value, 1.1 * value, 0.95, 5, **facts)


def ramps() -> Ramps:
    """Return three policies beside a fixed batch size; one of them never reached the target."""
    rows = [
        SteeredArm(
            name,
            name == "StepDecay",
            name == "NormTest",
            16,
            0.5,
            14,
            5,
            *(_estimate(value) for value in values),
            0.01,
        )
        for name, values in (("Seesaw", (0.7, 0.6, 0.9)), ("StepDecay", (0.8, 0.8, 0.8)))
    ]
    none = Estimate.missing("no learning rate reached the target on every seed", unit="ratio", definition="of seconds")
    rows.append(SteeredArm("NormTest", False, True, None, None, 14, 0, none, none, none, 1.0))
    return Ramps(64, 1.0, "yes: a batch that grows took 0.7 times the seconds", tuple(rows), 3e-4, 1e-6)
