"""Rules between names in files and parameters: whole families by property, and every kind of mismatch by name."""

import re

import numpy as np
import pytest

from minilm.errors import InputError
from minilm.hub.mapping import Mapping, Rule

MAPPING = Mapping(
    prefix="net.",
    own_prefix="body.",
    base=(
        Rule("emb.weight", "table.weight"),
        Rule("h.{i}.lin.{p}", "blocks.{i}.linear.{p}", "transpose"),
        Rule(("h.{i}.q.{p}", "h.{i}.k.{p}", "h.{i}.v.{p}"), "blocks.{i}.qkv.{p}", "stack", (2, 1, 1)),
        Rule("pool.{p}", "pooler.{p}"),
    ),
    heads=(Rule("head.weight", "head.weight"), Rule("classes.{p}", "classifier.{p}")),
    optional=("pool.*",),
    tied={"head.weight": "emb.weight"},
    ignored=("h.*.mask",),
    renames=((".gamma", ".weight"),),
)
OWN = {
    "body.table.weight": (7, 4), "body.blocks.0.linear.weight": (6, 4), "body.blocks.0.linear.bias": (6,),
    "body.blocks.0.qkv.weight": (8, 4), "classifier.weight": (3, 4),
}  # fmt: skip
FILE = {
    "net.emb.weight": (7, 4), "net.h.0.lin.weight": (4, 6), "net.h.0.lin.bias": (6,), "net.h.0.q.weight": (4, 4),
    "net.h.0.k.weight": (2, 4), "net.h.0.v.weight": (2, 4), "classes.weight": (3, 4),
}  # fmt: skip


def without(*names, **more):
    return {name: shape for name, shape in FILE.items() if name not in names} | more


def read_all(plan, tensors, own=OWN, dtype=np.float32):
    arrays = {name: np.full(shape, np.nan, dtype) for name, shape in own.items()}
    for name, rule, names in plan.reads:
        rule.read((tensors[each] for each in names), arrays[name])
    return arrays


@pytest.mark.parametrize("is_base", [False, True])
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_what_is_written_is_read_again(is_base, dtype):
    rng = np.random.default_rng(0)
    arrays = {name: rng.standard_normal(shape).astype(dtype) for name, shape in OWN.items()}
    if is_base:
        arrays = {name.removeprefix("body."): array for name, array in arrays.items() if "classifier" not in name}
    tensors = dict(MAPPING.to_file(arrays.items(), is_base))
    base_file = {name.removeprefix("net."): shape for name, shape in FILE.items() if name.startswith("net.")}
    assert {name: array.shape for name, array in tensors.items()} == (base_file if is_base else FILE)
    shapes = {name: array.shape for name, array in arrays.items()}
    plan = MAPPING.plan(shapes, {name: array.shape for name, array in tensors.items()})
    assert not plan.new
    assert not plan.left_out
    for name, array in read_all(plan, tensors, shapes, dtype).items():
        assert np.array_equal(array, arrays[name])


@pytest.mark.parametrize("prefix", ["net.", ""])
@pytest.mark.parametrize("own_prefix", ["body.", ""])
def test_prefixes_may_be_there_or_not(prefix, own_prefix):
    own = {name.replace("body.", own_prefix): shape for name, shape in OWN.items() if own_prefix or "class" not in name}
    file = {name.replace("net.", prefix): shape for name, shape in FILE.items()}
    plan = MAPPING.plan(own, file)
    assert len(plan.reads) == len(own)
    assert plan.left_out == ([] if own_prefix else ["classes.weight"])


def test_old_spellings_masks_copies_and_parts_that_come_and_go():
    file = without("net.emb.weight", "classes.weight") | {
        "net.emb.gamma": (7, 4), "h.0.mask": (1, 1), "head.weight": (7, 4), "net.pool.bias": (4,),
    }  # fmt: skip
    plan = MAPPING.plan(OWN, file)
    assert ("body.table.weight", MAPPING.base[0], ("net.emb.gamma",)) in plan.reads
    assert plan.new == ["classifier.weight"]
    assert plan.left_out == ["net.pool.bias"]
    assert plan.copies == [("head.weight", "net.emb.gamma")]


