"""Vectors and pointers as types of Numba, and what the operations on them are made of in LLVM. vector.py has the operations."""

from __future__ import annotations

from typing import Any

from llvmlite import ir
from numba import types
from numba.core import cgutils
from numba.extending import models, register_model

from minilm_kernels.cpu.target import lanes_of

I32, I64 = ir.IntType(32), ir.IntType(64)


class Vector(types.Type):
    """`lanes` numbers of one element type, in one register."""

    def __init__(self, element: types.Type, lanes: int):
        self.element, self.lanes = element, lanes
        super().__init__(name=f"Vector({element}, {lanes})")

    @property
    def key(self) -> tuple:
        return self.element, self.lanes


class Pointer(types.Type):
    """The address of an element."""

    def __init__(self, element: types.Type):
        self.element = element
        super().__init__(name=f"Pointer({element})")

    @property
    def key(self) -> tuple:
        return (self.element,)


def scalar(element: types.Type) -> ir.Type:
    """LLVM's type of one element."""
    if element == types.float32:
        return ir.FloatType()
    if element == types.float64:
        return ir.DoubleType()
    return ir.IntType(element.bitwidth)


@register_model(Vector)
class VectorModel(models.PrimitiveModel):
    def __init__(self, manager: Any, fe_type: Vector):
        super().__init__(manager, fe_type, ir.VectorType(scalar(fe_type.element), fe_type.lanes))


@register_model(Pointer)
class PointerModel(models.PrimitiveModel):
    def __init__(self, manager: Any, fe_type: Pointer):
        super().__init__(manager, fe_type, scalar(fe_type.element).as_pointer())


def vector_of(element: types.Type) -> Vector:
    """The widest vector of these elements that the processor has."""
    return Vector(element, lanes_of(element.bitwidth // 8))


def splat_value(builder: ir.IRBuilder, value: ir.Value, vector: ir.VectorType) -> ir.Value:
    """LLVM: `value` in every lane."""
    undefined = ir.Constant(vector, ir.Undefined)
    first = builder.insert_element(undefined, value, ir.Constant(I32, 0))
    return builder.shuffle_vector(first, undefined, ir.Constant(ir.VectorType(I32, vector.count), [0] * vector.count))


def constant(vector: ir.VectorType, value: float) -> ir.Constant:
    """LLVM: the same constant in every lane."""
    return ir.Constant(vector, [value] * vector.count)


def is_float(vector: ir.VectorType) -> bool:
    return isinstance(vector.element, ir.FloatType | ir.DoubleType)


def suffix(vector: ir.VectorType) -> str:
    """LLVM's name of a vector type inside the name of an intrinsic: v16f32."""
    kind = {ir.FloatType: "f32", ir.DoubleType: "f64"}.get(type(vector.element))
    return f"v{vector.count}{kind or f'i{vector.element.width}'}"


def llvm_function(builder: ir.IRBuilder, name: str, result: ir.Type, arguments: list[ir.Type]) -> Any:
    return cgutils.get_or_insert_function(builder.module, ir.FunctionType(result, arguments), name)


def multiply_add(builder: ir.IRBuilder, a: ir.Value, b: ir.Value, c: ir.Value) -> ir.Value:
    """LLVM: a·b + c, rounded once where the processor can, else as two instructions (never the C library's slow fma)."""
    return builder.call(llvm_function(builder, f"llvm.fmuladd.{suffix(a.type)}", a.type, [a.type] * 3), [a, b, c])


def first_lanes(builder: ir.IRBuilder, n: ir.Value, count: int) -> ir.Value:
    """LLVM: a mask of the lanes 0 … n − 1 (none for n ≤ 0, all for n ≥ count)."""
    numbers = ir.Constant(ir.VectorType(I64, count), list(range(count)))
    return builder.icmp_signed("<", numbers, splat_value(builder, n, numbers.type))


def vector_pointer(builder: ir.IRBuilder, pointer: ir.Value, vector: ir.VectorType) -> ir.Value:
    return builder.bitcast(pointer, vector.as_pointer())
