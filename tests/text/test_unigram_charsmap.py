"""The precompiled charsmap: replacements, clusters, places, damage."""

import base64

import pytest
from charsmap_maker import make_charsmap, make_charsmap_text
from hypothesis import given
from hypothesis import strategies as st

from minilm.errors import InputError
from minilm.text.unicode.aligned import AlignedText
from minilm.text.unicode.charsmap import Precompiled

TABLE = {"ﬁ": "fi", "Ａ": "A", "\r": " ", "\n": " ", "\xad": "", "e\u0301": "é", "½": "1⁄2", "\u0301": "'"}

WRITABLE = st.characters(min_codepoint=1, exclude_categories=["Cs"])


def applied(text):
    aligned = Precompiled(make_charsmap_text(TABLE))(AlignedText.of(text))
    return aligned.text, aligned.places.tolist()


@pytest.mark.parametrize(
    ("text", "expected", "places"),
    [
        ("", "", []),
        ("plain text", "plain text", list(range(10))),
        ("xＡ\ny", "xA y", [0, 1, 2, 3]),  # one for one
        ("xﬁy", "xfiy", [0, 1, 1, 2]),  # what is added belongs to the character before it
        ("½", "1⁄2", [0, 0, 0]),
        ("xe\u0301y", "xéy", [0, 1, 3]),  # what is composed belongs to the first
        ("a\r\nb", "a b", [0, 1, 3]),  # a line end of Windows is one cluster
        ("a\xadb", "ab", [0, 2]),
        ("\xadab", "ab", [0, 1]),  # a removal at the very start is not recorded (as in the Rust package)
        ("ﬁ\u0301", "fi", [0, 1]),  # a short cluster goes as a whole, its accent too
        ("x\u0301", "x'", [0, 1]),
    ],
)
def test_replacements_and_places(text, expected, places):
    assert applied(text) == (expected, places)


@given(st.dictionaries(st.text(WRITABLE, min_size=1, max_size=4), st.text(WRITABLE)))
def test_every_key_is_found(table):
    charsmap = Precompiled(make_charsmap_text(table))
    for key in table:
        shortest = next(key[:n] for n in range(1, len(key) + 1) if key[:n] in table)
        assert charsmap.replacement(key) == table[shortest]
    assert charsmap.replacement("\ue000") is None or "\ue000" in table


@given(st.text())
def test_text_without_keys_is_left_alone(text):
    aligned = AlignedText.of(text)
    assert Precompiled(make_charsmap_text({"\ue000": "x"}))(aligned).text == text.replace("\ue000", "x")


@pytest.mark.parametrize(
    "damaged", [None, 7, "no base64!", "", "AAAA", base64.b64encode(b"\xff\xff\xff\xffabcd").decode()]
)
def test_damage_is_refused(damaged):
    with pytest.raises(InputError, match="charsmap"):
        Precompiled(damaged)


@given(st.data())
def test_any_damage_is_an_input_error_or_harmless(data):
    block = bytearray(make_charsmap({"ab": "x", "é": "y"}))
    for place in data.draw(st.lists(st.integers(4, len(block) - 1), max_size=20)):
        block[place] = data.draw(st.integers(0, 255))
    charsmap = Precompiled(base64.b64encode(block).decode())
    try:
        charsmap(AlignedText.of(data.draw(st.sampled_from(["ab", "é", "abé\r\nx"]))))
    except InputError as error:
        assert "damaged" in str(error)  # noqa: PT017  it may also do no harm
