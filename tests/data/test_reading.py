"""Text as a stream: the pieces joined are the text, whatever its bytes were cut into."""

from __future__ import annotations

import io

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from minilm.data.reading import decode_blocks, regroup, tsv_column
from minilm.errors import InputError

TEXT = st.text(alphabet="ab1 .'\u00e9\u4e2d\U0001f600\n\r\t\x1c\u00a0\u2028\u0301", max_size=60)


@settings(deadline=None)
@given(text=TEXT, block_bytes=st.integers(1, 9), mark=st.booleans())
def test_decoding_in_blocks_is_decoding_the_whole(text, block_bytes, mark):
    data = (b"\xef\xbb\xbf" if mark else b"") + text.encode()
    pieces = list(decode_blocks(lambda: io.BytesIO(data), "file", block_bytes))
    assert "".join(pieces) == text.replace("\r\n", "\n").replace("\r", "\n")
    assert all(pieces)


def test_only_a_leading_mark_is_dropped():
    data = "\ufeff\ufeffa\ufeffb".encode()
    assert "".join(decode_blocks(lambda: io.BytesIO(data), "file", 2)) == "\ufeffa\ufeffb"


@settings(deadline=None)
@given(text=TEXT, size=st.integers(1, 12), piece=st.integers(1, 20))
def test_regrouping_gives_the_same_text_in_chunks_of_one_length(text, size, piece):
    pieces = [text[i : i + piece] for i in range(0, len(text), piece)]
    assert list(regroup(pieces, size)) == [text[i : i + size] for i in range(0, len(text), size)]


def test_a_chunk_size_that_makes_no_sense():
    with pytest.raises(InputError, match="chunk_characters is 0; give a positive number"):
        list(regroup(["text"], 0))


@settings(deadline=None)
@given(block=st.integers(1, 30))
def test_a_column_of_a_table(block):
    table = "1\tHi.\tx\n2\tHi.\ty\n3\tGo!\tz\n4\tHi.\tw"
    pieces = [table[i : i + block] for i in range(0, len(table), block)]
    assert "".join(tsv_column(pieces, 2, "file")) == "Hi.\nGo!\nHi.\n"
    assert "".join(tsv_column(pieces, 1, "file")) == "1\n2\n3\n4\n"


@pytest.mark.parametrize("ending", ["", "\n"])
def test_a_table_with_too_few_columns(ending):
    with pytest.raises(InputError, match=r"table.tsv has 1 columns in line 2, but its text is in column 2.*fetch it"):
        list(tsv_column(["a\tb\nc" + ending], 2, "table.tsv"))
