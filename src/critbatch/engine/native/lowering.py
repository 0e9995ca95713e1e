"""A traced graph becomes a list of C statements."""

import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple, final

import torch
from torch import fx

from . import loops, values
from .loops import Statement
from .pointwise import ARITHMETIC, BITS, COMPARISONS, FLOATING_ONLY, LOGIC, computed_in
from .values import SUFFIXES, Apply, Buffer, Constant, Iota, Leaf, Unsupported, Value

SMALL_PRODUCT = 4096  # multiplications up to which loops beat a call of the library
SKINNY = 16  # columns up to which sums along memory beat it too
NOISE = ("bernoulli", "rand", "rand_like", "randn", "randn_like")


VIEWS = {
    "view", "_unsafe_view", "reshape", "permute", "transpose", "t", "expand", "unsqueeze", "squeeze", "slice", "select",
    "split_with_sizes",
    "split", "unbind", "as_strided", "alias", "detach", "getitem",
}  # fmt: skip
Handler = Callable[["Lowering", tuple[Any, ...], dict[str, Any], Any], Any]


def argument(given: tuple[Any, ...], at: int, default: Any = None) -> Any:
    """Return an argument of an operation, or the default where it is left out or None."""
    return given[at] if len(given) > at and given[at] is not None else default


def operation_of(node: fx.Node) -> str:
    """Return the name of a node's operation, without name space and overload."""
    if not isinstance(node.target, torch._ops.OpOverload):
        return "getitem" if "getitem" in str(node.target) else str(node.target)
    return node.target._schema.name.split("::")[-1]


def _changed(node: fx.Node) -> fx.Node:
    """Return the node whose value an operation changes in place.

    Raises:
        Unsupported: If it shares its memory with another one.
    """
    changed = node.all_input_nodes[0]
    kin = [changed, *(one for one in changed.users if one < node)]
    if changed.op != "call_function" or any(operation_of(one) in VIEWS for one in kin):
        raise Unsupported("it changes part of a tensor in place, which has no C form")
    return changed


class Noise(NamedTuple):
    """Random numbers that torch draws for one step; the strides tell the order in which memory is filled."""

    operation: str
    dtype: torch.dtype
    shape: tuple[int, ...]
    strides: tuple[int, ...]
    chance: float


