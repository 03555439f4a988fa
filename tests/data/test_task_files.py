"""The readers on any bytes, and on the real files."""

from __future__ import annotations

import json
from collections import Counter

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from minilm.data import (
    read_conll,
    read_pair_examples,
    read_snips_intents,
    read_snips_slots,
    read_squad,
    read_text_examples,
    read_token_examples,
    sign_label,
    split_examples,
)
from minilm.errors import InputError

READERS = {
    "tsv": lambda path: read_text_examples(path, format="tsv"),
    "tsv without header": lambda path: read_pair_examples(path, columns=("source", "target"), format="tsv"),
    "csv": lambda path: read_text_examples(path, format="csv"),
    "jsonl": lambda path: read_text_examples(path, format="jsonl"),
    "tokens": read_token_examples,
    "conll": read_conll,
    "iob1": lambda path: read_conll(path, scheme="IOB1"),
    "any": lambda path: read_conll(path, scheme="any", token_column=1, tag_column=0),
    "squad": read_squad,
    "intents": read_snips_intents,
    "slots": read_snips_slots,
}
VALID = {
    "tsv": "text\tlabel\nHé\t1\nyou\t2\n",
    "tsv without header": "Hé\t嗨\nyou\t你\n",
    "csv": 'text,label\n"Hé, ""you""\n",1\nyou,2\n',
    "jsonl": '{"text": "Hé", "label": "1"}\n{"text": "\\ud83d\\ude00", "label": 2}\n',
    "tokens": '{"tokens": ["Hé", "Ann"], "tags": ["O", "B-PER"]}\n',
    "conll": "Ann B-PER\nLee I-PER\n\nis O\n",
    "iob1": "Ann I-PER\nLee I-PER\n\nis O\n",
    "any": "NN Ann\nNN Lee\n\nVB is\n",
    "squad": json.dumps(
        {
            "data": [
                {
                    "paragraphs": [
                        {
                            "context": "Ann is 7.",
                            "qas": [{"id": "q", "question": "?", "answers": [{"text": "7", "answer_start": 7}]}],
                        }
                    ]
                }
            ]
        }
    ),
    "intents": '{"intent": "a", "chunks": [{"text": "x "}, {"text": "y", "entity": "e"}]}\n',
}
VALID["slots"] = VALID["intents"]
ALPHABET = st.sampled_from([*"\"',{}[]:\\ \t\n\rBIO-0aé床", "null", "NaN", "\\ud800", "-DOCSTART-", "\x00", "1e999"])
BYTES = st.one_of(
    st.binary(max_size=80), st.lists(ALPHABET, max_size=40).map(lambda pieces: "".join(pieces).encode("utf-8"))
)
JSON = st.recursive(
    st.one_of(st.none(), st.booleans(), st.integers(), st.floats(), st.text(max_size=4)),
    lambda inner: st.one_of(
        st.lists(inner, max_size=3),
        st.dictionaries(
            st.sampled_from(
                [
                    *("data", "paragraphs", "context", "qas", "id", "question", "answers", "text", "answer_start"),
                    *("intent", "chunks", "entity", "tokens", "tags", "label"),
                ]
            ),
            inner,
            max_size=5,
        ),
    ),
    max_leaves=15,
)


@pytest.fixture(scope="module")
def file(tmp_path_factory):
    return tmp_path_factory.mktemp("fuzz") / "file"


def read_or_refuse(reader, path, content):
    """Examples, at least one, or an InputError of one line; nothing else."""
    path.write_bytes(content)
    message = ""
    try:
        assert READERS[reader](path)
    except InputError as error:
        message = str(error)
    assert not message or str(path) in message
    assert "\n" not in message


@pytest.mark.parametrize("reader", READERS)
def test_the_valid_files_are_read(reader, file):
    file.write_text(VALID[reader], encoding="utf-8")
    assert len(READERS[reader](file)) in (1, 2)


