"""The front: what a call returns, worked out by hand, and what it refuses."""

from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from minilm.errors import InputError
from minilm.text import BatchEncoding, BertTokenizer, GPT2Tokenizer, PretrainedTokenizer, WordTokenizer
from minilm.text.pipeline.added_tokens import AddedToken
from minilm.text.pipeline.encoding import Encoding

VOCABULARY = {
    piece: n for n, piece in enumerate(["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", *"abcdefgh", "##x", "!"])
}
PAD, UNK, CLS, SEP, MASK, A, B, C, D, E, F, G, H, X, BANG = range(15)
BERT = BertTokenizer(VOCABULARY, model_max_length=6)


def test_one_text_gives_flat_lists_and_several_give_rows():
    assert dict(BERT("a bx")) == {
        "input_ids": [CLS, A, B, X, SEP],
        "token_type_ids": [0] * 5,
        "attention_mask": [1] * 5,
    }
    assert BERT(["a", "b"])["input_ids"] == [[CLS, A, SEP], [CLS, B, SEP]]
    assert BERT("a", "b c")["token_type_ids"] == [0, 0, 0, 1, 1, 1]
    assert BERT([("a", "b"), ("c", "d")])["input_ids"] == [[CLS, A, SEP, B, SEP], [CLS, C, SEP, D, SEP]]
    assert BERT("a", add_special_tokens=False).input_ids == [A]
    assert BERT("")["input_ids"] == [CLS, SEP]


def test_arrays():
    batch = BERT(["a", "b c d"], padding=True, return_tensors="np")
    assert batch["input_ids"].tolist() == [[CLS, A, SEP, PAD, PAD], [CLS, B, C, D, SEP]]
    assert batch.attention_mask.tolist() == [[1, 1, 1, 0, 0], [1] * 5]
    assert batch.input_ids.dtype == np.int64
    assert BERT("a", return_tensors="np")["input_ids"].shape == (1, 3)
    assert BERT("a", return_tensors="np", return_offsets_mapping=True)["offset_mapping"].shape == (1, 3, 2)
    with pytest.raises(InputError, match=r"the rows of input_ids have 3 to 4 tokens.*ask for padding=True"):
        BERT(["a", "b c"], return_tensors="np")
    with pytest.raises(InputError, match="return_tensors 'pt' is not available; use \"np\""):
        BERT("a", return_tensors="pt")


def test_padding():
    assert BERT(["a", "b c"], padding="max_length", max_length=5)["input_ids"] == [
        [CLS, A, SEP, PAD, PAD],
        [CLS, B, C, SEP, PAD],
    ]
    assert BERT("a", padding="max_length", padding_side="left")["input_ids"] == [PAD, PAD, PAD, CLS, A, SEP]
    assert BERT("a", padding=True, pad_to_multiple_of=4)["input_ids"] == [CLS, A, SEP, PAD]
    with pytest.warns(UserWarning, match="max_length does nothing with padding=True"):
        BERT("a", padding=True, max_length=3)
    later = BERT.pad([BERT("a"), BERT("b c")], padding_side="left")
    assert later["input_ids"] == [[PAD, CLS, A, SEP], [CLS, B, C, SEP]]
    assert later["attention_mask"] == [[0, 1, 1, 1], [1] * 4]
    with pytest.raises(InputError, match="no input_ids, only labels"):
        BERT.pad([{"labels": [1]}])


def test_truncation():
    long = "a b c d e f"
    assert BERT(long, truncation=True)["input_ids"] == [CLS, A, B, C, D, SEP]
    assert BERT(long, max_length=4)["input_ids"] == [CLS, A, B, SEP]
    assert BERT(long, "g h", truncation=True, max_length=7)["input_ids"] == [CLS, A, B, SEP, G, H, SEP]
    assert BERT(long, "g h", truncation="only_first", max_length=7)["input_ids"] == [CLS, A, B, SEP, G, H, SEP]
    assert BERT("g h", long, truncation="only_second", max_length=6)["input_ids"] == [CLS, G, H, SEP, A, SEP]
    assert BERT(long, long, truncation=True, max_length=8)["input_ids"] == [CLS, A, B, SEP, A, B, C, SEP]
    left = BertTokenizer(VOCABULARY, truncation_side="left")
    assert left(long, truncation=True, max_length=4)["input_ids"] == [CLS, E, F, SEP]
    assert left(long, truncation=True)["input_ids"] == left(long)["input_ids"]  # no length is known


