"""Operations that work element by element, as C expressions."""

import torch

# {0}, {1}, ... stand for the arguments, {s} for the suffix of the type that is computed in ("f" or "d").
ARITHMETIC = {
    "add": "{0} + {1}",
    "sub": "{0} - {1}",
    "rsub": "{1} - {0}",
    "mul": "{0} * {1}",
    "div": "{0} / {1}",
    "neg": "-{0}",
    "abs": "abs_{s}({0})",
    "square": "square_{s}({0})",
    "relu": "relu_{s}({0})",
    "maximum": "max_{s}({0}, {1})",
    "minimum": "min_{s}({0}, {1})",
    "sign": "sign_{s}({0})",
    "reciprocal": "1 / {0}",
    "exp": "exp_{s}({0})",
    "expm1": "expm1_{s}({0})",
    "log": "log_{s}({0})",
    "log1p": "log1p_{s}({0})",
    "sqrt": "sqrt_{s}({0})",
    "rsqrt": "1 / sqrt_{s}({0})",
    "sin": "sin_{s}({0})",
    "cos": "cos_{s}({0})",
    "tanh": "tanh_{s}({0})",
    "erf": "erf_{s}({0})",
    "sigmoid": "1 / (1 + exp_{s}(-{0}))",
    "pow": "pow_{s}({0}, {1})",
    "floor": "floor_{s}({0})",
    "ceil": "ceil_{s}({0})",
}
FLOATING_ONLY = {
    name for name, text in ARITHMETIC.items() if "_{s}" in text or name in ("sigmoid", "reciprocal", "rsqrt", "div")
}
COMPARISONS = {"eq": "==", "ne": "!=", "lt": "<", "le": "<=", "gt": ">", "ge": ">="}
LOGIC = {
    "logical_and": "({0} != 0) & ({1} != 0)",
    "logical_or": "({0} != 0) | ({1} != 0)",
    "logical_xor": "({0} != 0) ^ ({1} != 0)",
    "logical_not": "{0} == 0",
    "isnan": "{0} != {0}",
}
BITS = {"bitwise_not": "~{0}", "bitwise_and": "{0} & {1}", "bitwise_or": "{0} | {1}", "bitwise_xor": "{0} ^ {1}"}


def computed_in(dtypes: list[torch.dtype], *, floating: bool) -> torch.dtype:
    """Return the type in which arguments of these types meet."""
    found = dtypes[0]
    for one in dtypes[1:]:
        found = torch.promote_types(found, one)
    return torch.float32 if floating and not found.is_floating_point else found
