"""tokenizer.json and the other files of a folder: written and read again, and refused where they are damaged."""

import copy
import json
from contextlib import suppress

import pytest
from hypothesis import given
from hypothesis import strategies as st
from strategies import TEXTS

from minilm.errors import InputError
from minilm.text import (
    BertTokenizer,
    ByteLevelBPETokenizer,
    CharacterTokenizer,
    GPT2Tokenizer,
    PretrainedTokenizer,
    WordTokenizer,
    load_tokenizer,
)
from minilm.text.files.tokenizer_json import backend_from_json, backend_to_json

SAMPLE = "The cats can't wait, can they? 床前明月光 naïve " * 4
PARTS = {
    "normalizer": {
        "type": "Sequence",
        "normalizers": [
            {"type": "NFKD"},
            {"type": "Replace", "pattern": {"Regex": " {2,}"}, "content": " "},
            {"type": "Replace", "pattern": {"String": "``"}, "content": '"'},
            {"type": "Lowercase"},
            {"type": "StripAccents"},
            {"type": "Strip", "strip_left": True, "strip_right": False},
            {"type": "Prepend", "prepend": "x"},
        ],
    },
    "pre_tokenizer": {"type": "Sequence", "pretokenizers": [{"type": "Whitespace"}, {"type": "BertPreTokenizer"}]},
    "post_processor": {
        "type": "Sequence",
        "processors": [
            {"type": "ByteLevel", "add_prefix_space": True, "trim_offsets": False, "use_regex": True},
            {
                "type": "TemplateProcessing",
                "single": [{"SpecialToken": {"id": "[CLS]", "type_id": 0}}, {"Sequence": {"id": "A", "type_id": 0}}],
                "pair": [{"Sequence": {"id": "A", "type_id": 0}}, {"Sequence": {"id": "B", "type_id": 1}}],
                "special_tokens": {"[CLS]": {"id": "[CLS]", "ids": [1], "tokens": ["[CLS]"]}},
            },
        ],
    },
    "decoder": {
        "type": "Sequence",
        "decoders": [
            {"type": "Replace", "pattern": {"String": "▁"}, "content": " "},
            {"type": "ByteFallback"},
            {"type": "Fuse"},
            {"type": "Strip", "content": " ", "start": 1, "stop": 0},
        ],
    },
}
WORDPIECE = {
    "version": "1.0",
    "truncation": None,
    "padding": None,
    "added_tokens": [
        {
            "id": 1,
            "content": "[CLS]",
            "single_word": False,
            "lstrip": False,
            "rstrip": False,
            "normalized": False,
            "special": True,
        }
    ],
    **PARTS,
    "model": {
        "type": "WordPiece",
        "unk_token": "[UNK]",
        "continuing_subword_prefix": "##",
        "max_input_chars_per_word": 100,
        "vocab": {"[UNK]": 0, "[CLS]": 1, "x": 2, "##a": 3, "a": 4},
    },
}
UNIGRAM = {
    "version": "1.0",
    "added_tokens": [],
    "normalizer": None,
    "pre_tokenizer": {"type": "Metaspace", "replacement": "▁", "prepend_scheme": "always", "split": True},
    "post_processor": None,
    "decoder": {"type": "Metaspace", "replacement": "▁", "prepend_scheme": "always", "split": True},
    "model": {
        "type": "Unigram",
        "unk_id": 0,
        "vocab": [["<unk>", 0.0], ["▁a", -1.0], ["b", -2.0]],
        "byte_fallback": False,
    },
}
GPT2 = backend_to_json(GPT2Tokenizer.train(SAMPLE, 300).backend)


@pytest.mark.parametrize("spec", [WORDPIECE, UNIGRAM, GPT2], ids=["WordPiece", "Unigram", "GPT-2"])
def test_written_as_it_was_read(spec):
    written = backend_to_json(backend_from_json(json.loads(json.dumps(spec))))
    assert json.loads(json.dumps(written)) == {"truncation": None, "padding": None, **spec}


