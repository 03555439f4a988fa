"""minilm's safetensors against the safetensors package: each reads what the other writes, and they refuse the same files."""

from __future__ import annotations

import json
import struct

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from minilm.errors import InputError
from minilm.hub.saving import write_safetensors
from minilm.hub.weights import Weights, read_header, to_bfloat16

numpy_side = pytest.importorskip(
    "safetensors.numpy", reason="safetensors is the oracle of these tests and is not installed"
)
safe_open = pytest.importorskip("safetensors").safe_open


ARRAYS = st.sampled_from(["f8", "f4", "f2", "i8", "i4", "i2", "i1", "u8", "u4", "u2", "u1", "?"]).flatmap(
    lambda dtype: hnp.arrays(dtype, hnp.array_shapes(min_dims=0, max_dims=3, min_side=0, max_side=3))
)
TENSORS = st.dictionaries(
    st.text(st.characters(codec="utf-8"), max_size=6).filter(lambda n: n != "__metadata__"), ARRAYS
)


@pytest.fixture(scope="module")
def path(tmp_path_factory):
    return tmp_path_factory.mktemp("safetensors") / "model.safetensors"


def same(got, want):
    assert got.keys() == want.keys()
    for name, array in want.items():
        assert got[name].dtype == array.dtype
        assert got[name].shape == array.shape
        assert got[name].tobytes() == array.tobytes()


@settings(max_examples=50)
@given(TENSORS)
def test_each_reads_what_the_other_writes(path, tensors):
    write_safetensors(path, list(tensors.items()))
    same(numpy_side.load(path.read_bytes()), tensors)
    path.write_bytes(numpy_side.save(tensors, {"format": "np"}))
    weights = Weights(read_header(path))
    same({name: weights.read(name) for name in weights.shapes}, tensors)


def accepts(path):
    """Whether the safetensors package opens the file."""
    try:
        with safe_open(path, framework="numpy") as file:
            return all(file.get_slice(name) is not None for name in file.keys())  # noqa: SIM118  the file cannot be iterated
    except Exception:  # its own exceptions come from Rust
        return False


def check(path):
    """minilm accepts nothing that the package refuses."""
    try:
        read_header(path)
    except InputError:
        return
    assert accepts(path)


@settings(max_examples=300)
@given(st.data())
def test_nothing_is_accepted_that_the_package_refuses(path, data):
    whole = numpy_side.save({"b": np.arange(6, dtype=np.float32).reshape(2, 3), "a": np.ones(2, np.int64)})
    place = data.draw(st.integers(0, len(whole) - 1))
    path.write_bytes(whole[:place] + bytes([data.draw(st.integers(0, 255))]) + whole[place + 1 :])
    check(path)


@settings(max_examples=200)
@given(st.lists(st.tuples(st.sampled_from(["F32", "I8", "BF16", "BOOL", "F99"]), st.lists(st.integers(0, 3), max_size=2),
                          st.integers(0, 6), st.integers(0, 6)), max_size=3), st.integers(0, 8))  # fmt: skip
def test_small_headers(path, entries, size):
    header = {
        name: {"dtype": dtype, "shape": shape, "data_offsets": [start, stop]}
        for name, (dtype, shape, start, stop) in zip("abc", entries)
    }
    text = json.dumps(header).encode()
    path.write_bytes(struct.pack("<Q", len(text)) + text + bytes(size))
    check(path)


def test_bfloat16_is_rounded_as_pytorch_rounds_it(path):
    torch = pytest.importorskip("torch", reason="PyTorch is the oracle of this test and is not installed")
    torch_side = pytest.importorskip("safetensors.torch", reason="safetensors' side for PyTorch is not there")
    rng = np.random.default_rng(0)
    values = rng.integers(0, 2**32, 100_000, dtype=np.uint32).view(np.float32)  # every kind of number
    want = torch.tensor(values).to(torch.bfloat16)
    numbers = ~np.isnan(values)
    bits = to_bfloat16(values)
    assert np.array_equal(bits[numbers].view(np.int16), want.view(torch.int16).numpy()[numbers])
    write_safetensors(path, [("x", values[numbers])], "bfloat16")
    assert torch.equal(torch_side.load_file(path)["x"], want[torch.tensor(numbers)])
    torch_side.save_file({"x": want}, path)
    assert np.array_equal(Weights(read_header(path)).read("x"), want.float().numpy(), equal_nan=True)
