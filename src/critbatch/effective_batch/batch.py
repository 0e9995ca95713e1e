"""One optimizer step on a whole batch, in pieces that fit into memory."""

import copy
import logging
import warnings
from collections.abc import Callable
from typing import Any, Literal, final

import torch
from torch import Tensor, nn
from torch.distributed.tensor import DTensor
from torch.nn.parallel import DistributedDataParallel

from ..out_of_memory import OutOfMemory, is_memory
from .coupling import ADVICE, Coupling, batch_norms, coupling, ghost_multiple
from .pieces import cut, length, tensors

LOG = logging.getLogger("critbatch.effective_batch")
Guard = Literal["first", "always", "never"]
BUCKET = 2**22  # numbers that are sent to the other processes at once


@final
class EffectiveBatch:
    """Steps on the batch that was asked for, in micro-batches that memory holds.

        effective = cb.EffectiveBatch(model, optimizer, loss=lambda model, batch: F.cross_entropy(
            model(batch[0]), batch[1], reduction="sum"))
        for batch in loader:  # the whole batch
            mean_loss = effective.step(batch)

    The statistical batch never changes: when memory runs out the micro-batch is halved, gradients, buffers and random state
    are put back, and the step is done again from its beginning. The gradient is that of the sum of losses over the
    whole batch divided by its size, counted once for all pieces (and all processes): no mean of unequal means.

    Over several processes (DistributedDataParallel) every process computes its pieces without communication, all learn
    whether one ran out of memory, and gradients are then added up: communication does not overlap with the backward pass,
    which is the price of a step that can be done again.

    Args:
        model: A module, or a DistributedDataParallel one; `loss` is given the module itself.
        optimizer: Over its parameters; may be wrapped by Accelerate or Lightning.
        loss: Returns the sum of the losses of a piece of a batch, a scalar tensor, given the module and the piece.
        size: Returns what a batch is divided by: None for its examples, or a function of a batch, for example its tokens.
        micro_batch_size: Examples in a piece to begin with. None: the whole batch.
        scaler: Of mixed precision in float16.
        clip_norm: Largest norm of the gradient of the whole batch.
        backward: Replaces `loss.backward()`: `accelerator.backward`, or `manual_backward` of a LightningModule.
        guard: When parameters and the optimizer's state are copied, so that an update that ran out of memory can be taken
            back: "first", when the optimizer makes its state; "always", "never".

    Attributes:
        micro_batch_size: Examples in a piece now; it only ever falls. None until the first batch.

    Raises:
        ValueError: If a size is not positive, the optimizer has none of the model's parameters, or the model is sharded.
    """

    def __init__(  # noqa: PLR0913
        self, model: nn.Module, optimizer: torch.optim.Optimizer, *, loss: Callable[[nn.Module, Any], Tensor],
        size: Callable[[Any], float] | None = None, micro_batch_size: int | None = None,
        scaler: torch.amp.GradScaler | None = None, clip_norm: float | None = None,
        backward: Callable[[Tensor], Any] | None = None, guard: Guard = "first",
    ) -> None:  # fmt: skip
        self.is_shared = isinstance(model, DistributedDataParallel)
        self.module: nn.Module = model.module if isinstance(model, DistributedDataParallel) else model
        self.optimizer, self.loss, self.size = optimizer, loss, size
        self.scaler, self.clip_norm, self.guard = scaler, clip_norm, guard
        self.backward = backward or Tensor.backward
        self.parameters = [one for one in self.module.parameters() if one.requires_grad]
        self.multiple = ghost_multiple(self.module)
        self.micro_batch_size = micro_batch_size
        self._updated = self._said = False
        self._check(micro_batch_size)

    def _check(self, micro_batch_size: int | None) -> None:
        if micro_batch_size is not None and micro_batch_size < 1:
            raise ValueError(f"`EffectiveBatch(micro_batch_size={micro_batch_size})`: must be at least 1.")
        if micro_batch_size is not None and micro_batch_size % self.multiple:
            raise ValueError(
                f"`EffectiveBatch(micro_batch_size={micro_batch_size})`: must be a multiple of {self.multiple}, the examples "
                "that GhostBatchNorm normalises together."
            )
        if self.clip_norm is not None and not 0 < self.clip_norm < float("inf"):
            raise ValueError(f"`EffectiveBatch(clip_norm={self.clip_norm})`: must be above 0 and finite.")
        held = {id(one) for group in self.optimizer.param_groups for one in group["params"]}
        if not any(id(one) in held for one in self.parameters):
            raise ValueError(
                "`EffectiveBatch(model, optimizer)`: the optimizer holds none of the model's parameters. Make it from "
                "model.parameters(), after the model was converted or moved."
            )
        if any(isinstance(one, DTensor) for one in self.parameters):
            raise ValueError("`EffectiveBatch(model)`: parameters sharded over processes (FSDP) are not supported.")

    def step(self, batch: Any) -> float:
        """Make one optimizer step on a whole batch; return its mean loss before the step, over all processes.

        Args:
            batch: Tensors whose first axis is the example; tuples, lists and mappings of these.

        Raises:
            OutOfMemory: If not even the smallest piece fits. Parameters, buffers, optimizer and random state are then as
                they were, unless the message says that an unguarded update was cut short.
            ValueError: If the batch cannot be cut, or its size is not above 0.
            RuntimeError: What the loss raises for any other reason; nothing has been changed then.
        """
        count = length(batch)
        total = self._total(batch, count)
        kept = _State(self.module)
        size = min(self.micro_batch_size or count, count)
        while True:
            value, problem = self._try(batch, count, size, total, kept)
            if not self._anywhere(bool(problem)):
                break
            kept.put_back(self.parameters)
            size = self._smaller(size, problem)
        self.micro_batch_size = size if size < count else self.micro_batch_size or size
        self._share()
        self._update(kept)
        return self._summed(value)

    def check(self, batch: Any) -> Coupling:
        """Return whether the loss couples the examples of `batch`, by its gradient in one piece and in two.

        Changes nothing. Batches that memory does not hold whole cannot be checked: give a smaller one.

        Raises:
            ValueError: If the batch has too few examples for two pieces.
        """
        count = length(batch)
        half = count // 2 // self.multiple * self.multiple
        if half < 1:
            raise ValueError(
                f"`EffectiveBatch.check(batch)`: {count} examples do not make two pieces of multiples of {self.multiple}."
            )
        return coupling(self.module, lambda size: cut(batch, count, size), self.loss, half, count)

    def _total(self, batch: Any, count: int) -> float:
        total = self._summed(float(count) if self.size is None else float(self.size(batch)))
        if not 0 < total < float("inf"):
            raise ValueError(
                f"`EffectiveBatch.step(batch)`: the batch's size is {total}: it must be above 0 (are all tokens masked?)."
            )
        return total

    def _try(self, batch: Any, count: int, size: int, total: float, kept: "_State") -> tuple[float, str]:
        """Return the loss of this process's share, and what went wrong with memory if it did.

        Raises:
            ValueError: If the loss is no scalar.
        """
        self._warn(size < count)
        value = 0.0
        self._clear()
        try:
            for part in cut(batch, count, size):
                loss = self.loss(self.module, part)
                if loss.dim():
                    raise ValueError(
                        f"`EffectiveBatch(loss=...)`: must return the sum of losses, a scalar; got the shape {tuple(loss.shape)}."
                    )
                value += float(loss.detach()) / total
                loss = loss / total
                self.backward(loss if self.scaler is None else self.scaler.scale(loss))
        except Exception as error:
            if not (isinstance(error, MemoryError | RuntimeError) and is_memory(error)):
                kept.put_back(self.parameters)
                raise
            return 0.0, str(error) or type(error).__name__
        return value, ""

    def _warn(self, is_cut: bool) -> None:
        names = batch_norms(self.module) if is_cut and not self._said and self.module.training else ()
        self._said = self._said or is_cut
        if names:
            warnings.warn(
                f"accumulation is not a big batch here: BatchNorm ({', '.join(names)}) normalises each micro-batch by itself. "
                f"{ADVICE}.",
                stacklevel=4,
            )

    def _clear(self) -> None:
        for one in self.parameters:
            one.grad = None

    def _smaller(self, size: int, problem: str) -> int:
        """Return half of `size` where memory ran out here, and `size` where it did on another process alone.

        Raises:
            OutOfMemory: On every process, if one of them cannot go smaller.
        """
        smaller = size // 2 // self.multiple * self.multiple if problem else size
        if torch.cuda.is_available():
            torch.cuda.empty_cache()
        if self._anywhere(smaller < 1):
            least = "one example at a time" if self.multiple == 1 else f"a ghost batch of {self.multiple} examples"
            raise OutOfMemory(f"{least} does not fit into memory: {problem or 'on another process'}")
        if problem:
            LOG.warning(
                "memory ran out: micro-batches of %d instead of %d examples; the batch stays what it is", smaller, size
            )
        return smaller

    def _anywhere(self, here: bool) -> bool:
        return self._summed(float(here)) > 0

    def _summed(self, value: float) -> float:
        """Return the sum of a number over all processes."""
        if not self.is_shared:
            return value
        number = self.parameters[0].new_tensor(value, dtype=torch.float64)
        torch.distributed.all_reduce(number)
        return float(number)

    def _share(self) -> None:
        """Add up the gradients of all processes, in buckets; and take the buffers of the first."""
        if not self.is_shared:
            return
        for one in self.parameters:
            one.grad = torch.zeros_like(one) if one.grad is None else one.grad
        bucket: list[Tensor] = []
        for at, one in enumerate(self.parameters):
            assert one.grad is not None
            bucket.append(one.grad)
            is_full = sum(grad.numel() for grad in bucket) >= BUCKET or at == len(self.parameters) - 1
            if is_full or self.parameters[at + 1].dtype != one.dtype:
                flat = torch.cat([grad.flatten() for grad in bucket])
                torch.distributed.all_reduce(flat)
                for grad, part in zip(bucket, flat.split([grad.numel() for grad in bucket]), strict=True):
                    grad.copy_(part.view_as(grad))
                bucket = []
        for one in self.module.buffers():
            torch.distributed.broadcast(one, 0)

    def _update(self, kept: "_State") -> None:
        """Clip and step; an update that runs out of memory is taken back and tried once more, if it is guarded.

        Raises:
            OutOfMemory: If it cannot be, or runs out again.
            MemoryError: Never; it is what the update raises when memory runs out.
            RuntimeError: What the update raises for any other reason.
        """
        if self.scaler is not None and self.clip_norm is not None:
            self.scaler.unscale_(self.optimizer)
        if self.clip_norm is not None:
            nn.utils.clip_grad_norm_(self.parameters, self.clip_norm)
        is_guarded = self.guard == "always" or (self.guard == "first" and not self._updated)
        before = [one.detach().clone() for one in self.parameters] if is_guarded else []
        state = copy.deepcopy(self.optimizer.state_dict()) if is_guarded else {}
        for attempt in range(2):
            try:
                if self.scaler is None:
                    self.optimizer.step()
                else:
                    self.scaler.step(self.optimizer)
                    self.scaler.update()
                break
            except (MemoryError, RuntimeError) as error:
                if not is_memory(error):
                    raise
                problem = str(error)
            if not is_guarded:
                raise OutOfMemory(
                    f"the update itself ran out of memory ({problem}) and may have changed some parameters and not others: go "
                    'back to a checkpoint. EffectiveBatch(guard="always") copies parameters so that this can be undone.'
                )
            self._take_back(before, state)
            if attempt == 1:
                kept.put_back(self.parameters)
                raise OutOfMemory(f"the optimizer's update does not fit into memory, twice: {problem}")
        self._updated = True

    @torch.no_grad()
    def _take_back(self, before: list[Tensor], state: dict[str, Any]) -> None:
        for one, old in zip(self.parameters, before, strict=True):
            one.copy_(old)
        self.optimizer.load_state_dict(copy.deepcopy(state))


class _State:
    """What a forward and backward pass changes besides gradients: buffers and random states."""

    def __init__(self, module: nn.Module) -> None:
        self.buffers = [(one, one.clone()) for one in module.buffers()]
        self.devices = sorted({one.device.index or 0 for one in tensors(list(module.parameters())) if one.is_cuda})
        self.random = torch.get_rng_state()
        self.on_devices = [torch.cuda.get_rng_state(device) for device in self.devices]

    @torch.no_grad()
    def put_back(self, parameters: list[nn.Parameter]) -> None:
        """Clear gradients; put buffers and random states back."""
        for one in parameters:
            one.grad = None
        for one, before in self.buffers:
            one.copy_(before)
        torch.set_rng_state(self.random)
        for device, state in zip(self.devices, self.on_devices, strict=True):
            torch.cuda.set_rng_state(state, device)