def test_windows():
    batch = BERT("a b c d e", truncation=True, max_length=5, stride=1, return_overflowing_tokens=True, padding=True)
    assert batch["input_ids"] == [[CLS, A, B, C, SEP], [CLS, C, D, E, SEP]]
    batch = BERT(
        ["g", "h"],
        ["a b c d", "a"],
        truncation="only_second",
        max_length=6,
        stride=1,
        return_overflowing_tokens=True,
        return_offsets_mapping=True,
        padding="max_length",
    )
    assert batch["input_ids"] == [
        [CLS, G, SEP, A, B, SEP],
        [CLS, G, SEP, B, C, SEP],
        [CLS, G, SEP, C, D, SEP],
        [CLS, H, SEP, A, SEP, PAD],
    ]
    assert batch["overflow_to_sample_mapping"] == [0, 0, 0, 1]
    both = BERT("a b c d", "e f g h", truncation=True, max_length=7, return_overflowing_tokens=True)
    assert [row[1:3] + row[4:6] for row in both["input_ids"]] == [
        [A, B, E, F],
        [C, D, E, F],
        [C, D, G, H],
        [A, B, G, H],
    ]
    assert batch["offset_mapping"][1] == [(0, 0), (0, 1), (0, 0), (2, 3), (4, 5), (0, 0)]
    assert batch.sequence_ids(1) == [None, 0, None, 1, 1, None]
    assert batch.word_ids(2) == [None, 0, None, 2, 3, None]
    assert batch.tokens(3) == ["[CLS]", "h", "[SEP]", "a", "[SEP]", "[PAD]"]


@given(st.integers(0, 30), st.integers(1, 8), st.integers(0, 7), st.sampled_from(["right", "left"]))
def test_windows_cover_everything_with_the_stride_between(n, length, stride, side):
    ids = np.arange(n)
    encoding = Encoding.of_text(ids, np.stack([ids, ids + 1], axis=1), ids, [str(i) for i in ids])
    if stride >= length and n > length:
        with pytest.raises(InputError, match=f"stride {stride} leaves no step for windows of {length}"):
            encoding.truncate(length, stride, side)
        return
    first = encoding.truncate(length, stride, side)
    windows = [first, *first.overflowing]
    assert all(len(window) <= length for window in windows)
    assert all(len(window) == length for window in windows[:-1])
    ordered = windows if side == "right" else windows[::-1]
    assert sorted({i for window in windows for i in window.ids.tolist()}) == ids.tolist()
    for one, other in pairwise(ordered):
        assert len({*one.ids.tolist()} & {*other.ids.tolist()}) == stride
    assert first.tokens == [str(i) for i in first.ids]


def test_words_that_are_given():
    batch = BERT(["ax", "zz", "b!"], is_split_into_words=True, return_offsets_mapping=True)
    assert batch["input_ids"] == [CLS, A, X, UNK, B, BANG, SEP]
    assert batch.word_ids() == [None, 0, 0, 1, 2, 2, None]
    assert batch["offset_mapping"] == [(0, 0), (0, 1), (1, 2), (0, 2), (0, 1), (1, 2), (0, 0)]
    assert BERT([["a"], ["b", "c"]], is_split_into_words=True)["input_ids"] == [[CLS, A, SEP], [CLS, B, C, SEP]]


def test_from_characters_to_tokens_and_back():
    batch = BERT("ax b", "c")
    assert batch.char_to_token(1) == 2
    assert batch.char_to_token(2) is None
    assert batch.char_to_token(0, 0, sequence_index=1) == 5
    assert batch.token_to_chars(2) == (1, 2)
    assert batch.token_to_chars(0) is None
    assert batch.word_to_tokens(0) == (1, 3)
    assert batch.word_to_tokens(9) is None
    assert batch.n_sequences == 2
    assert batch[0].tokens == ["[CLS]", "a", "##x", "b", "[SEP]", "c", "[SEP]"]
    with pytest.raises(AttributeError, match="this batch has no 'labels'; it has input_ids"):
        _ = batch.labels
    with pytest.raises(InputError, match="was not made by a tokenizer"):
        BatchEncoding({"input_ids": [1]}).word_ids()
    assert {**batch}.keys() == {"input_ids", "token_type_ids", "attention_mask"}


def test_decoding():
    ids = [CLS, A, X, BANG, B, SEP, PAD]
    assert BERT.decode(ids) == "[CLS] ax! b [SEP] [PAD]"
    assert BERT.decode(np.array(ids), skip_special_tokens=True) == "ax! b"
    assert BERT.decode([ids, [B]], skip_special_tokens=True) == ["ax! b", "b"]
    assert BERT.batch_decode(np.array([[A], [B]])) == ["a", "b"]
    assert BERT.decode(A) == "a"
    assert BERT.decode([]) == ""
    assert BERT.convert_ids_to_tokens([CLS, X], skip_special_tokens=True) == ["##x"]
    assert BERT.convert_ids_to_tokens(X) == "##x"
    assert BERT.convert_tokens_to_ids(["a", "zzz"]) == [A, UNK]
    assert BERT.tokenize("axz a") == ["[UNK]", "a"]
    for wrong in ([99], [-1]):
        with pytest.raises(InputError, match=r"is not in the vocabulary of 15 tokens \(0 to 14\)"):
            BERT.decode(wrong)
    with pytest.raises(InputError, match="no sequence of whole numbers"):
        BERT.decode([0.5])