def test_all_steps_are_taken():
    backend = backend_from_json(WORDPIECE)
    encoding = backend.assemble([backend.encode("  Á  ``a")])
    assert encoding.tokens == ["[CLS]", "x", "##a", "[UNK]", "a"]
    assert encoding.offsets.tolist() == [[0, 0], [2, 3], [2, 3], [6, 7], [7, 8]]
    assert backend.decode([3, 2]) == "##ax"
    gpt2 = backend_from_json(GPT2)
    assert gpt2.decode(gpt2.encode(SAMPLE).ids.tolist()) == SAMPLE


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"normalizer": {"type": "Emojify"}}, "the normalizer 'Emojify', which minilm does not have; it has BertNorm"),
        ({"pre_tokenizer": {"type": "Digits"}}, "the pre-tokenizer 'Digits', which minilm does not have"),
        ({"post_processor": {"type": "X"}}, "the post-processor 'X'"),
        ({"decoder": {"type": "CTC"}}, "the decoder 'CTC'"),
        ({"decoder": ["WordPiece"]}, 'where an object with a "type" was expected'),
        ({"normalizer": {"type": "BertNormalizer", "emoji": True}}, "has 'emoji', which minilm does not know"),
        (
            {"normalizer": {"type": "BertNormalizer", "lowercase": "yes"}},
            "has lowercase 'yes', which is of a wrong kind",
        ),
        ({"normalizer": {"type": "Replace", "pattern": {"Regex": "("}, "content": ""}}, "cannot be read here"),
        ({"normalizer": {"type": "Sequence"}}, "lacks 'normalizers'"),
        ({"model": {"type": "Neural"}}, "its model is a 'Neural'"),
        ({"model": {"type": "WordPiece", "vocab": {"a": 0}}}, r"lacks the unknown token '\[UNK\]'"),
        (
            {"model": {"type": "WordPiece", "vocab": {"[UNK]": 0, "a": 0}}},
            "two tokens of its vocabulary have the same id",
        ),
        ({"model": {"type": "WordPiece", "vocab": {}}}, "its vocabulary is empty, so it has no tokens"),
        ({"model": {"type": "WordLevel", "vocab": {"[UNK]": "0"}}}, "has the id '0', which is no number from 0"),
        ({"model": {"type": "BPE", "vocab": {"a": 0}, "merges": []}}, "no ByteLevel pre-tokenizer"),
        ({"model": {"type": "Unigram", "vocab": {"a": 0}}}, "a Unigram model needs"),
        ({"model": 3}, 'an object with a "model" was expected'),
        ({"version": "2.0"}, "has version '2.0', minilm reads '1.0'"),
        ({"added_tokens": [{"content": "[CLS]"}]}, "lacks a content or an id"),
        ({"added_tokens": [{"content": "[X]", "id": 1}]}, r"'\[X\]' has the id 1, which is that of '\[CLS\]'"),
    ],
)
def test_what_is_unknown_is_named(change, message):
    with pytest.raises(InputError, match=message):
        backend_from_json({**WORDPIECE, **change})


def test_bpe_options_that_are_not_there_are_named():
    for key, value in (
        ("dropout", 0.1),
        ("byte_fallback", True),
        ("end_of_word_suffix", "</w>"),
    ):
        with pytest.raises(InputError, match=f"its BPE model has {key}"):
            backend_from_json({**GPT2, "model": {**GPT2["model"], key: value}})
    with pytest.raises(InputError, match="is no pair of tokens"):
        backend_from_json({**GPT2, "model": {**GPT2["model"], "merges": ["a b c"]}})


def places(value, path=()):
    """The way to every value in a nested object."""
    yield path
    items = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for key, part in items:
        if len(path) < 6:
            yield from places(part, (*path, key))


JUNK = st.sampled_from(
    [None, True, -1, 0, 3, 1e9, "", "x", "\ud800", [], [1], ["a", 1], {}, {"type": "NFC"}, {"type": 3}]
)


@given(st.sampled_from([WORDPIECE, UNIGRAM]), st.data())
def test_a_damaged_file_is_used_or_refused_but_never_crashes(spec, data):
    spec = copy.deepcopy(spec)
    for _ in range(data.draw(st.integers(1, 2))):
        *path, last = data.draw(st.sampled_from([path for path in places(spec) if path]))
        part = spec
        for key in path:
            part = part[key]
        if data.draw(st.booleans()):
            part[last] = data.draw(JUNK)
        elif isinstance(part, dict):
            del part[last]
    try:
        backend = backend_from_json(spec)
        encoding = backend.assemble([backend.encode("a [CLS] ab")])
        backend.decode(encoding.ids.tolist())
        json.dumps(backend_to_json(backend))
    except InputError:
        pass


