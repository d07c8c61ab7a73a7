"""What all compiled loops share: how they are compiled, and torch's rounding.

This package needs the optional package numba and is imported only by those who have checked for
it. Importing compiles nothing; a loop is compiled at its first call (seconds) and kept on disk.
Loops release Python's lock and use one thread.
"""

from collections.abc import Callable
from typing import Any, TypeVar, cast

import numba
import numpy as np
from numba import types
from numba.extending import intrinsic
from numpy.typing import NDArray

from panoptic_deeplab.interpolation import Axis

Function = TypeVar("Function", bound=Callable[..., Any])


def compiled(function: Function) -> Function:
    """Compile a function at its first call, for good where there is a folder to keep it in."""
    return _compiled(function)


def inlined(function: Function) -> Function:
    """As `compiled`, for what a loop calls for each block: without counting references at each."""
    return _compiled(function, forceinline=True)


def _compiled(function: Function, **more: Any) -> Function:
    options: dict[str, Any] = {"nogil": True, "error_model": "numpy", **more}
    try:
        return cast(Function, numba.njit(cache=True, **options)(function))
    except RuntimeError:  # neither the package's folder nor the user's can be written to
        return cast(Function, numba.njit(**options)(function))


def instruction(generator: Callable[..., Any]) -> Any:
    """Make a single processor instruction callable from compiled functions."""
    return intrinsic(generator)


@instruction
def fma(context: Any, a: Any, b: Any, c: Any) -> Any:
    """Multiply a and b and add c with a single rounding."""
    signature = types.float32(types.float32, types.float32, types.float32)

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        return builder.fma(*arguments)

    return signature, generate


@instruction
def float_of_bits(context: Any, bits: Any) -> Any:
    """The float32 with these 32 bits."""
    signature = types.float32(types.int32)

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        return builder.bitcast(arguments[0], context.get_value_type(types.float32))

    return signature, generate


@compiled
def mix(low: Any, high: Any, weight: Any) -> Any:
    """Interpolate between two samples, rounded as torch's kernel rounds."""
    return fma(np.float32(1) - weight, low, weight * high)


def indices(axis: Axis) -> tuple[NDArray[np.uintp], NDArray[np.uintp], NDArray[np.float32]]:
    """The axis with unsigned places: numba then needs no check for negative ones."""
    return axis.low.astype(np.uintp), axis.high.astype(np.uintp), axis.weight