def test_special_tokens():
    tokenizer = BertTokenizer(VOCABULARY)
    assert (tokenizer.cls_token, tokenizer.cls_token_id, tokenizer.bos_token, tokenizer.bos_token_id) == (
        "[CLS]",
        CLS,
        None,
        None,
    )
    assert set(tokenizer.all_special_ids) == {PAD, UNK, CLS, SEP, MASK}
    assert tokenizer.get_special_tokens_mask([CLS, A, SEP]) == [1, 0, 1]
    with pytest.raises(InputError, match=r"bos_token '<s>' is not in the vocabulary; add it with add_special_tokens"):
        tokenizer.bos_token = "<s>"
    assert tokenizer.add_special_tokens({"bos_token": "<s>"}) == 1
    assert tokenizer.add_special_tokens({"bos_token": "<s>", "eos_token": "[SEP]"}) == 0
    assert (tokenizer.bos_token_id, len(tokenizer), tokenizer.vocab_size) == (15, 16, 15)
    tokenizer.eos_token_id = BANG
    assert tokenizer.eos_token == "!"
    tokenizer.mask_token = None
    assert tokenizer.mask_token_id is None
    assert tokenizer.add_tokens(["new", AddedToken("_x_", single_word=True), "a"]) == 2
    assert tokenizer("a NEW <s>_x_ a_x_", add_special_tokens=False)["input_ids"] == [A, 16, 15, 17, A, 1, 1, 1]
    assert tokenizer("<s>", split_special_tokens=True, add_special_tokens=False)["input_ids"] == [1, 1, 1]
    with pytest.raises(InputError, match="special token 'end_token' is unknown"):
        tokenizer.add_special_tokens({"end_token": "x"})
    with pytest.raises(InputError, match="an added token is ''; give texts"):
        tokenizer.add_tokens([""])


@pytest.mark.parametrize(
    ("arguments", "options", "message"),
    [
        ((["a", "b"], "c"), {}, "2 texts need a list of as many for text_pair, which is one str"),
        ((["a", "b"], ["c"]), {}, "which is a list of 1"),
        (([],), {}, "the batch is empty"),
        (("a",), {"max_length": -1}, "max_length is -1; give a whole number from 0"),
        (("a",), {"stride": 0.5}, "stride is 0.5; give a whole number"),
        ((3,), {}, "example 0 is .* where a text or a pair of texts was expected"),
        ((["a", None],), {}, "example 1 is .* where a text or a pair"),
        (([("a", "b", "c")],), {}, "a text or a pair of texts was expected"),
        (("a",), {"is_split_into_words": True}, "a list of words was expected"),
        (("a\ud800",), {}, r"lone surrogate U\+D800"),
        (("a",), {"padding": "longer"}, "padding 'longer' is unknown"),
        (("a",), {"truncation": "some"}, "truncation 'some' is unknown"),
        (("a",), {"padding_side": "top"}, "padding_side 'top' is unknown"),
        (("a b c",), {"truncation": "only_second", "max_length": 4}, "needs a second text"),
        (
            ("a", "b c d e"),
            {"truncation": "only_first", "max_length": 4},
            "would have to take 4 tokens from a text of 1",
        ),
        (("a b c",), {"max_length": 1}, "has no room for the 2 special tokens"),
        (("a b c",), {"max_length": 4, "stride": 2}, "stride 2 leaves no step for windows of 2 tokens"),
        (("a b c",), {"max_length": 4, "stride": 3}, "stride 3 is more than max_length 4 leaves beside 2 special"),
        (
            ("a",),
            {"truncation": True, "padding": True, "max_length": 5, "pad_to_multiple_of": 4},
            "5 is not a multiple",
        ),
    ],
)
def test_calls_that_are_refused(arguments, options, message):
    with pytest.raises(InputError, match=message):
        BERT(*arguments, **options)


def test_padding_without_a_token():
    gpt2 = GPT2Tokenizer.train("the cat and the hat", 260)
    with pytest.raises(InputError, match=r"no padding token to pad with; name one, for example tokenizer\.pad_token"):
        gpt2(["a", "bb"], padding=True)
    gpt2.pad_token = gpt2.eos_token
    assert gpt2(["a", "bb"], padding=True)["attention_mask"] == [[1, 0], [1, 1]]


