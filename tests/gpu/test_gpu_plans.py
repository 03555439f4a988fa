"""Every launch stays within what its architecture has, and its blocks cover all that is to be computed."""

from __future__ import annotations

import re

import pytest
from gpu.every_plan import ARCHITECTURES, DTYPES, attention_plans, every_plan
from hypothesis import given
from hypothesis import strategies as st

from minilm_kernels.gpu import compile as compiling
from minilm_kernels.gpu import plan

CAPABILITIES = st.sampled_from([*ARCHITECTURES, 87, 103, 121])
SIZE = st.integers(0, 3000)
FEW = st.integers(0, 40)


@pytest.mark.parametrize("capability", [*ARCHITECTURES, 87, 103, 121])
def test_every_plan_is_within_the_limits(capability):
    limits = plan.limits(capability)
    for expression, p in every_plan(capability).items():
        assert p.shared <= limits.block_shared, expression
        assert p.threads <= limits.threads, expression
        assert p.threads % 32 == 0, expression
        assert p.kernel in compiling.FILE_OF, expression


@given(CAPABILITIES, st.sampled_from(DTYPES), st.integers(1, 128), FEW, FEW, SIZE)
def test_attention_covers_all_rows(capability, dtype, widest, B, heads, positions):
    if not plan.fused(widest, dtype, capability):
        return
    for kernel in ("attention_forward", "attention_query_gradient", "attention_key_gradient"):
        p = plan.attention(kernel, dtype, capability, B, heads, positions, widest)
        _, D, BM, BN = p.arguments
        own = BN if kernel == "attention_key_gradient" else BM
        assert widest <= D
        assert B * heads * positions <= p.blocks * own < B * heads * (positions + own) or p.blocks == 0
        assert p.kernel.startswith("tensor_") == plan.has_tensor_cores(dtype, capability)
        assert p.shared <= plan.limits(capability).block_shared
        assert BM % 16 == BN % 16 == 0
        if p.kernel.startswith("tensor_"):
            assert own == 16 * p.threads // 32, "a warp owns 16 rows"


@given(
    CAPABILITIES,
    st.sampled_from(DTYPES),
    st.integers(1, 128),
    FEW,
    st.integers(1, 8),
    st.integers(1, 8),
    FEW,
    SIZE,
    st.integers(1, 150),
)
def test_decoding_covers_all_keys(capability, dtype, widest, B, H_kv, group, Tq, Tk, processors):
    if not plan.fused(widest, dtype, capability):
        return
    chosen = plan.decode(dtype, capability, processors, B, H_kv * group, H_kv, Tq, Tk, widest)
    _, _, BM, BN = chosen.part.arguments
    assert chosen.parts >= 1
    assert chosen.part_keys % BN == 0, "a part ends with a tile"
    assert chosen.parts * chosen.part_keys >= Tk > (chosen.parts - 1) * chosen.part_keys or Tk == 0
    assert chosen.part.blocks * BM >= chosen.parts * H_kv * group * Tq * B
    assert chosen.join.blocks * 8 >= B * H_kv * group * Tq
    assert chosen.part.shared <= plan.limits(capability).block_shared


@given(st.integers(0, 10**7), st.integers(1, 5000))
def test_parts_of_columns_cover_the_rows(rows, columns):
    chosen = plan.column_sums("column_sums", "float", rows, columns)
    assert chosen.parts * chosen.part_rows >= rows > (chosen.parts - 1) * chosen.part_rows or rows == 0
    assert chosen.parts <= 128
    assert chosen.add.blocks * 256 >= columns


def test_shared_memory_is_what_the_file_lays_out():
    """The distances in the .cu files are those that shared_bytes counts with."""
    for name, kernels in compiling.FILES.items():
        text = (compiling.FOLDER / name).read_text(encoding="utf-8")
        if name.startswith("tensor_"):
            assert f"LD = DP + {plan.HALF_ROW}" in text
        elif any(kernel.endswith(("forward", "gradient", "part")) for kernel in kernels) and name.startswith(
            "attention"
        ):
            assert f"LD = DP + {plan.ROW}" in text
            assert "bias" in name or re.search(rf"LD[WS] = B[MN] \+ {plan.ROW}\b", text)


def test_turing_gets_smaller_tiles_than_hopper():
    turing, hopper = (
        {p.kernel: p for p in attention_plans(c, "float") if p.arguments[1:2] == (128,)} for c in (75, 90)
    )
    assert turing["attention_key_gradient"].shared < hopper["attention_key_gradient"].shared


def test_a_gpu_that_is_too_old_and_one_that_is_new():
    with pytest.raises(ValueError, match=r"compute capability 7\.0.*7\.5"):
        plan.limits(70)
    assert plan.limits(130).block_shared == 64 * 1024, "what every architecture has"


def test_more_than_128_features_have_no_plan():
    assert plan.head_dim(128) == 128
    assert plan.head_dim(129) is None
    assert not plan.fused(129, "f16", 90)
    assert [plan.fused(128, dtype, 75) for dtype in DTYPES] == [True, False, True, True], "float64 does not fit Turing"
    with pytest.raises(ValueError, match="larger than 128"):
        plan.attention("attention_forward", "float", 80, 1, 1, 1, 129)


@pytest.mark.parametrize("kernel", sorted(compiling.FILE_OF))
def test_each_kernel_stands_in_its_file(kernel):
    text = (compiling.FOLDER / compiling.FILE_OF[kernel]).read_text(encoding="utf-8")
    assert re.search(rf"__launch_bounds__\((256|128)(, [134])?\)\s+{kernel}\(", text)
    assert ("__launch_bounds__(128" in text) == kernel.startswith("tensor_")