def test_a_copy_stands_in_for_what_it_repeats():
    plan = MAPPING.plan(OWN, without("net.emb.weight") | {"head.weight": (7, 4)})
    assert ("body.table.weight", MAPPING.base[0], ("head.weight",)) in plan.reads
    assert not plan.left_out
    assert not plan.copies


def test_an_untied_head_is_read_as_itself():
    plan = MAPPING.plan(OWN | {"head.weight": (7, 4)}, FILE | {"head.weight": (7, 4)})
    assert ("head.weight", MAPPING.heads[0], ("head.weight",)) in plan.reads
    assert not plan.copies


def test_all_problems_are_one_error():
    file = without("net.h.0.lin.bias", "net.h.0.k.weight") | {
        "net.emb.weight": (8, 4), "net.h.1.lin.bias": (6,), "strange": (1,), "h.0.q.weight": (4, 4), "net.h.0.v.weight": (3, 4),
    }  # fmt: skip
    with pytest.raises(InputError) as caught:
        MAPPING.plan(OWN, file)
    message = str(caught.value)
    for part in (
        "missing: h.0.lin.bias (for body.blocks.0.linear.bias)",
        "missing: h.0.k.weight (for body.blocks.0.qkv.weight)",
        "shape of net.emb.weight: (8, 4) in the file, (7, 4) in the model",
        "shape of net.h.0.v.weight: (3, 4) in the file, (2, 4) in the model",
        "unexpected: net.h.1.lin.bias",
        "unexpected: strange",
        "twice: net.h.0.q.weight and h.0.q.weight",
    ):
        assert part in message
    assert "\n" not in message


def test_a_transposed_matrix_of_the_file_is_no_matrix_of_the_model():
    with pytest.raises(InputError, match=re.escape("(6, 4) in the file, (4, 6) in the model")):
        MAPPING.plan(OWN, FILE | {"net.h.0.lin.weight": (6, 4)})


def test_many_problems_are_cut_short():
    with pytest.raises(InputError, match="and 28 more"):
        MAPPING.plan(OWN, FILE | {f"x{i}": (1,) for i in range(40)})


def test_a_head_of_another_size_only_if_one_says_so():
    file = FILE | {"classes.weight": (2, 4)}
    with pytest.raises(InputError, match="ignore_mismatched_sizes=True starts it anew"):
        MAPPING.plan(OWN, file)
    plan = MAPPING.plan(OWN, file, new_heads=True)
    assert plan.new == ["classifier.weight"]
    with pytest.raises(InputError, match="shape"):  # never for the base
        MAPPING.plan(OWN, FILE | {"net.emb.weight": (8, 4)}, new_heads=True)


def test_a_bias_that_is_missing_is_an_error():
    own = OWN | {"body.blocks.0.qkv.bias": (8,)}
    with pytest.raises(
        InputError, match=re.escape("missing: h.0.q.bias (for body.blocks.0.qkv.bias); missing: h.0.k.bias")
    ):
        MAPPING.plan(own, FILE)


def test_half_an_optional_part_is_an_error():
    mapping = Mapping(base=(), heads=(Rule(("start.{p}", "end.{p}"), "answer.{p}", "stack"),))
    assert mapping.plan({"answer.weight": (2, 4)}, {}).new == ["answer.weight"]
    with pytest.raises(InputError, match=r"missing: end.weight \(for answer.weight\)"):
        mapping.plan({"answer.weight": (2, 4)}, {"start.weight": (1, 4)})


def test_a_number_is_a_number():
    """h.{i} must not take h.1.2 or h.x, nor {p} anything but weight and bias."""
    rule = MAPPING.base[1]
    assert rule.file_names("blocks.12.linear.weight") == ("h.12.lin.weight",)
    for name in (
        "blocks.1.2.linear.weight",
        "blocks.x.linear.weight",
        "blocks.1.linear.scale",
        "blocks.1.linearXweight",
    ):
        assert rule.file_names(name) is None


def test_rules_that_cannot_be():
    with pytest.raises(ValueError, match="does not fit"):
        Rule("a", "b", "stack")
    with pytest.raises(ValueError, match="does not fit"):
        Rule(("a", "b"), "c")
    with pytest.raises(ValueError, match="cannot be shared"):
        Rule(("a", "b"), "c", "stack").file_shapes((3, 2))
    with pytest.raises(LookupError, match="no rule"):
        MAPPING.plan({"nothing.weight": (1,)}, {})