def test_names_that_do_not_exist():
    for options, message in (
        ({"padding_side": "up"}, "padding_side 'up' is unknown"),
        ({"truncation_side": 3}, "truncation_side 3 is unknown"),
    ):
        with pytest.raises(InputError, match=message):
            BertTokenizer(VOCABULARY, **options)
    with pytest.raises(InputError, match=r"lacks '\[CLS\]', which stands around every text"):
        BertTokenizer({"[UNK]": 0})


def test_bert_is_trained_from_nothing():
    tokenizer = BertTokenizer.train(["the cats sat", "the cat", "Thé mat"] * 3, 40)
    assert tokenizer.tokenize("THE cat") == ["the", "cat"]
    assert tokenizer.get_vocab() == BertTokenizer.train(["the cats sat", "the cat", "Thé mat"] * 3, 40).get_vocab()
    assert BertTokenizer.train("Thé cat", 40, do_lower_case=False).tokenize("Thé") != ["[UNK]"]
    chinese = BertTokenizer.train("床前明月光疑是地上霜" * 3 + "床", 7, limit_alphabet=2)
    assert chinese.tokenize("床前上") == [
        "床",
        "[UNK]",
        "上",
    ]  # 上 has the lowest code point of those that occur 3 times
    for texts, size, message in (("", 40, "no text to train"), ("abc", 6, "a vocabulary of 6 pieces is too small")):
        with pytest.raises(InputError, match=message):
            BertTokenizer.train(texts, size)


def test_words_by_frequency_and_their_coverage():
    tokenizer = WordTokenizer.train(["the cat sat on the mat", "The dog. the end"], 6)
    assert tokenizer.get_vocab() == {"[PAD]": 0, "[UNK]": 1, "the": 2, "cat": 3, "sat": 4, "on": 5}
    assert tokenizer("The cat barks")["input_ids"] == [2, 3, 1]
    assert tokenizer.decode([2, 3, 1]) == "the cat [UNK]"
    # the the cat sat are 4 of 6 words; the, cat, sat 3 of 5 distinct ones
    assert tokenizer.coverage(["the cat sat", "the big bang"]) == {"tokens": 4 / 6, "types": 3 / 5}
    assert tokenizer.coverage("the") == {"tokens": 1.0, "types": 1.0}
    assert WordTokenizer.train("b a a", 9, min_frequency=2).vocab_size == 3
    assert "The" in WordTokenizer.train("The the", 9, lowercase=False).get_vocab()
    for call in (
        lambda: tokenizer.coverage(""),
        lambda: WordTokenizer.train("", 9),
        lambda: WordTokenizer.train("a", 2),
    ):
        with pytest.raises(InputError):
            call()


def test_a_tokenizer_of_any_parts():
    tokenizer = PretrainedTokenizer(BERT.backend, {"pad_token": "[PAD]", "eos_token": None})
    assert tokenizer.special_tokens_map == {"pad_token": "[PAD]"}
    assert repr(tokenizer) == "PretrainedTokenizer(15 tokens, special: {'pad_token': '[PAD]'})"


def test_added_tokens_in_a_text():
    """The longest that fits is found, words are counted on behind it, and flags that are known stay."""
    tokenizer = BertTokenizer(VOCABULARY)
    tokenizer.add_tokens(["a!", AddedToken("a!b", normalized=False), AddedToken("_", lstrip=True, rstrip=True)])
    batch = tokenizer("a b a!b c  _ A! d", add_special_tokens=False, return_offsets_mapping=True)
    assert batch.tokens() == ["a", "b", "a!b", "c", "  _ ", "a!", "d"]
    assert batch.word_ids() == [0, 1, 2, 3, 4, 5, 6]
    assert batch["offset_mapping"] == [(0, 1), (2, 3), (4, 7), (8, 9), (9, 13), (13, 15), (16, 17)]
    assert tokenizer("a!b", split_special_tokens=True, add_special_tokens=False).tokens() == [
        "a!b"
    ]  # it is not special
    tokenizer.add_special_tokens({"eos_token": "_"})
    assert tokenizer.backend.added.tokens[tokenizer.eos_token_id] == AddedToken(
        "_", lstrip=True, rstrip=True, special=True
    )


def test_accents_can_be_kept_apart_from_capitals():
    vocabulary = {**VOCABULARY, "é": len(VOCABULARY), "e": 9}
    assert BertTokenizer(vocabulary, strip_accents=False).tokenize("É") == ["é"]
    assert BertTokenizer(vocabulary).tokenize("É") == ["e"]