@final
class Lowering:
    """Walks a graph node by node. An expression is kept as such until it is needed in memory.

    Attributes:
        statements: In the order in which they have to run.
        noise: Random draws that have to be made before a step, in the order of the model's own draws.
        constants: Tensors of the graph that the program reads, with their buffers.
    """

    def __init__(self, handlers: Mapping[str, Handler]) -> None:
        self._handlers = handlers
        self.statements: list[Statement] = []
        self.noise: list[tuple[Buffer, Noise]] = []
        self.constants: list[tuple[Buffer, torch.Tensor]] = []
        self._names = 0

    def run(self, graph: fx.GraphModule, inputs: Sequence[Value]) -> list[Value]:
        """Return the graph's outputs as values; statements for what they need have been added.

        Raises:
            Unsupported: If an operation is not known here.
        """
        found: dict[fx.Node, Any] = {}
        given = iter(inputs)
        for node in graph.graph.nodes:
            if node.op == "placeholder":
                found[node] = next(given)
            elif node.op == "get_attr":
                found[node] = self.constant(getattr(graph, str(node.target)))
            elif node.op == "output":
                return [found[one] for one in node.args[0]]
            else:
                found[node] = self._computed(node, found)
                if operation_of(node).endswith("_"):  # in place: running statistics, gates of a recurrent layer
                    found[_changed(node)] = found[node]
        raise Unsupported("the traced graph has no output")

    def _computed(self, node: fx.Node, found: Mapping[fx.Node, Any]) -> Any:
        if operation_of(node) == "copy_":
            old, new = (found[one] for one in node.all_input_nodes[:2])
            return self.memory(self.expand(self.cast(new, old.dtype), old.shape))
        result = self._call(node, lambda one: found[one] if isinstance(one, fx.Node) else one)
        is_shared = len(node.users) > 1 or operation_of(node).endswith("_")
        return self.memory(result) if is_shared and isinstance(result, Value) and not result.is_plain else result

    def _call(self, node: fx.Node, look: Callable[[Any], Any]) -> Any:
        name = operation_of(node).removesuffix("_")
        if "getitem" in name:
            return look(node.args[0])[node.args[1]]
        arguments: Any = fx.node.map_arg(node.args, look)
        options: Any = fx.node.map_arg(dict(node.kwargs), look)
        meta: Any = node.meta.get("val")
        if name in NOISE:
            return self._draw(name, arguments, meta)
        if name in ARITHMETIC or name in COMPARISONS or name in LOGIC or name in BITS:
            return self._pointwise(name, arguments, options, meta)
        if name == "as_strided":
            return self._as_strided(node, *arguments)
        handler = self._handlers.get(name)
        if handler is None:
            raise Unsupported(f"the operation {node.target} has no C form")
        return handler(self, arguments, options, meta)

    def _as_strided(self, node: fx.Node, given: Value, size: list[int], stride: list[int], offset: int = 0) -> Value:
        source = node.args[0]
        assert isinstance(source, fx.Node)
        if not source.meta["val"].is_contiguous():
            raise Unsupported("it reads a tensor with strides of its own, which has no C form")
        held = self.copy(given).tree
        assert isinstance(held, Leaf)
        strides = tuple(0 if one == 1 else by for one, by in zip(size, stride, strict=True))
        return Value(tuple(size), Leaf(held.buffer, offset or 0, strides))

    def buffer(self, dtype: torch.dtype, size: int, kind: str = "work") -> Buffer:
        """Return new memory of `size` elements.

        Raises:
            Unsupported: If the type has no C form.
        """
        if dtype not in values.C_TYPES:
            raise Unsupported(f"numbers of type {dtype} have no C form")
        self._names += 1
        return Buffer(f"{kind[0]}{self._names}_", dtype, size, kind)

    def constant(self, tensor: torch.Tensor) -> Value:
        """Return a tensor of the graph."""
        tensor = tensor.detach().contiguous()
        if tensor.numel() == 1:
            return Value((1,) * tensor.ndim, Constant(tensor.reshape(()).item(), tensor.dtype))
        buffer = self.buffer(tensor.dtype, tensor.numel(), "constant")
        self.constants.append((buffer, tensor))
        return values.whole(buffer, tensor.shape)

    def memory(self, value: Value) -> Value:
        """Return the value as a view of memory, computing it now if it is an expression."""
        if isinstance(value.tree, Leaf) and not value.tree.gathers:
            return value
        return self.copy(value)

    def row_major(self, value: Value) -> Value:
        """Return the value in memory without gaps, the last axis running fastest."""
        leaf = value.tree
        is_plain = isinstance(leaf, Leaf) and not leaf.gathers and leaf.strides == values.contiguous(value.shape)
        return value if is_plain else self.copy(value)

    def copy(self, value: Value, dtype: torch.dtype | None = None) -> Value:
        """Return the value computed into new, row-major memory."""
        target = self.new(value.shape, dtype or value.dtype)
        self.put(target, value)
        return target

    def new(self, shape: Sequence[int], dtype: torch.dtype) -> Value:
        """Return new, row-major memory as a value."""
        return values.whole(self.buffer(dtype, max(math.prod(shape), 1)), shape)

    def put(self, target: Value, value: Value) -> None:
        """Add the statement that stores a value into memory of the same shape."""
        leaf = target.tree
        assert isinstance(leaf, Leaf)
        if math.prod(value.shape) == 0:
            return
        statement = loops.store(leaf, value)
        source = value.tree
        if isinstance(source, Leaf) and not source.gathers and source.dtype == leaf.dtype:
            sizes = {leaf.buffer.size, source.buffer.size, math.prod(value.shape)}
            if len(sizes) == 1 and leaf.strides == source.strides and leaf.offset == source.offset == 0:
                statement.copy = (source.buffer, leaf.buffer)
        self.statements.append(statement)

    def reduce(
        self, value: Value, dims: Sequence[int], kind: str, *, keep: bool, dtype: torch.dtype | None = None
    ) -> Value:
        """Return the value reduced over `dims` (all if there are none), in memory."""
        rank = len(value.shape)
        gone = {dim % rank for dim in dims} if dims else set(range(rank))
        value = self.cast(value, dtype or value.dtype)
        if all(value.shape[dim] == 1 for dim in gone) and kind not in ("any", "all"):
            return value if keep else values.drop(value, sorted(gone))
        kept = tuple(1 if at in gone else size for at, size in enumerate(value.shape))
        target = self.new(kept, value.dtype)
        leaf = target.tree
        assert isinstance(leaf, Leaf)
        self.statements.append(loops.reduce(leaf, value, sorted(gone), kind))
        return target if keep else values.drop(target, sorted(gone))

    def apply(
        self, template: str, arguments: Sequence[Value], dtype: torch.dtype, *, within: torch.dtype | None = None
    ) -> Value:
        """Return an expression of values, broadcast to one shape; each is cast to `within` (default: dtype) first."""
        shape = torch.broadcast_shapes(*(one.shape for one in arguments))
        meet = within or dtype
        template = template.replace("{s}", SUFFIXES.get(meet, "f"))
        if dtype in (torch.uint8, torch.int32):
            template = f"({values.C_TYPES[dtype]})({template})"  # wraps around, as torch does
        trees = [self.expand(self.cast(one, meet), shape).tree for one in arguments]
        return Value(tuple(shape), Apply(template, tuple(trees), dtype))

    def expand(self, value: Value, shape: Sequence[int]) -> Value:
        """Return the value broadcast; what costs arithmetic is computed before it is repeated."""
        if math.prod(shape) > math.prod(value.shape) and not value.is_plain:
            value = self.memory(value)
        return values.expand(value, shape)

    def cast(self, value: Value, dtype: torch.dtype) -> Value:
        """Return the value in another type.

        Raises:
            Unsupported: If the type has no C form.
        """
        if value.dtype == dtype:
            return value
        if dtype not in values.C_TYPES:
            raise Unsupported(f"numbers of type {dtype} have no C form")
        if isinstance(value.tree, Constant):
            return Value(value.shape, Constant(torch.tensor(value.tree.value).to(dtype).item(), dtype))
        text = "{0} != 0" if dtype == torch.bool else f"({values.C_TYPES[dtype]})" + "{0}"
        return Value(value.shape, Apply(text, (value.tree,), dtype))

    def number(self, given: Any) -> Value:
        """Return an argument of an operation: a value, or a Python number of no shape.

        Raises:
            Unsupported: If it is neither.
        """
        if isinstance(given, Value):
            return given
        if isinstance(given, bool):
            return Value((), Constant(given, torch.bool))
        if isinstance(given, int):
            return Value((), Constant(given, torch.int64))
        if isinstance(given, float):
            return Value((), Constant(given, torch.float64))
        raise Unsupported(f"an operation takes {given!r}, which has no C form")

    def _pointwise(self, name: str, arguments: tuple[Any, ...], options: dict[str, Any], meta: torch.Tensor) -> Value:
        if options.get("rounding_mode"):
            raise Unsupported("division with rounding has no C form")
        given = [self.number(one) for one in arguments]
        if name in ("add", "sub", "rsub"):
            scaled, alpha = int(name != "rsub"), options.get("alpha", argument(arguments, 2, 1))
            given = given[:2]
            if alpha != 1:
                given[scaled] = self.apply("{0} * {1}", [given[scaled], self.number(alpha)], meta.dtype)
        if meta.dtype == torch.bool and name in ("add", "mul"):
            return self.apply(LOGIC["logical_or" if name == "add" else "logical_and"], given, torch.bool)
        if name in ARITHMETIC:
            if name in FLOATING_ONLY and not meta.dtype.is_floating_point:
                raise Unsupported(f"{name} of {meta.dtype} has no C form")
            if name == "pow":
                return self._power(given, meta)
            return self.apply(ARITHMETIC[name], given, meta.dtype)
        tensors = [one.dtype for one, raw in zip(given, arguments, strict=True) if isinstance(raw, Value)]
        if name in COMPARISONS:
            floating = any(one.dtype.is_floating_point for one in given)
            meet = computed_in(tensors, floating=floating)
            return self.apply(f"{{0}} {COMPARISONS[name]} {{1}}", given, torch.bool, within=meet)
        if name in LOGIC:
            return self.apply(LOGIC[name], given, torch.bool, within=computed_in(tensors, floating=False))
        if name == "bitwise_not" and meta.dtype == torch.bool:
            name = "logical_not"
            return self.apply(LOGIC[name], given, torch.bool)
        return self.apply(BITS[name], given, meta.dtype)

    def _power(self, given: list[Value], meta: torch.Tensor) -> Value:
        base, exponent = given
        if isinstance(exponent.tree, Constant) and not exponent.shape:
            if exponent.tree.value == 2:
                return self.apply("square_{s}({0})", [base], meta.dtype)
            if exponent.tree.value == 0.5:
                return self.apply("sqrt_{s}({0})", [base], meta.dtype)
            if exponent.tree.value == 1:
                return self.cast(base, meta.dtype)
            if exponent.tree.value == 3:
                return self.apply("{0} * square_{s}({0})", [self.memory(base)], meta.dtype)
        return self.apply("pow_{s}({0}, {1})", given, meta.dtype)

    def _draw(self, name: str, arguments: tuple[Any, ...], meta: torch.Tensor) -> Value:
        chance = float(arguments[1]) if name == "bernoulli" and len(arguments) > 1 else math.nan
        if name == "bernoulli" and math.isnan(chance):
            raise Unsupported("a random draw with a probability for each element has no C form")
        buffer = self.buffer(meta.dtype, max(meta.numel(), 1), "noise")
        self.noise.append((buffer, Noise(name, meta.dtype, tuple(meta.shape), tuple(meta.stride()), chance)))
        return values.whole(buffer, tuple(meta.shape))