@given(st.binary(max_size=60) | st.text(max_size=60).map(str.encode))
def test_any_bytes_as_files(tmp_path_factory, raw):
    for name in (
        "tokenizer.json",
        "vocab.txt",
        "tokenizer_config.json",
        "special_tokens_map.json",
        "added_tokens.json",
    ):
        folder = tmp_path_factory.mktemp("folder")
        (folder / "vocab.txt").write_text("[UNK]\n[CLS]\n[SEP]\na\n")
        (folder / name).write_bytes(raw)
        with suppress(InputError):
            PretrainedTokenizer.from_folder(folder)("a b")


MAKERS = {
    "uncased": lambda: BertTokenizer.train(SAMPLE, 120, model_max_length=64),
    "cased": lambda: BertTokenizer.train(SAMPLE, 120, do_lower_case=False, padding_side="left"),
    "gpt2": lambda: GPT2Tokenizer.train(SAMPLE, 300),
    "words": lambda: WordTokenizer.train(SAMPLE, 10),
}


@pytest.mark.parametrize("kind", MAKERS)
def test_a_folder_is_read_as_it_was_written(tmp_path, kind):
    tokenizer = MAKERS[kind]()
    tokenizer.add_special_tokens({"pad_token": "[PAD]", "additional_special_tokens": ["<new>"]})
    tokenizer.add_tokens("longer word")
    paths = tokenizer.save_pretrained(tmp_path)
    assert sorted(paths) == sorted(map(str, tmp_path.iterdir()))
    for cls in (PretrainedTokenizer, type(tokenizer)):
        again = cls.from_folder(tmp_path)
        assert type(again) is type(tokenizer)
        assert again.get_vocab() == tokenizer.get_vocab()
        assert again.special_tokens_map == tokenizer.special_tokens_map
        assert again.additional_special_tokens == tokenizer.additional_special_tokens
        assert (again.model_max_length, again.padding_side) == (tokenizer.model_max_length, tokenizer.padding_side)
        text = "The <new> cats' longer word [PAD] 床 zzz"
        assert dict(again(text)) == dict(tokenizer(text))
        again.save_pretrained(tmp_path / "again")
        for path in tmp_path.glob("*.*"):
            assert (tmp_path / "again" / path.name).read_bytes() == path.read_bytes()


@given(TEXTS)
def test_gpt2_is_the_byte_level_tokenizer(text):
    plain = ByteLevelBPETokenizer.train(SAMPLE, 300, ["<|endoftext|>"])
    front = GPT2Tokenizer.of(plain)
    assert front(text)["input_ids"] == plain.encode(text)
    assert front.decode(front(text)["input_ids"]) == text
    ids, offsets = plain.encode_offsets(text)
    assert ids.tolist() == plain.encode(text)
    assert offsets.tolist() == front.encode_offsets(text)[1].tolist()
    for n, (start, end) in zip(ids.tolist(), offsets.tolist()):
        assert plain.token_bytes(n) in text[start:end].encode()
    trimmed = plain.encode_offsets(text, trim_offsets=True)[1]
    assert ((offsets[:, 0] <= trimmed[:, 0]) & (trimmed[:, 1] <= offsets[:, 1])).all()


def test_gpt2_folders_go_both_ways(tmp_path):
    plain = ByteLevelBPETokenizer.train(SAMPLE, 300, ["<|endoftext|>", "<|pad|>"])
    plain.save(tmp_path / "plain")
    front = PretrainedTokenizer.from_folder(tmp_path / "plain")
    assert isinstance(front, GPT2Tokenizer)
    text = "cats<|pad|> can't <|endoftext|>"
    assert front(text)["input_ids"] == plain.encode(text)
    GPT2Tokenizer.of(plain).save_pretrained(tmp_path / "front")
    assert load_tokenizer(tmp_path / "front").encode(text) == plain.encode(text)


