"""What a claim is tried on: the description of a data set, how much of it, and a model, from which a task can be made."""

from dataclasses import dataclass, fields
from typing import Literal, final

from .finding import TaskFacts

Scale = Literal["smoke", "full"]
TESTED = {
    "mnist": 10_000,
    "fashion-mnist": 10_000,
    "digits": 500,
    "spoken-digits": 300,
    "cifar10": 1000,
    "twelve-bits": 419,
}
VALIDATED = {
    "mnist": 2000,
    "fashion-mnist": 2000,
    "digits": 273,
    "spoken-digits": 652,
    "cifar10": 2000,
    "twelve-bits": 400,
}


@final
@dataclass(frozen=True)
class Bed:
    """A test bed. Equal descriptions are the same task, so that claims share its runs.

    Attributes:
        data: mnist, fashion-mnist, digits, spoken-digits, cifar10, twelve-bits, or uci-NAME for a table of `critbatch.datasets.uci`.
        train: Distinct training examples: the first of a fixed stratified order, but see `in_order`.
        hidden: Widths of the hidden layers; none for a linear model, which is logistic regression.
        activation: relu, sigmoid or tanh.
        norm: Before each activation: none, batch (BatchNorm), or ghost-N (BatchNorm over groups of N examples).
        side: Pixels along an image's edge, averaged down; 0 where the data are no square images.
        l2: Strength of the penalty l2/2 |parameters|^2 in the objective.
        loss: cross_entropy or squared_error (to one-hot labels).
        label_smoothing: Share of the target that all classes divide among themselves.
        copies: How often each training example is repeated.
        classes: Only the first so many classes; 0 for all.
        random_labels: Share of the training labels that are drawn anew, uniformly, by a fixed order.
        bias: Whether a linear model has one; a network always has.
        draw: Which fixed stratified order the training examples are the first of; 0 for the usual one.
        in_order: Whether the training examples are the first as the data lie, not of a stratified order.
        start: What the usual initial parameters are multiplied by; at 0 a linear model starts at the origin.
    """

    data: str = "mnist"
    train: int = 2000
    hidden: tuple[int, ...] = (64,)
    activation: str = "relu"
    norm: str = "none"
    side: int = 14
    l2: float = 0.0
    loss: str = "cross_entropy"
    label_smoothing: float = 0.0
    copies: int = 1
    classes: int = 0
    random_labels: float = 0.0
    bias: bool = True
    start: float = 1.0
    draw: int = 0
    in_order: bool = False

    @property
    def name(self) -> str:
        """Return a name that says everything: data, size, model, and what differs from a plain one."""
        model = "-".join(map(str, self.hidden)) if self.hidden else "linear"
        plain = Bed(
            data=self.data, train=self.train, hidden=self.hidden, side=self.side if self.data == "digits" else 14
        )
        apart = [
            f"{field.name.replace('_', '-')}-{getattr(self, field.name):g}"
            if isinstance(getattr(self, field.name), float)
            else f"{field.name.replace('_', '-')}-{getattr(self, field.name)}"
            for field in fields(self)
            if field.name not in ("data", "train", "hidden") and getattr(self, field.name) != getattr(plain, field.name)
        ]
        return " ".join([f"{self.data}-{self.train}", model, *apart])

    @property
    def size(self) -> int:
        """Return the number of training examples, copies included."""
        return self.train * self.copies

    def facts(self, revision: str = "described") -> TaskFacts:
        """Return what a judge has to know of the task, without making it."""
        return TaskFacts(
            name=self.name, revision=revision, train_size=self.size, test_size=TESTED.get(self.data, 200),
            validation_size=VALIDATED.get(self.data, 200), parameters=None, metric="accuracy", better="above",
            selection_split="validation", target_quantity=None, target_value=None, target_direction=None,
            target_origin="none", is_bed=True,
        )  # fmt: skip


DIGITS = Bed(data="digits", train=1024, hidden=(32,), side=8)


def common_bed(scale: Scale) -> Bed:
    """Return the bed that most claims share: MNIST with one hidden layer, or the digits, which need no data folder."""
    return Bed() if scale == "full" else DIGITS
