"""Every kernel that can be asked for on an architecture: all templates' arguments that plan.py can choose."""

from __future__ import annotations

from minilm_kernels.gpu import plan
from minilm_kernels.gpu.plan import HEAD_DIMS, SIZES, Plan

ARCHITECTURES = (75, 80, 86, 89, 90, 100, 120)
DTYPES = tuple(SIZES)


def attention_plans(capability: int, dtype: str) -> list[Plan]:
    plans = []
    for D in (size for size in HEAD_DIMS if plan.fused(size, dtype, capability)):
        for kernel in ("attention_forward", "attention_query_gradient", "attention_key_gradient"):
            plans.append(plan.attention(kernel, dtype, capability, 2, 3, 100, D))
        plans.append(plan.bias_gradient(dtype, capability, 2, 3, 100, 100, D))
        for Tq in (1, 8):
            plans.append(plan.decode(dtype, capability, 40, 2, 12, 3, Tq, 1000, D).part)
        for heads in (1, 2):
            plans.append(plan.decode(dtype, capability, 40, 2, heads, 1, 1, 1000, D).part)
    plans.append(plan.rows_of_warps("attention_delta", dtype, 600))
    plans.append(plan.rows_of_warps("attention_decode_join", dtype, 600))
    return plans


def other_plans(dtype: str) -> list[Plan]:
    plans = [plan.elements("activation", dtype, 5000, number) for number in (1, 2)]
    plans += [plan.elements("activation_gradient", dtype, 5000, number) for number in (1, 2, 3, 4)]
    plans += [plan.elements("linear_end", dtype, 5000, number) for number in range(5)]
    plans += [
        plan.elements(kernel, dtype, 5000)
        for kernel in ("silu_mul", "silu_mul_gradient", "adamw", "scale_by", "scale_rows")
    ]
    plans += [
        plan.rows_of_blocks(kernel, dtype, 50, 300) for kernel in ("bias_residual_dropout", "rotary", "embedding_add")
    ]
    plans += [
        plan.rows_of_warps(kernel, dtype, 50, centered)
        for kernel in ("norm", "norm_gradient")
        for centered in ("true", "false")
    ]
    for kernel, sums in (("column_sums", 1), ("norm_weight_gradient", 2)):
        columns = plan.column_sums(kernel, dtype, 500, 300, sums)
        plans += [columns.sums, columns.add]
    plans += [plan.reduction(kernel, dtype, 50) for kernel in ("squares", "cross_entropy", "loss_sum")]
    if dtype == "double":
        plans += [plan.reduction(kernel, dtype) for kernel in ("clip_factor", "count_targets")]
    return plans


def every_plan(capability: int) -> dict[str, Plan]:
    """By expression."""
    plans = [p for dtype in DTYPES for p in (*attention_plans(capability, dtype), *other_plans(dtype))]
    return {p.expression: p for p in plans}
