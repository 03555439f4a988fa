"""tokenizer.json as Llama 3, GPT-4 and Qwen have it, beside the Rust package `tokenizers`: the same words, ids and offsets."""

from __future__ import annotations

import json
import os

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from minilm.text import ByteLevelBPETokenizer, PretrainedTokenizer
from minilm.text.files.component_json import pre_tokenizer_from_json
from minilm.text.files.component_writing import to_json
from minilm.text.files.tokenizer_json import backend_from_json, backend_to_json
from minilm.text.unicode.aligned import AlignedText

os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
tokenizers = pytest.importorskip("tokenizers", reason="the package `tokenizers`, the oracle, is not installed")

# published with the models' tokenizer.json
PATTERNS = {
    "Llama 3, GPT-4": (
        r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
    ),
    "Qwen": (
        r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
    ),
    "GPT-4o": (
        r"[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]*[\p{Ll}\p{Lm}\p{Lo}\p{M}]+(?i:'s|'t|'re|'ve|'m|'ll|'d)?|"
        r"[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]+[\p{Ll}\p{Lm}\p{Lo}\p{M}]*(?i:'s|'t|'re|'ve|'m|'ll|'d)?|"
        r"\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n/]*|\s*[\r\n]+|\s+(?!\S)|\s+"
    ),
    "GPT-2": r"'s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+",
}
CORNERS = [
    *["'s", "'S", "'ſ", "'Ll", "'VE", "'", " '", "’s", "'st", "ſ", "ß", "K"],
    *[" ", "  ", "\t", "\n", "\r\n", "\r", "\n\n ", "\xa0", "\u2003", "\u3000", "\x85", "\x1c", "\x1f", "\u2028"],
    *[
        "a",
        "The",
        "É",
        "e\u0301",
        "床前",
        "한국",
        "\U00020000",
        "ª",
        "1",
        "4242",
        "²",
        "Ⅷ",
        "٣",
        "!",
        "...",
        "_",
        "-",
        "/",
    ],
    *["😀", "👩‍👩‍👧", "\x00", "\x7f", "\ufeff", "ǅ", "ʰ", "\u0903", "aB", "Ab"],
]
TEXTS = st.one_of(
    st.text(st.characters(codec="utf-8", exclude_categories=("Cn",))), st.lists(st.sampled_from(CORNERS)).map("".join)
)
SAMPLE = (
    "It's the end that they're there for, ISN'T it? 床前明月光。 😀 for(i = 0; i < 1000; i++)\n\n\t" + "".join(CORNERS)
) * 3


def rust(pattern, ignore_merges=False, normalizer=None):
    base = ByteLevelBPETokenizer.train(SAMPLE, 400)
    vocabulary = {token: n for n, token in enumerate(base.tokens)}
    merges = list(base.merges)
    if ignore_merges:  # words that no merge makes, as Llama 3 has them
        for word in ("Ġunbelievable", "ABCDEF", "1000", "é"):
            vocabulary.setdefault(word, len(vocabulary))
    made = tokenizers.Tokenizer(tokenizers.models.BPE(vocab=vocabulary, merges=merges, ignore_merges=ignore_merges))
    made.pre_tokenizer = tokenizers.pre_tokenizers.Sequence(
        [
            tokenizers.pre_tokenizers.Split(tokenizers.Regex(pattern), "isolated"),
            tokenizers.pre_tokenizers.ByteLevel(add_prefix_space=False, trim_offsets=True, use_regex=False),
        ]
    )
    if normalizer:
        made.normalizer = normalizer
    made.decoder = tokenizers.decoders.ByteLevel()
    made.post_processor = tokenizers.processors.ByteLevel(trim_offsets=False)
    made.add_special_tokens(["<|begin_of_text|>", "<|eot_id|>"])
    return made


@pytest.fixture(scope="module", params=PATTERNS)
def pair(request):
    oracle = rust(PATTERNS[request.param], request.param.startswith("Llama"), qwens(request.param))
    return backend_from_json(json.loads(oracle.to_str())), oracle


def qwens(name):
    return tokenizers.normalizers.NFC() if name == "Qwen" else None


def same(pair, text):
    own, oracle = pair
    got, wanted = own.assemble([own.encode(text)]), oracle.encode(text)
    assert got.ids.tolist() == wanted.ids
    assert [tuple(span) for span in got.offsets.tolist()] == wanted.offsets


@given(TEXTS)
@example("it'ſ IT'S it'Sx 12345 67\r\n\r\n  x \n y   ")
@example("unbelievable unbelievable ABCDEF é 1000 10001000<|eot_id|>x")
@example("")
def test_ids_and_offsets(pair, text):
    same(pair, text)


def test_real_texts(pair, data_folder):
    for name in (
        "tinyshakespeare.txt",
        "tatoeba_en_zh.tsv",
        "snips.validate.jsonl",
        "tang_quatrains_trad.tsv",
        "xquad.zh.json",
    ):
        text = (data_folder / name).read_text(encoding="utf-8")
        for start in range(0, len(text), 50_000):
            same(pair, text[start : start + 3000])


def test_written_and_read_again(pair):
    own, oracle = pair
    again = tokenizers.Tokenizer.from_str(json.dumps(backend_to_json(own)))
    assert again.encode(SAMPLE).ids == oracle.encode(SAMPLE).ids
    assert own.decode(oracle.encode(SAMPLE).ids) == SAMPLE or own.pipeline.normalizer is not None


def test_a_folder_like_llamas(tmp_path):
    oracle = rust(PATTERNS["Llama 3, GPT-4"], ignore_merges=True)
    oracle.save(str(tmp_path / "tokenizer.json"))
    (tmp_path / "tokenizer_config.json").write_text(
        json.dumps({
            "tokenizer_class": "PreTrainedTokenizerFast", "bos_token": "<|begin_of_text|>", "eos_token": "<|eot_id|>",
            "model_max_length": 64,
        })
    )  # fmt: skip
    tokenizer = PretrainedTokenizer.from_folder(tmp_path)
    ids = tokenizer("<|begin_of_text|>It's unbelievable<|eot_id|>")["input_ids"]
    assert ids == oracle.encode("<|begin_of_text|>It's unbelievable<|eot_id|>").ids
    tokenizer.save_pretrained(tmp_path / "again")
    assert PretrainedTokenizer.from_folder(tmp_path / "again").encode(SAMPLE) == oracle.encode(SAMPLE).ids


@pytest.mark.parametrize("behavior", ["isolated", "removed"])
@pytest.mark.parametrize("invert", [False, True])
@given(text=st.text("ab ,\n1é"))
def test_other_splits(behavior, invert, text):
    for pattern in (",", tokenizers.Regex(r"\s+"), tokenizers.Regex(r"[^\s\d]+"), tokenizers.Regex(r"\p{L}?")):
        oracle = tokenizers.pre_tokenizers.Split(pattern, behavior, invert=invert)
        holder = tokenizers.Tokenizer(tokenizers.models.BPE())
        holder.pre_tokenizer = oracle
        spec = json.loads(holder.to_str())["pre_tokenizer"]
        own = pre_tokenizer_from_json(spec)
        assert to_json(own) == spec
        words = own(AlignedText.of(text))
        got = [(text[a:b], (a, b)) for a, b in zip(words.starts.tolist(), words.ends.tolist())]
        assert got == oracle.pre_tokenize_str(text)
