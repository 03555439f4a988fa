"""TSV, CSV and JSON lines to examples; what is wrong with a file is said with its line."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from minilm.data import (
    PairExample,
    TextExample,
    TokensExample,
    read_pair_examples,
    read_text_examples,
    read_token_examples,
    sign_label,
)
from minilm.data.tables import read_rows
from minilm.errors import InputError


@pytest.fixture
def write(tmp_path):
    def write(name, content):
        path = tmp_path / name
        path.write_bytes(content if isinstance(content, bytes) else content.encode())
        return path

    return write


def test_tsv_with_a_header(write):
    path = write("a.tsv", 'label\ttext\npos\tgood "film"\n\nneg\tbad\u2028film\n')
    assert read_text_examples(path) == [TextExample('good "film"', "pos"), TextExample("bad\u2028film", "neg")]


def test_tsv_without_a_header(write):
    path = write("a.tsv", "Hi.\t嗨。\tx\nRun.\t跑。\ty")
    columns = ("en", "zh", "from")
    examples = read_pair_examples(path, source="en", target="zh", columns=columns)
    assert examples == [PairExample("Hi.", "嗨。"), PairExample("Run.", "跑。")]


def test_csv_with_quoted_cells(write):
    path = write("a.csv", 'text,label,other\r\n"one, ""two""\r\nthree",1,a\r\n\r\nfour,2,b\r\n')
    assert read_text_examples(path, second="other") == [
        TextExample('one, "two"\nthree', "1", "a"),
        TextExample("four", "2", "b"),
    ]
    assert [row.line for row in read_rows(path)] == [2, 5]


def test_json_lines(write):
    path = write(
        "a.jsonl", '{"text": "a\\tb", "label": 1, "more": null}\n\n{"label": true, "text": "\\ud83d\\ude00"}\n'
    )
    assert read_text_examples(path) == [TextExample("a\tb", "1"), TextExample("😀", "True")]
    assert read_text_examples(path, label=None)[0] == TextExample("a\tb")


def test_tokens_in_json_lines(write):
    path = write("a.jsonl", '{"tokens": ["Hi", "Ann"], "tags": ["O", "B-PER"]}')
    assert read_token_examples(path) == [TokensExample(("Hi", "Ann"), ("O", "B-PER"))]


def test_a_byte_order_mark_and_windows_line_ends(write):
    path = write("a.tsv", b"\xef\xbb\xbftext\tlabel\r\nh\xc3\xa9\t1\r\n")
    assert read_text_examples(path) == [TextExample("hé", "1")]


def test_another_ending(write):
    path = write("a.txt", "text\tlabel\na\tb")
    assert read_text_examples(path, format="tsv") == [TextExample("a", "b")]
    with pytest.raises(InputError, match=r"format of .*a.txt cannot be told from its name; let it end in .tsv"):
        read_text_examples(path)


def test_ratings_become_classes(write):
    path = write("a.tsv", "2.27\tgood\n-0.5\tso-so\n-0.51\tbad\n0.6\tfair")
    options = {"label": "rating", "columns": ("rating", "text")}
    examples = read_text_examples(path, convert=sign_label(0.5), **options)
    assert [(e.text, e.label) for e in examples] == [("good", "positive"), ("bad", "negative"), ("fair", "positive")]
    for rating in ("great", "nan"):
        with pytest.raises(InputError, match=rf"line 2: its rating '{rating}' does not fit"):
            read_text_examples(write("b.tsv", f"1\ta\n{rating}\tb"), convert=sign_label(0.5), **options)


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("a.tsv", "", "a.tsv is empty"),
        ("a.tsv", "\n \n", "a.tsv has no example in it"),
        ("a.tsv", b"\xef\xbb\xbf", "a.tsv has no example in it"),
        ("a.tsv", "text\tlabel\n", "a.tsv has no example in it"),
        ("a.tsv", "text\tlabel\na\tb\nc\n", r"a.tsv, line 3: 1 columns instead of 2 \(text, label\)"),
        ("a.tsv", "text\tlabel\na\tb\tc\n", "line 2: 3 columns instead of 2"),
        ("a.tsv", "text\tlabel\n\na\t \n", "line 3: its label is missing"),
        ("a.tsv", "text\tlabel\n \ta\n", "line 2: its text is empty"),
        ("a.tsv", "Hi.\tpos\nHo.\tneg\n", r"line 2: no column 'label' \(there is 'Hi.', 'pos'\).*name all columns"),
        ("a.tsv", "text\ttext\na\tb\n", "line 1: two columns are named 'text'"),
        ("a.tsv", "text\t\na\tb\n", "line 1: a column without a name"),
        ("a.tsv", b"text\tlabel\ncaf\xe9\tb\n", r"a.tsv is not UTF-8: byte 14 \(line 2\).*looks like LATIN1"),
        ("a.tsv", b"text\tlabel\n\xc3\xa9\ta\ncaf\xe9\tb\n", r"a.tsv is not UTF-8 throughout.*\(line 3\)"),
        ("a.tsv", "text\tlabel\nä\tb\n".encode("utf-16"), r"not UTF-8: byte 0 \(line 1\).*looks like UTF-16"),
        ("a.tsv", b"text\tlabel\na\x00\tb", "a.tsv is no text file .a NUL byte"),
        ("a.csv", 'text,label\n"a,b\nc,d\n', r"a.csv, line 2: no valid CSV \(unexpected end of data\)"),
        ("a.csv", 'text,label\na,b\n"a"b,c\n', "a.csv, line 3: no valid CSV"),
        ("a.csv", f"text,label\n{'x' * 200_000},b\n", "line 2: no valid CSV .field larger"),
        ("a.csv", "text,label\n\n\na\n", "line 4: 1 columns instead of 2"),
        ("a.jsonl", '{"text": "a", "label": "b"}\n{"text": ', r"a.jsonl, line 2: no valid JSON \(Expecting value"),
        ("a.jsonl", '["a", "b"]', "line 1: list instead of an object"),
        ("a.jsonl", '{"text": "a"}', "line 1: no column 'label'"),
        ("a.jsonl", '{"text": "a", "label": null}', "line 1: its label is missing"),
        ("a.jsonl", '{"text": "a", "label": ["b"]}', "line 1: its label is list"),
        ("a.jsonl", '{"text": 1, "label": "b"}', "line 1: its text is int instead of a string"),
        ("a.jsonl", '{"text": "a", "label": NaN}', "line 1: no valid JSON .NaN is no number"),
        ("a.jsonl", '{"text": "\\ud800", "label": "b"}', "line 1: a lone surrogate"),
        ("a.jsonl", '{"text": "a", "label": ' + "1" * 5000 + "}", "line 1: no valid JSON .Exceeds the limit"),
        ("a.jsonl", "[" * 100_000, "line 1: JSON nested too deeply"),
    ],
)
def test_what_is_wrong_is_said_with_its_line(write, name, content, message):
    with pytest.raises(InputError, match=message) as caught:
        read_text_examples(write(name, content))
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ('{"tokens": ["a"], "tags": []}', "line 1: 1 tokens and 0 tags"),
        ('{"tokens": [], "tags": []}', "line 1: 0 tokens and 0 tags"),
        ('{"tokens": "ab", "tags": ["a", "b"]}', "tokens is no list of strings"),
        ('{"tokens": ["a"], "tags": [1]}', "tags is no list of strings"),
        ('{"tokens": [""], "tags": ["O"]}', "tokens is no list of strings"),
        ('{"tokens": ["a"]}', "no column 'tags'"),
    ],
)
def test_what_is_wrong_with_tokens(write, content, message):
    with pytest.raises(InputError, match=message):
        read_token_examples(write("a.jsonl", content))


def test_what_is_wrong_with_a_path(tmp_path):
    with pytest.raises(InputError, match=r"there is no file '.*missing\.tsv'"):
        read_text_examples(tmp_path / "missing.tsv")
    with pytest.raises(InputError, match="is a folder or no ordinary file"):
        read_text_examples(tmp_path, format="tsv")
    for path in ("a\0b.tsv", "x" * 5000 + ".tsv"):
        with pytest.raises(InputError, match="check the path"):
            read_text_examples(path)


def test_json_lines_name_their_columns_themselves(write):
    with pytest.raises(InputError, match="give no columns"):
        read_text_examples(write("a.jsonl", '{"text": "a"}'), columns=("text",))
    with pytest.raises(InputError, match="columns: two columns are named 'a'"):
        read_text_examples(write("a.tsv", "a\tb"), columns=("a", "a"))


CELL = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0\t\n\r\ufeff"), min_size=1).filter(
    str.strip
)


@given(st.lists(st.tuples(CELL, CELL), min_size=1))
def test_what_is_written_is_read(tmp_path_factory, rows):
    folder = tmp_path_factory.mktemp("round")
    expected = [TextExample(text, label.strip()) for text, label in rows]
    tsv = folder / "a.tsv"
    tsv.write_text("text\tlabel\n" + "".join(f"{text}\t{label}\n" for text, label in rows), "utf-8", newline="")
    quoted = [[cell.replace('"', '""') for cell in row] for row in rows]
    lines = folder / "a.csv"
    lines.write_text("text,label\n" + "".join(f'"{text}","{label}"\n' for text, label in quoted), "utf-8", newline="")
    objects = folder / "a.jsonl"
    objects.write_text("".join(json.dumps({"text": t, "label": n}) + "\n" for t, n in rows), "utf-8")
    controls = sum(ord(c) < 32 for row in rows for cell in row for c in cell)
    if controls:  # many of them make a file look like no text; JSON writes them as \u0001
        assert read_text_examples(objects) == expected
        return
    for path in (tsv, lines, objects):
        assert read_text_examples(path) == expected