def test_folders_that_hold_something_else(tmp_path):
    with pytest.raises(InputError, match="is no folder"):
        PretrainedTokenizer.from_folder(tmp_path / "none")
    with pytest.raises(InputError, match=r"it has no tokenizer\.json, vocab\.txt, spiece\.model or vocab\.json"):
        PretrainedTokenizer.from_folder(tmp_path)
    (tmp_path / "bpe.model").write_bytes(b"\n")
    with pytest.raises(InputError, match=r"its bpe\.model is a SentencePiece file"):
        PretrainedTokenizer.from_folder(tmp_path)
    CharacterTokenizer.train("abc").save(tmp_path)
    with pytest.raises(InputError, match="holds a CharacterTokenizer; open it with"):
        PretrainedTokenizer.from_folder(tmp_path)
    MAKERS["gpt2"]().save_pretrained(tmp_path)
    with pytest.raises(InputError, match="holds a GPT2Tokenizer where a BertTokenizer was expected"):
        BertTokenizer.from_folder(tmp_path)
    with pytest.raises(InputError, match="'colour' is no argument of from_folder"):
        PretrainedTokenizer.from_folder(tmp_path, colour="red")


def test_settings_of_the_folder_and_changes(tmp_path):
    (tmp_path / "vocab.txt").write_text("[UNK]\n[CLS]\n[SEP]\nÄ\na\n", encoding="utf-8")
    (tmp_path / "tokenizer_config.json").write_text('{"do_lower_case": false, "model_max_length": 5}')
    tokenizer = PretrainedTokenizer.from_folder(tmp_path)
    assert tokenizer("Ä a A")["input_ids"] == [1, 3, 4, 0, 2]
    assert tokenizer("a " * 9, truncation=True)["input_ids"] == [1, 4, 4, 4, 2]
    assert (len(tokenizer), tokenizer.pad_token_id, tokenizer.mask_token_id) == (7, 5, 6)  # added, as transformers does
    (tmp_path / "special_tokens_map.json").write_text('{"cls_token": {"content": "a"}, "pad_token": "Ä"}')
    tokenizer = PretrainedTokenizer.from_folder(tmp_path, padding_side="left", sep_token="a")
    assert (tokenizer.cls_token_id, tokenizer.pad_token, tokenizer.sep_token) == (4, "Ä", "a")
    assert tokenizer.padding_side == "left"
    (tmp_path / "tokenizer_config.json").write_text('{"do_lower_case": "no"}')
    with pytest.raises(InputError, match="has do_lower_case 'no'; true or false was expected"):
        PretrainedTokenizer.from_folder(tmp_path)


def test_the_config_goes_before_tokenizer_json(tmp_path):
    """As in transformers; and a config that transformers wrote over may hold checksums of files that are gone."""
    tokenizer = BertTokenizer.train(SAMPLE, 120)
    tokenizer.add_tokens("CAN'T")
    tokenizer.save_pretrained(tmp_path)
    path = tmp_path / "tokenizer_config.json"
    config = {**json.loads(path.read_text(encoding="utf-8")), "do_lower_case": False}
    path.write_text(json.dumps(config))
    cased = PretrainedTokenizer.from_folder(tmp_path)
    assert cased.tokenize("can't")[-1] != "CAN'T"
    assert cased.tokenize("CAN'T") == ["CAN'T"]
    assert tokenizer.tokenize("can't") == ["can't"]
    path.write_text(json.dumps({**config, "sha256": {"tokenizer.json": "0"}}))
    with pytest.raises(InputError, match="is not as it was saved"):
        PretrainedTokenizer.from_folder(tmp_path)
    path.write_text(json.dumps({**config, "sha256": {"tokenizer.json": "0"}, "backend": "tokenizers"}))
    assert PretrainedTokenizer.from_folder(tmp_path).get_vocab() == tokenizer.get_vocab()


def test_offsets_without_spaces():
    """A space that may have been added is not taken off: it is in no text."""
    steps = {"pre_tokenizer": {"type": "ByteLevel", "add_prefix_space": True, "trim_offsets": True, "use_regex": True}}
    for added in (True, False):
        trims = {"type": "ByteLevel", "add_prefix_space": added, "trim_offsets": True, "use_regex": True}
        backend = backend_from_json({**GPT2, **steps, "post_processor": trims})
        encoding = backend.assemble([backend.encode("The The  x")])
        assert backend.decode(encoding.ids.tolist()) == " The The  x"
        words = {tuple(span) for span in encoding.offsets.tolist()}
        assert {(0, 3) if added else (1, 3), (4, 7), (9, 10)} <= words
