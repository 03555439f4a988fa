"""safetensors: what is written is read again, and a file that is not as it should be is one clear error."""

import json
import struct

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from minilm.errors import InputError
from minilm.hub.saving import write_safetensors
from minilm.hub.weights import DTYPES, INDEX, SINGLE, Weights, from_bfloat16, open_weights, read_header, to_bfloat16

SIMPLE = {
    "b.weight": np.arange(6, dtype=np.float32).reshape(2, 3),
    "a": np.array([1, -2], np.int64),
    "s": np.float64(3.5),
}


def write(path, tensors, dtype=None):
    write_safetensors(path, [(name, np.asarray(value)) for name, value in tensors.items()], dtype)
    return path


def read(path):
    weights = Weights(read_header(path))
    return {name: weights.read(name) for name in weights.shapes}


def raw(path, header, data=b""):
    """A file with any header, as text or as JSON."""
    text = header if isinstance(header, bytes) else json.dumps(header).encode()
    path.write_bytes(struct.pack("<Q", len(text)) + text + data)
    return path


ARRAYS = st.sampled_from(["f8", "f4", "f2", "i8", "i4", "i2", "i1", "u8", "u4", "u2", "u1", "?"]).flatmap(
    lambda dtype: hnp.arrays(dtype, hnp.array_shapes(min_dims=0, max_dims=4, min_side=0, max_side=3))
)


@settings(max_examples=40)  # each waits for the disk
@given(st.dictionaries(st.text(st.characters(codec="utf-8"), max_size=6).filter(lambda n: n != "__metadata__"), ARRAYS))
def test_all_types_and_shapes_are_read_as_they_were_written(tmp_path_factory, tensors):
    path = write(tmp_path_factory.getbasetemp() / "any.safetensors", tensors)
    again = read(path)
    assert again.keys() == tensors.keys()
    for name, array in tensors.items():
        assert again[name].dtype == array.dtype
        assert again[name].shape == array.shape
        assert again[name].tobytes() == array.tobytes()


def test_views_and_foreign_byte_orders_are_written_in_order(tmp_path):
    base = np.arange(24, dtype=np.float32).reshape(4, 6)
    tensors = {"t": base.T, "s": base[::2, 1::2], "big": base.astype(">f4"), "negative": base[::-1]}
    again = read(write(tmp_path / SINGLE, tensors))
    for name, array in tensors.items():
        assert np.array_equal(again[name], array)


@pytest.mark.parametrize(("dtype", "item"), [("float16", 2), ("bfloat16", 2), ("float32", 4), ("float64", 8)])
def test_floats_are_converted_and_integers_are_not(tmp_path, dtype, item):
    path = write(tmp_path / SINGLE, SIMPLE, dtype)
    again = read(path)
    assert again["a"].dtype == np.int64
    assert np.array_equal(again["b.weight"], SIMPLE["b.weight"])
    assert again["s"] == 3.5
    header = read_header(path)
    assert header["b.weight"].stop - header["b.weight"].start == 6 * item


def test_every_bfloat16_is_decoded_and_encoded_exactly():
    bits = np.arange(2**16, dtype=np.uint16)
    values = from_bfloat16(bits)
    for known, value in [(0x3F80, 1.0), (0xC000, -2.0), (0x7F80, np.inf), (0x0001, 2.0**-133), (0x4049, 3.140625)]:
        assert values[known] == value
    back = to_bfloat16(values)
    numbers = ~np.isnan(values)
    assert np.array_equal(back[numbers], bits[numbers])
    for nan in (
        values[~numbers],
        np.array([0x7FFFFFFF, 0xFFFFFFFF, 0x7F800001, 0xFFC00000], np.uint32).view(np.float32),
    ):
        again = from_bfloat16(to_bfloat16(nan))
        assert np.isnan(again).all()
        assert np.array_equal(np.signbit(again), np.signbit(nan))


@settings(max_examples=300)
@given(st.integers(0, 0xFFFF), st.sampled_from([0, 1, 0x7FFF, 0x8000, 0x8001, 0xFFFF]) | st.integers(0, 0xFFFF))
def test_bfloat16_rounds_to_the_nearest_and_ties_to_even(upper, lower):
    x = np.array([upper << 16 | lower], np.uint32).view(np.float32)[0]
    assume(np.isfinite(x))
    bits = int(to_bfloat16(np.array([x]))[0])
    sign, magnitude = bits & 0x8000, bits & 0x7FFF
    assert (sign != 0) == bool(np.signbit(x))
    value = abs(float(x))

    def magnitude_of(b):  # as a number without end: infinity stands for 2^128
        return 2.0**128 if b == 0x7F80 else float(from_bfloat16(np.array([b], np.uint16))[0])

    error = abs(magnitude_of(magnitude) - value)
    for neighbour in (magnitude - 1, magnitude + 1):
        if 0 <= neighbour <= 0x7F80:
            other = abs(magnitude_of(neighbour) - value)
            assert error < other or (error == other and magnitude % 2 == 0)


