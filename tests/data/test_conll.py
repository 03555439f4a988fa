"""CoNLL files: sentences, tagging schemes, and what is wrong with a line."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from minilm.data import TokensExample, iob1_to_bio, read_conll
from minilm.errors import InputError

BIO = st.lists(st.sampled_from(["O", "B-X", "I-X", "B-Y", "I-Y"]), max_size=10)


@pytest.fixture
def write(tmp_path):
    def write(content):
        path = tmp_path / "a.conll"
        path.write_bytes(content if isinstance(content, bytes) else content.encode())
        return path

    return write


def test_sentences(write):
    path = write("-DOCSTART- O\n\nAlice B-PER\nlives O\n\n\nNew B-LOC\nYork I-LOC\n \t \nHi O")
    assert read_conll(path) == [
        TokensExample(("Alice", "lives"), ("B-PER", "O")),
        TokensExample(("New", "York"), ("B-LOC", "I-LOC")),
        TokensExample(("Hi",), ("O",)),
    ]


def test_columns(write):
    path = write("1 Alice NNP B-PER\n2 left VBD O\n")
    assert read_conll(path, token_column=1)[0] == TokensExample(("Alice", "left"), ("B-PER", "O"))
    assert read_conll(path, token_column=1, tag_column=2, scheme="any")[0].tags == ("NNP", "VBD")


def test_between_tabs_a_token_may_hold_spaces(write):
    assert read_conll(write("New York\tB-LOC\r\n\u3000\tO\r\n"))[0].tokens == ("New York", "\u3000")


def test_iob1_becomes_bio(write):
    tags = "I-PER I-PER O I-LOC B-LOC I-LOC I-PER"
    bio = "B-PER I-PER O B-LOC B-LOC I-LOC B-PER"
    assert iob1_to_bio(tags.split()) == bio.split()
    path = write("\n".join(f"t {tag}" for tag in tags.split()) + "\n\nt I-PER\n")
    assert [e.tags for e in read_conll(path, scheme="IOB1")] == [tuple(bio.split()), ("B-PER",)]
    assert iob1_to_bio(["I", "I", "B", "I"]) == ["B", "I", "B", "I"]


@given(BIO)
def test_bio_is_valid_and_stays(tags):
    bio = iob1_to_bio(tags)
    assert iob1_to_bio(bio) == bio
    for last, tag in zip(["O", *bio], bio):
        assert not tag.startswith("I") or last[1:] == tag[1:]
    assert [tag[1:] for tag in bio] == [tag[1:] for tag in tags]
    assert all(new == old or (old[0], new[0]) == ("I", "B") for new, old in zip(bio, tags))


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("", "a.conll is empty"),
        ("\n\n", "a.conll has no example in it; expected lines with a token and its tag"),
        ("-DOCSTART- O\n\n", "has no example"),
        ("a O\nb\n", "a.conll, line 2: 1 columns, but a token and its tag need 2"),
        ("a\tO\nb\t\n", "line 2: 1 columns, but a token and its tag need 2"),
        ("a\tO\n\tO\n", "line 2: 2 columns, but a token and its tag need 2"),
        ("a O\n\nb c O\n", "line 3: 3 columns, but the lines before have 2"),
        ("a x O\nb O\n", "line 2: 2 columns, but the lines before have 3"),
        ("a NN\n", "line 1: 'NN' is no tag of an entity.*the scheme 'any'"),
        ("a o\n", "line 1: 'o' is no tag"),
        ("a O\nb I-X\n", "line 2: I-X follows O, so it continues no entity.*the scheme 'IOB1'"),
        ("a B-X\nb I-Y\n", "line 2: I-Y follows B-X"),
        ("a B-X\n\nb I-X\n", "line 3: I-X follows O"),
        (b"a O\n\ncaf\xe9 O\n", r"not UTF-8: byte 8 \(line 3\)"),
    ],
)
def test_what_is_wrong_is_said_with_its_line(write, content, message):
    with pytest.raises(InputError, match=message) as caught:
        read_conll(write(content))
    assert "\n" not in str(caught.value)


def test_an_unknown_scheme(write):
    with pytest.raises(InputError, match="no tagging scheme 'BIOES'"):
        read_conll(write("a O"), scheme="BIOES")