@pytest.mark.parametrize("reader", READERS)
@given(content=BYTES)
@example(b"")
@example(b"\xef\xbb\xbf")
@example(b"\xff\xfe\x00")
@example(b"[" * 200_000)
def test_any_bytes_are_read_or_refused(reader, file, content):
    read_or_refuse(reader, file, content)


@pytest.mark.parametrize("reader", READERS)
@given(data=st.data())
@settings(max_examples=60)
def test_a_damaged_file_is_read_or_refused(reader, file, data):
    """A valid file, cut off, with a byte changed, removed or put in."""
    content = bytearray(VALID[reader].encode())
    for _ in range(data.draw(st.integers(1, 3))):
        place = data.draw(st.integers(0, len(content)))
        content[place : place + data.draw(st.integers(0, 3))] = data.draw(BYTES)[:3]
    cut = data.draw(st.integers(0, len(content)))
    read_or_refuse(reader, file, bytes(content))
    read_or_refuse(reader, file, bytes(content[:cut]))


@pytest.mark.parametrize("reader", ["jsonl", "tokens", "squad", "intents", "slots"])
@given(value=JSON)
def test_any_json_is_read_or_refused(reader, file, value):
    read_or_refuse(reader, file, json.dumps(value).encode())


def test_movie_sentiment(real_data):
    path, options = real_data / "movie_sentiment.tsv", {"label": "rating", "columns": ("rating", "text")}
    assert len(read_text_examples(path, **options)) == 10_605
    labels = Counter(e.label for e in read_text_examples(path, convert=sign_label(0.5), **options))
    assert labels == {"positive": 4982, "negative": 5061}


@pytest.mark.parametrize(("name", "count"), [("train", 13_784), ("validate", 700)])
def test_snips(real_data, name, count):
    intents = read_snips_intents(real_data / f"snips.{name}.jsonl")
    slots = read_snips_slots(real_data / f"snips.{name}.jsonl")
    assert len(intents) == len(slots) == count
    assert len({e.label for e in intents}) == 7
    assert len({tag[2:] for e in slots for tag in e.tags if tag != "O"}) == 39
    for intent, slot in zip(intents, slots):
        assert "".join(slot.tokens) == "".join(intent.text.split())


def test_wikigold(real_data):
    """1,841 blocks, of which 145 are marks of a document's end (-DOCSTART-) and 1,696 sentences."""
    examples = read_conll(real_data / "wikigold.conll", scheme="IOB1")
    assert len(examples) == 1696
    assert sum(len(e.tokens) for e in examples) == 39_007
    entities = Counter(tag[2:] for e in examples for tag in e.tags if tag.startswith("B-"))
    assert entities == {"LOC": 1014, "PER": 934, "ORG": 898, "MISC": 712}
    with pytest.raises(InputError, match=r"wikigold.conll, line 1: I-MISC follows O.*IOB1"):
        read_conll(real_data / "wikigold.conll")


def test_tatoeba_is_split_by_source(real_data):
    columns = ("en", "zh", "attribution")
    examples = read_pair_examples(real_data / "tatoeba_en_zh.tsv", source="en", target="zh", columns=columns)
    assert len(examples) == 29_155
    parts = split_examples(examples, (0.9, 0.05, 0.05), seed=0, group=lambda pair: pair.source)
    sources = [{pair.source for pair in part} for part in parts]
    assert sum(map(len, sources)) == len(set().union(*sources)) == 27_661
    for part, share in zip(parts, (0.9, 0.05, 0.05)):
        assert len(part) == pytest.approx(share * len(examples), abs=10)


def test_scitldr(real_data):
    columns = ("abstract", "summary", "title")
    path = real_data / "scitldr_a.tsv"
    assert len(read_pair_examples(path, source="abstract", target="summary", columns=columns)) == 3226


@pytest.mark.parametrize("language", ["en", "zh"])
def test_xquad(real_data, language):
    examples = read_squad(real_data / f"xquad.{language}.json")
    assert len(examples) == 1190
    assert all(len(e.answers) == 1 for e in examples)
