"""Blocks of neighboring numbers, read, compared and written by the processor's wide instructions.

Left to itself the compiler goes through them one by one. Nothing here checks that a block lies
inside its array: callers do.
"""

from typing import Any

from llvmlite import ir
from numba import types

from panoptic_deeplab.kernels.base import instruction

BLOCK = 16
"""Numbers in a block; 8 is slower, 32 and 64 are no faster (PNGs and joint counts of scenes)."""

_WORDS = ir.VectorType(ir.IntType(32), BLOCK)
_BYTES = ir.IntType(8 * 3 * BLOCK)
_UNALIGNED = 1


def _pointer(context: Any, builder: Any, kind: Any, array: Any, place: Any, to: Any) -> Any:
    """Address of an element of a contiguous array, as that of a block."""
    data = context.make_array(kind)(context, builder, array).data
    return builder.bitcast(builder.gep(data, [place]), to.as_pointer())


def _spread(builder: Any, value: Any) -> Any:
    """A block of one value."""
    block = ir.Constant(_WORDS, ir.Undefined)
    block = builder.insert_element(block, value, ir.Constant(ir.IntType(32), 0))
    zeros = ir.Constant(_WORDS, None)
    return builder.shuffle_vector(block, block, zeros)


@instruction
def are_zero_bytes(context: Any, array: Any, place: Any) -> Any:
    """Whether 3 x `BLOCK` bytes of a uint8 array are all zero."""
    signature = types.boolean(array, types.uintp)

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        array, place = arguments
        where = _pointer(context, builder, signature.args[0], array, place, _BYTES)
        block = builder.load(where, align=_UNALIGNED)
        return builder.icmp_unsigned("==", block, ir.Constant(_BYTES, 0))

    return signature, generate


@instruction
def are_all(context: Any, array: Any, place: Any, value: Any) -> Any:
    """Whether a block of an int32 array holds one value."""
    signature = types.boolean(array, types.uintp, types.int32)

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        array, place, value = arguments
        where = _pointer(context, builder, signature.args[0], array, place, _WORDS)
        differ = builder.xor(builder.load(where, align=_UNALIGNED), _spread(builder, value))
        whole = ir.IntType(32 * BLOCK)
        return builder.icmp_unsigned("==", builder.bitcast(differ, whole), ir.Constant(whole, 0))

    return signature, generate


@instruction
def count_leading(context: Any, first: Any, second: Any, place: Any, a: Any, b: Any) -> Any:
    """How many pairs of a block of two int32 arrays are (a, b), before the first that is not."""
    signature = types.uintp(first, second, types.uintp, types.int32, types.int32)

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        first, second, place, a, b = arguments
        differ = []
        for kind, array, value in zip(signature.args[:2], (first, second), (a, b), strict=True):
            where = _pointer(context, builder, kind, array, place, _WORDS)
            block = builder.load(where, align=_UNALIGNED)
            differ.append(builder.xor(block, _spread(builder, value)))
        either = builder.or_(*differ)
        is_other = builder.icmp_unsigned("!=", either, ir.Constant(_WORDS, None))
        wide = ir.IntType(64)
        mask = builder.zext(builder.bitcast(is_other, ir.IntType(BLOCK)), wide)
        mask = builder.or_(mask, ir.Constant(wide, 1 << BLOCK))  # ends the block
        return builder.cttz(mask, ir.Constant(ir.IntType(1), 1))

    return signature, generate


@instruction
def copy_block(context: Any, target: Any, source: Any, place: Any) -> Any:
    """Copy a block from one int32 array to the same place of another."""
    signature = types.void(target, source, types.uintp)

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        to, of, place = arguments
        block = builder.load(
            _pointer(context, builder, signature.args[1], of, place, _WORDS), align=_UNALIGNED
        )
        where = _pointer(context, builder, signature.args[0], to, place, _WORDS)
        builder.store(block, where, align=_UNALIGNED)
        return context.get_dummy_value()

    return signature, generate


@instruction
def fill_block(context: Any, target: Any, place: Any, value: Any) -> Any:
    """Write one value into a block of an int32 array."""
    signature = types.void(target, types.uintp, types.int32)

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        to, place, value = arguments
        where = _pointer(context, builder, signature.args[0], to, place, _WORDS)
        builder.store(_spread(builder, value), where, align=_UNALIGNED)
        return context.get_dummy_value()

    return signature, generate