def operand(value: Value) -> tuple[Leaf, int, bool] | None:
    """Return a matrix as the BLAS takes it: its leaf, leading dimension and whether it is transposed; None: copy it.

    Args:
        value: Its last two axes are the matrix.
    """
    leaf = value.tree
    if not isinstance(leaf, Leaf) or leaf.gathers:
        return None
    rows, columns = value.shape[-2:]
    down, along = leaf.strides[-2:]
    if along == 1 and (rows == 1 or down >= columns):
        return leaf, max(down, columns), False
    if down == 1 and (columns == 1 or along >= rows):
        return leaf, max(along, rows), True
    return None


def product(lowering: Lowering, left: Value, right: Value) -> Value:
    """Return the matrix product over the last two axes; leading axes are alike in both."""
    batch, (rows, inner), columns = left.shape[:-2], left.shape[-2:], right.shape[-1]
    if inner == 1:
        shape = (*batch, rows, columns)
        sides = [lowering.expand(one, shape) for one in (left, right)]
        return lowering.apply("{0} * {1}", sides, left.dtype)
    left, right = lowering.memory(left), lowering.memory(right)
    if rows == 1 or columns == 1 or rows * inner * columns <= SMALL_PRODUCT or is_skinny(left, right):
        shape = (*batch, rows, inner, columns)
        sides = [values.expand(values.insert(one, at), shape) for one, at in ((left, len(left.shape)), (right, -3))]
        terms = lowering.apply("{0} * {1}", sides, left.dtype)
        return lowering.reduce(terms, [len(batch) + 1], "sum", keep=False)
    target = lowering.new((*batch, rows, columns), left.dtype)
    lowering.statements.append(_gemm(target, *(_as_operand(lowering, one) for one in (left, right))))
    return target


