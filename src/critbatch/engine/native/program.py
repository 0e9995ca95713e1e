"""The text of a C program from the statements of a graph: memory, loops over steps, and what is kept in place."""

import dataclasses
import math
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import final

import torch

from . import lookups, loops, operations, values, windows
from .graph import Traced
from .loops import Statement, text_of
from .lowering import Lowering, Noise
from .values import C_TYPES, Buffer, Leaf, Unsupported, Value

ALIGNMENT = 64
HANDLERS = operations.HANDLERS | lookups.HANDLERS | windows.HANDLERS
PREAMBLE = Path(__file__).with_name("preamble.c")


@final
@dataclass(frozen=True, eq=False)
class Program:
    """C source and what has to be handed to it.

    Attributes:
        source: Exports `connect(sgemm, dgemm)` and `run`.
        work: Bytes of memory that a call needs for itself.
        noise: Random draws before each step, in order.
        constants: Tensors that the source reads.
    """

    source: str
    work: int
    noise: tuple[Noise, ...]
    constants: tuple[torch.Tensor, ...]


def step_program(traced: Traced) -> Program:
    """Return the program that takes many steps of one replica.

    `long run(steps, index, coefficients, inputs, targets, state, noise, constants, losses, work)` takes a row of `index`
    and of `coefficients` for each step, changes the tensors of `state` in place, and stops after the first step whose
    loss is not finite. It returns the steps taken, or -1 where an index was outside of its axis.

    Raises:
        Unsupported: If the graph holds something that has no C form.
    """
    lowering = Lowering(HANDLERS)
    state = [_given(f"s{at}_", one, "state") for at, one in enumerate(traced.state)]
    batch = [_given(name, one, "input") for name, one in zip(("x_", "y_"), traced.batch, strict=True)]
    table = Buffer("c_", traced.dtype, max(traced.coefficients, 1), "input")
    scalars = [Value((), Leaf(table, at, ())) for at in range(traced.coefficients)]
    loss, *moved = lowering.run(traced.graph, [*state, *batch, *scalars])
    loss = lowering.memory(loss)
    _write_back(lowering, state, moved)
    statements = _in_place(lowering.statements)
    work, pointers = _memory(statements, keep={_leaf(loss).buffer})
    body = "\n".join(f"    {one.text}" for one in statements)
    rows = [_row(one) for one in batch]
    size = batch[0].shape[0]
    gathers = "".join(_batch_row(value, row, size) for value, row in zip(batch, rows, strict=True))
    copies = sum(_bytes(one) for one in batch) if size > 1 else 0
    kinds = [C_TYPES[one.dtype] for one in batch]
    real = C_TYPES[traced.dtype]
    value = text_of(loss.tree, [])
    source = f"""{PREAMBLE.read_text()}
{_CONNECT}
long run(long steps, const int64_t *index, const {real} *coefficients, const {kinds[0]} *inputs, const {kinds[1]} *targets,
         void **state, void **noise, void **constants, {real} *losses, char *work) {{
{_pointers(state)}{_constants(lowering)}{pointers}    int bad = 0;
    for (long t = 0; t < steps; t++, index += {size}) {{
    const {real} *c_ = coefficients + t * {traced.coefficients};
{_noise(lowering)}{gathers}{body}
    losses[t] = {value};
    if (bad) return -1;
    if (!__builtin_isfinite(losses[t])) return t + 1;
    }}
    return steps;
}}
"""
    source = source.replace("WORK_BATCH", str(work))
    noise = tuple(one for _, one in lowering.noise)
    if tuple(one.shape for one in noise) != tuple(shape for shape, _ in traced.draws):
        raise Unsupported("its random draws cannot be told in advance")
    noise = tuple(one._replace(strides=strides) for one, (_, strides) in zip(noise, traced.draws, strict=True))
    constants = tuple(tensor for _, tensor in lowering.constants)
    return Program(source, work + copies + 2 * ALIGNMENT, noise, constants)