def test_not_more_than_one_tensor_is_read_at_a_time(tmp_path):
    """The second tensor is cut off after the header was checked: the first is read all the same."""
    path = write(tmp_path / SINGLE, {"a": np.ones(1000, np.float32), "b": np.ones(1000, np.float32)})
    weights = open_weights(tmp_path)
    with path.open("r+b") as file:
        file.truncate(path.stat().st_size - 5)
    assert weights.read("a").sum() == 1000
    with pytest.raises(InputError, match="ended inside b"):
        weights.read("b")


def entry(dtype="F32", shape=(2,), offsets=(0, 8), **more):
    return {"dtype": dtype, "shape": list(shape), "data_offsets": list(offsets), **more}


BAD = [
    ({"a": entry(shape=[3])}, 8, "needs 12 bytes, its data_offsets give 8"),
    ({"a": entry()}, 7, "cut off"),
    ({"a": entry()}, 9, "longer"),
    ({"a": entry(), "b": entry(offsets=(4, 12))}, 12, "'a' and 'b' overlap"),
    ({"a": entry(), "b": entry(offsets=(0, 8))}, 8, "overlap"),
    ({"a": entry(), "b": entry(offsets=(12, 20))}, 20, "gap"),
    ({"a": entry(offsets=(4, 12))}, 12, "gap"),
    ({"a": entry(dtype="F8_E4M3", offsets=(0, 2))}, 2, "F8_E4M3, and minilm reads F64"),
    ({"a": entry(dtype=3)}, 8, "dtype 3"),
    ({"a": entry(shape=[-2])}, 8, "shape"),
    ({"a": entry(shape=[True, 2])}, 8, "shape"),
    ({"a": entry(shape=[2.0])}, 8, "shape"),
    ({"a": entry(shape=[1] * 65 + [2])}, 8, "shape"),
    ({"a": entry(shape=[0, 2**70], offsets=(0, 0))}, 0, "needs 0 bytes"),
    ({"a": entry(shape=[2**40, 2**40])}, 8, "needs"),
    ({"a": entry(offsets=(8, 0))}, 8, "data_offsets"),
    ({"a": entry(offsets=(-8, 0))}, 8, "data_offsets"),
    ({"a": entry(offsets=(0, 8, 8))}, 8, "data_offsets"),
    ({"a": {"dtype": "F32", "shape": [2]}}, 8, "data_offsets None"),
    ({"a": [1]}, 0, "nonsense about 'a'"),
    ([1], 0, "no JSON object"),
    (b'{"a": ', 0, "cannot be read"),
    (b"\xff{}", 0, "cannot be read"),
    (b"[" * 100_000, 0, "cannot be read"),
    (b'{"a":' + json.dumps(entry()).encode() + b', "a":' + json.dumps(entry()).encode() + b"}", 8, "'a' is there twice"),
    (b'{"a":{"dtype":"F32","shape":[' + b"9" * 5000 + b'],"data_offsets":[0,8]}}', 8, "cannot be read"),
]  # fmt: skip


@pytest.mark.parametrize(("header", "size", "message"), BAD, ids=[str(i) for i in range(len(BAD))])
def test_a_header_that_lies_is_one_error(tmp_path, header, size, message):
    raw(tmp_path / SINGLE, header, bytes(size))
    with pytest.raises(InputError, match=message) as caught:
        open_weights(tmp_path)
    assert SINGLE in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("data", [b"", b"1234567", struct.pack("<Q", 100) + b"{}", struct.pack("<Q", 2**63) + b"{}"])
def test_a_file_without_a_header(tmp_path, data):
    (tmp_path / SINGLE).write_bytes(data)
    with pytest.raises(InputError, match="cut off or no safetensors file"):
        open_weights(tmp_path)


def test_a_header_that_is_too_long_is_not_read(tmp_path):
    with (tmp_path / SINGLE).open("wb") as file:
        file.write(struct.pack("<Q", 200_000_000))
        file.truncate(200_000_008)  # a hole: takes no room on the disk
    with pytest.raises(InputError, match="at most 100000000"):
        open_weights(tmp_path)


def only_input_errors(folder):
    """Open and read all; returns None where that ended in an InputError."""
    try:
        weights = open_weights(folder)
        return {name: weights.read(name) for name in weights.shapes}
    except InputError:
        return None


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tmp_path_factory.mktemp("fuzzed")


@settings(max_examples=200)
@given(st.binary(max_size=200))
def test_any_bytes_give_only_input_errors(folder, data):
    (folder / SINGLE).write_bytes(data)
    only_input_errors(folder)


@settings(max_examples=300)
@given(st.recursive(st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8),
                    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(
                        st.sampled_from(["a", "dtype", "shape", "data_offsets", "__metadata__"]), inner, max_size=4)),
       st.binary(max_size=16))  # fmt: skip
