"""Cleaning [000 §3.1]: each step by example, all of them together by their laws."""

import unicodedata

import pytest
from hypothesis import given
from hypothesis import strategies as st
from strategies import TEXTS

from minilm.errors import InputError
from minilm.text import clean, normalize
from minilm.text.unicode.cleaning import (
    FORMS,
    WHITESPACE_MODES,
    refuse_surrogates,
    remove_accents,
    remove_control_characters,
    tidy_whitespace,
    unify_line_endings,
)

OPTIONS = st.fixed_dictionaries(
    {},
    optional={
        "form": st.sampled_from([*FORMS, None]),
        "line_endings": st.booleans(),
        "control": st.booleans(),
        "whitespace": st.sampled_from(WHITESPACE_MODES),
        "lowercase": st.booleans(),
        "strip_accents": st.booleans(),
    },
)


def test_normalization_forms():
    assert normalize("e\u0301") == "é"
    assert normalize("é", "NFD") == "e\u0301"
    assert normalize("ﬁ²Ａ") == "ﬁ²Ａ"
    assert normalize("ﬁ²Ａ", "NFKC") == "fi2A"
    with pytest.raises(InputError, match="'nfc' is no Unicode normalization form; use one of NFC, NFD, NFKC, NFKD"):
        normalize("a", "nfc")


@pytest.mark.parametrize("function", [refuse_surrogates, normalize, clean])
def test_lone_surrogates_are_refused(function):
    with pytest.raises(InputError, match=r"lone surrogate U\+D83D at position 3.*read the file again"):
        function("abc\ud83d.")


def test_line_endings():
    assert unify_line_endings("a\r\nb\rc\nd\x85e\u2028f\u2029g\r\r\n") == "a\nb\nc\nd\ne\nf\ng\n\n"


def test_control_characters():
    assert remove_control_characters("\ufeffa\x00b\tc\nd\x1b[0m\x7f\x9f") == "ab\tc\nd[0m"
    assert remove_control_characters("👩\u200d👧") == "👩\u200d👧"  # the joiner makes one family of two people


def test_whitespace():
    text = "  if x:\xa0 \n\t return\u3000y  \n\n\n\n end \t\n"
    assert tidy_whitespace(text, "keep") == text
    assert tidy_whitespace(text, "trim") == "  if x:\n\t return y\n\n\n\n end\n"
    assert tidy_whitespace(text, "collapse") == "if x:\nreturn y\n\nend"
    with pytest.raises(InputError, match="'none' is unknown; use one of keep, trim, collapse"):
        tidy_whitespace(text, "none")


def test_accents():
    assert remove_accents("Crème brûlée, Ångström, ά, ñ") == "Creme brulee, Angstrom, α, n"


def test_the_defaults_keep_what_a_reader_sees():
    text = "  Überall, wo\u0308 — «İstanbul»!\t1²\r\n"
    assert clean(text) == "  Überall, wö — «İstanbul»!\t1²\n"
    assert clean(text, lowercase=True, strip_accents=True, form="NFKC") == "  uberall, wo — «istanbul»!\t12\n"


@given(TEXTS, OPTIONS)
def test_cleaning_twice_is_cleaning_once(text, options):
    once = clean(text, **options)
    assert clean(once, **options) == once


@given(TEXTS, st.sampled_from(FORMS), st.booleans(), st.booleans())
def test_the_result_has_the_form_that_was_asked_for(text, form, lowercase, strip_accents):
    cleaned = clean(text, form=form, lowercase=lowercase, strip_accents=strip_accents, whitespace="keep")
    assert unicodedata.is_normalized(form, cleaned)
    assert not any(c not in "\t\n" and unicodedata.category(c) == "Cc" for c in cleaned)