def look_program(traced: Traced) -> Program:
    """Return the program that evaluates one replica: sums over examples of whatever the graph returns for each.

    `long run(count, inputs, targets, state, constants, sums, work)` reads whole chunks: inputs and targets have to be
    padded to a multiple of the traced batch; examples from `count` on are left out of the sums. It returns 0, or -1
    where an index was outside of its axis.

    Raises:
        Unsupported: If the graph holds something that has no C form.
    """
    lowering = Lowering(HANDLERS)
    state = [_given(f"s{at}_", one, "state") for at, one in enumerate(traced.state)]
    batch = [_given(name, one, "input") for name, one in zip(("x_", "y_"), traced.batch, strict=True)]
    found = [lowering.memory(one) for one in lowering.run(traced.graph, [*state, *batch])]
    if lowering.noise:
        raise Unsupported("the model draws random numbers in evaluation mode")
    work, pointers = _memory(lowering.statements, keep={_leaf(one).buffer for one in found})
    body = "\n".join(f"    {one.text}" for one in lowering.statements)
    size = batch[0].shape[0]
    kinds = [C_TYPES[one.dtype] for one in batch]
    adds = "".join(
        f"    for (long i = 0; i < valid; i++) sums[{at}] += (double){text_of(one.tree, [('i', {id(one.tree): _stride(one)})])};\n"
        for at, one in enumerate(found)
    )
    rows = [math.prod(one.shape[1:]) for one in batch]
    source = f"""{PREAMBLE.read_text()}
{_CONNECT}
long run(long count, const {kinds[0]} *inputs, const {kinds[1]} *targets, void **state, void **constants, double *sums,
         char *work) {{
{_pointers(state)}{_constants(lowering)}{pointers}    int bad = 0;
    for (long at = 0; at < count; at += {size}) {{
    const {kinds[0]} *x_ = inputs + at * {rows[0]};
    const {kinds[1]} *y_ = targets + at * {rows[1]};
    const long valid = count - at < {size} ? count - at : {size};
{body}
{adds}    if (bad) return -1;
    }}
    return 0;
}}
"""
    return Program(source, work + ALIGNMENT, (), tuple(tensor for _, tensor in lowering.constants))


def sums_program(traced: Traced) -> Program:
    """Return the program that adds up gradients of single examples: their sum, and the sum of their squared norms.

    `long run(count, inputs, targets, state, constants, sums, work)` adds to `sums`, in float64: the gradient's entries
    one after another, then the squared norm. It returns 0, or -1 where an index was outside of its axis.

    Raises:
        Unsupported: If the graph holds something that has no C form, or draws random numbers.
    """
    lowering = Lowering(HANDLERS)
    state = [_given(f"s{at}_", one, "state") for at, one in enumerate(traced.state)]
    batch = [_given(name, one, "input") for name, one in zip(("x_", "y_"), traced.batch, strict=True)]
    gradients = lowering.run(traced.graph, [*state, *batch])
    if lowering.noise:
        raise Unsupported("the model draws random numbers")
    count = sum(math.prod(one.shape) for one in gradients)
    total = Buffer("g_", torch.float64, count + 1, "state")
    at = 0
    for one in gradients:
        lowering.statements.append(loops.add_up(Leaf(total, at, values.contiguous(one.shape)), one))
        at += math.prod(one.shape)
    work, pointers = _memory(lowering.statements, keep=set())
    body = "\n".join(f"    {one.text}" for one in lowering.statements)
    kinds = [C_TYPES[one.dtype] for one in batch]
    rows = [_row(one) for one in batch]
    source = f"""{PREAMBLE.read_text()}
{_CONNECT}
long run(long count, const {kinds[0]} *inputs, const {kinds[1]} *targets, void **state, void **constants, double *g_,
         char *work) {{
{_pointers(state)}{_constants(lowering)}{pointers}    int bad = 0;
    double square = 0;
    for (long n = 0; n < count; n++) {{
    const {kinds[0]} *x_ = inputs + n * {rows[0]};
    const {kinds[1]} *y_ = targets + n * {rows[1]};
{body}
    if (bad) return -1;
    }}
    g_[{count}] += square;
    return 0;
}}
"""
    return Program(source, work + ALIGNMENT, (), tuple(tensor for _, tensor in lowering.constants))


_CONNECT = "void connect(void *single, void *twice) { library_f = (blas_f)single; library_d = (blas_d)twice; }"


def _given(name: str, tensor: torch.Tensor, kind: str) -> Value:
    if tensor.dtype not in C_TYPES:
        raise Unsupported(f"numbers of type {tensor.dtype} have no C form")
    return values.whole(Buffer(name, tensor.dtype, max(tensor.numel(), 1), kind), tuple(tensor.shape))


def _leaf(value: Value) -> Leaf:
    assert isinstance(value.tree, Leaf)
    return value.tree


def _stride(value: Value) -> int:
    return _leaf(value).strides[0]


def _row(value: Value) -> int:
    return math.prod(value.shape[1:])


def _bytes(value: Value) -> int:
    return _rounded(_leaf(value).buffer.size * value.dtype.itemsize)