def _as_operand(lowering: Lowering, value: Value) -> Value:
    return value if operand(value) else lowering.copy(value)


def _gemm(target: Value, left: Value, right: Value) -> Statement:
    a, b = operand(left), operand(right)
    assert a is not None
    assert b is not None
    assert isinstance(target.tree, Leaf)
    batch, (rows, inner), columns = left.shape[:-2], left.shape[-2:], right.shape[-1]
    names = [f"i{at}" for at in range(len(batch))]
    places = []
    for leaf in (a[0], b[0], target.tree):
        terms = [f"{name} * {by}" for name, by in zip(names, leaf.strides, strict=False) if by]
        places.append(" + ".join([f"{leaf.buffer.name} + {leaf.offset}", *terms]))
    suffix = SUFFIXES[left.dtype]
    open_loops = "".join(
        f"for (long {name} = 0; {name} < {size}; {name}++) " for name, size in zip(names, batch, strict=True)
    )
    call = (
        f"gemm_{suffix}({int(a[2])}, {int(b[2])}, {rows}, {columns}, {inner}, {places[0]}, {a[1]}, {places[1]}, {b[1]}, "
        f"{places[2]}, {columns}, 0);"
    )
    return Statement(open_loops + call, {a[0].buffer, b[0].buffer}, {target.tree.buffer})


def counting(size: int, start: int, step: int) -> Value:
    """Return start, start + step, ... as a value of `size` integers."""
    return Value((size,), Iota(start, (step,)))


def is_skinny(left: Value, right: Value) -> bool:
    """Return whether a product has few columns and both sides run along memory: the library is slow at that."""
    a, b = left.tree, right.tree
    runs = isinstance(a, Leaf) and isinstance(b, Leaf) and a.strides[-1] == 1 and b.strides[-2] == 1
    return runs and right.shape[-1] <= SKINNY