def test_any_json_gives_only_input_errors(folder, header, data):
    raw(folder / SINGLE, header, data)
    only_input_errors(folder)


@settings(max_examples=200)
@given(st.data())
def test_a_damaged_file_is_read_as_it_was_or_refused(folder, data):
    """One byte of the header changed, or the file cut: never another exception, never numbers of another shape unnoticed."""
    path = write(folder / SINGLE, SIMPLE)
    whole = path.read_bytes()
    cut = data.draw(st.integers(0, len(whole)))
    if data.draw(st.booleans()):
        path.write_bytes(whole[:cut] if cut < len(whole) else whole + b"x")
        assert only_input_errors(folder) is None
        return
    place = data.draw(st.integers(0, len(whole) - 1))
    byte = data.draw(st.integers(0, 255))
    assume(byte != whole[place])
    path.write_bytes(whole[:place] + bytes([byte]) + whole[place + 1 :])
    got = only_input_errors(folder)
    if got is not None:
        assert sum(array.nbytes for array in got.values()) == 6 * 4 + 2 * 8 + 8


# --- several files ----------------------------------------------------------------------------------------------------


def sharded(folder, weight_map=None, **shards):
    names = {}
    for i, tensors in enumerate(shards.values()):
        write(folder / f"model-{i}.safetensors", tensors)
        names.update(dict.fromkeys(tensors, f"model-{i}.safetensors"))
    text = json.dumps({"weight_map": names if weight_map is None else weight_map(names)})
    (folder / INDEX).write_text(text)
    return folder


ONE, TWO = {"a": np.ones(2, np.float32), "b": np.zeros(3, np.float32)}, {"c": np.full(1, 7, np.float32)}


def test_shards_are_one_model(tmp_path):
    weights = open_weights(sharded(tmp_path, one=ONE, two=TWO))
    assert weights.shapes == {"a": (2,), "b": (3,), "c": (1,)}
    assert weights.read("c").tolist() == [7]


@pytest.mark.parametrize(
    ("weight_map", "message"),
    [
        (lambda names: {**names, "d": "model-7.safetensors"}, "lacks model-7.safetensors of the 3 files"),
        (lambda names: {**names, "d": "model-1.safetensors"}, "model-1.safetensors lacks d"),
        (lambda names: {name: names[name] for name in ("a", "c")}, "says that it is nowhere"),
        (lambda names: {**names, "c": "model-0.safetensors", "x": "model-1.safetensors"}, "says that it is in model-0"),
        (lambda names: {**names, "d": "../model-0.safetensors"}, "no file of its own folder"),
        (lambda names: {**names, "d": "/etc/passwd"}, "no file of its own folder"),
        (lambda names: {**names, "d": ""}, "no file of its own folder"),
        (lambda names: {**names, "d": 3}, "no weight_map"),
        (lambda names: [], "no weight_map"),
        (lambda names: {}, "no weight_map"),
    ],
)
def test_an_index_that_does_not_fit_its_files(tmp_path, weight_map, message):
    sharded(tmp_path, weight_map, one=ONE, two=TWO)
    with pytest.raises(InputError, match=message):
        open_weights(tmp_path)


def test_a_tensor_in_two_shards(tmp_path):
    sharded(tmp_path, one=ONE, two={**TWO, "a": np.ones(2, np.float32)})
    with pytest.raises(InputError, match=r"a is in model-[01].safetensors"):
        open_weights(tmp_path)


@given(st.binary(max_size=60) | st.recursive(
    st.none() | st.text(max_size=4), lambda x: st.dictionaries(st.sampled_from(["weight_map", "a", "b"]), x, max_size=2)
).map(lambda value: json.dumps(value).encode()))  # fmt: skip
def test_any_index_gives_only_input_errors(tmp_path_factory, data):
    folder = tmp_path_factory.getbasetemp() / "indexed"
    folder.mkdir(exist_ok=True)
    (folder / INDEX).write_bytes(data)
    assert only_input_errors(folder) is None


@pytest.mark.parametrize("name", ["pytorch_model.bin", "pytorch_model-00001-of-00002.bin", "model.pt"])
def test_pickles_are_refused_with_the_way_out(tmp_path, name):
    (tmp_path / name).write_bytes(b"\x80\x04.")
    with pytest.raises(InputError, match=rf"{name}, a pickle, and minilm opens none.* python -c .*save_") as caught:
        open_weights(tmp_path)
    command = str(caught.value).partition('python -c "')[2].removesuffix('"')
    compile(command, "command", "exec")


def test_a_folder_without_weights(tmp_path):
    with pytest.raises(InputError, match=r"neither model\.safetensors nor"):
        open_weights(tmp_path)


def test_the_table_of_dtypes_is_what_it_says():
    for name, form in DTYPES.items():
        bits = "".join(c for c in name if c.isdigit())
        assert np.dtype(form).itemsize * 8 == int(bits or 8), name