def _rounded(size: int) -> int:
    return -(-size // ALIGNMENT) * ALIGNMENT


def _batch_row(value: Value, row: int, size: int) -> str:
    """Return how a batch comes together: a pointer for one example, copied rows for more."""
    buffer = _leaf(value).buffer
    kind = C_TYPES[buffer.dtype]
    source = "inputs" if buffer.name == "x_" else "targets"
    if size == 1:
        return f"    const {kind} *{buffer.name} = {source} + index[0] * {row};\n"
    offset = "WORK_BATCH" if buffer.name == "x_" else "WORK_BATCH + sizeof_x"
    before = f"    enum {{ sizeof_x = {_bytes(value)} }};\n" if buffer.name == "x_" else ""
    copy = (
        f"{buffer.name}[n] = {source}[index[n]]"
        if row == 1
        else f"memcpy({buffer.name} + n * {row}, {source} + index[n] * {row}, {row} * sizeof({kind}))"
    )
    return (
        f"{before}    {kind} *{buffer.name} = ({kind} *)(work + {offset});\n"
        f"    for (long n = 0; n < {size}; n++) {copy};\n"
    )


def _pointers(state: Sequence[Value]) -> str:
    return "".join(
        f"    {C_TYPES[one.dtype]} *const {_leaf(one).buffer.name} = ({C_TYPES[one.dtype]} *)state[{at}];\n"
        for at, one in enumerate(state)
    )


def _constants(lowering: Lowering) -> str:
    return "".join(
        f"    const {C_TYPES[one.dtype]} *const {one.name} = ({C_TYPES[one.dtype]} *)constants[{at}];\n"
        for at, (one, _) in enumerate(lowering.constants)
    )


def _noise(lowering: Lowering) -> str:
    return "".join(
        f"    const {C_TYPES[one.dtype]} *const {one.name} = ({C_TYPES[one.dtype]} *)noise[{at}] + t * {one.size};\n"
        for at, (one, _) in enumerate(lowering.noise)
    )


def _write_back(lowering: Lowering, state: Sequence[Value], moved: Sequence[Value]) -> None:
    """Add the statements that put the new state into the place of the old; nothing old is read once it is gone."""
    ready = []
    for old, new in zip(state, moved, strict=True):
        own = _leaf(old)
        others = {leaf.buffer for leaf in new.leaves if isinstance(leaf, Leaf) and leaf.buffer.kind == "state"} - {
            own.buffer
        }
        crooked = any(
            isinstance(leaf, Leaf) and leaf.buffer is own.buffer
            and (leaf.strides != own.strides or leaf.offset or leaf.gathers)
            for leaf in new.leaves
        )  # fmt: skip
        ready.append(lowering.copy(new) if others or crooked else new)
    for old, new in zip(state, ready, strict=True):
        if not (isinstance(new.tree, Leaf) and new.tree.buffer is _leaf(old).buffer):
            lowering.put(old, lowering.cast(new, old.dtype))


def _in_place(statements: list[Statement]) -> list[Statement]:
    """Return the statements without copies of a whole work buffer to where it could be computed at once."""
    kept, end = list(statements), 0
    while end < len(kept):
        pair = kept[end].copy
        if pair is not None and _is_needless(kept, end, *pair):
            del kept[end]
            kept = [_renamed(one, *pair) for one in kept]
        else:
            end += 1
    return kept


def _is_needless(kept: Sequence[Statement], end: int, source: Buffer, target: Buffer) -> bool:
    """Return whether `source` could be computed in the place of `target`, to which statement `end` copies it."""
    if (
        source.kind != "work" or target.kind != "state"
    ):  # a state is written once, at the end; work may be changed again
        return False
    writers = [at for at, one in enumerate(kept) if source in one.writes]
    if len(writers) != 1 or writers[0] >= end:
        return False
    first, between = kept[writers[0]], kept[writers[0] + 1 : end]
    is_free = all(target not in one.reads | one.writes for one in between)
    return is_free and (target not in first.reads or first.elementwise) and target not in first.writes


def _renamed(statement: Statement, source: Buffer, target: Buffer) -> Statement:
    if source not in statement.reads | statement.writes:
        return statement
    swap = {source: target}
    return dataclasses.replace(
        statement,
        text=re.sub(rf"\b{source.name}", target.name, statement.text),
        reads={swap.get(one, one) for one in statement.reads},
        writes={swap.get(one, one) for one in statement.writes},
        copy=None if statement.copy is None else tuple(swap.get(one, one) for one in statement.copy),  # pyrefly: ignore
    )


def _memory(statements: Sequence[Statement], keep: set[Buffer]) -> tuple[int, str]:
    """Return the bytes that work buffers need together and their pointers; buffers share what is free again."""
    first: dict[Buffer, int] = {}
    last: dict[Buffer, int] = {}
    for at, one in enumerate(statements):
        for buffer in sorted(one.reads | one.writes, key=lambda buffer: buffer.name):
            if buffer.kind == "work":
                first.setdefault(buffer, at)
                last[buffer] = len(statements) if buffer in keep else at
    for buffer in keep:
        if buffer.kind == "work":
            first.setdefault(buffer, len(statements))
            last[buffer] = len(statements)
    taken: list[tuple[int, int, Buffer]] = []  # start, end, buffer
    total, text = 0, ""
    for buffer in sorted(first, key=lambda buffer: (first[buffer], buffer.name)):
        taken = [one for one in taken if last[one[2]] >= first[buffer]]
        size, start = _rounded(buffer.size * buffer.dtype.itemsize), 0
        for begin, end, _ in sorted(taken, key=lambda one: one[0]):
            if start + size <= begin:
                break
            start = max(start, end)
        taken.append((start, start + size, buffer))
        total = max(total, start + size)
        kind = C_TYPES[buffer.dtype]
        text += f"    {kind} *const {buffer.name} = ({kind} *)(work + {start});\n"
    return total, text
