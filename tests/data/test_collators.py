"""Padding, seq2seq, tagging, question answering, packing and sentence pairs."""

from types import SimpleNamespace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from minilm.data.collators import (
    DataCollatorForLanguageModeling,
    DataCollatorForSeq2Seq,
    DataCollatorForTokenClassification,
    DataCollatorWithPadding,
    align_labels,
    answer_positions,
    answer_span,
    default_data_collator,
    next_sentence_pairs,
    pack_sequences,
    shift_tokens_right,
)
from minilm.errors import InputError

ROWS = st.lists(st.lists(st.integers(1, 50), min_size=1, max_size=9), min_size=1, max_size=6)
TOKENIZER = SimpleNamespace(pad_token_id=0, padding_side="right")


@given(ROWS, st.sampled_from(["right", "left"]), st.sampled_from([None, 4]))
def test_padding_keeps_every_row(rows, side, multiple):
    collate = DataCollatorWithPadding(pad_token_id=99, padding_side=side, pad_to_multiple_of=multiple)
    batch = collate([{"input_ids": row, "label": n} for n, row in enumerate(rows)])
    width = batch["input_ids"].shape[1]
    assert width == (max(map(len, rows)) if multiple is None else -(-max(map(len, rows)) // 4) * 4)
    assert batch["labels"].tolist() == list(range(len(rows)))
    for row, ids, mask in zip(rows, batch["input_ids"], batch["attention_mask"]):
        assert ids[mask == 1].tolist() == row
        assert (ids[mask == 0] == 99).all()
        assert mask.tolist() == sorted(mask.tolist(), reverse=side == "right")


def test_fields_have_their_own_padding():
    features = [
        {"input_ids": [5, 6], "token_type_ids": [0, 1], "special_tokens_mask": [1, 0], "label": 0.5},
        {"input_ids": [7], "token_type_ids": [1], "special_tokens_mask": [0], "label": 1.5},
    ]
    batch = DataCollatorWithPadding(TOKENIZER)(features)
    assert {name: array.tolist() for name, array in batch.items()} == {
        "input_ids": [[5, 6], [7, 0]],
        "attention_mask": [[1, 1], [1, 0]],
        "token_type_ids": [[0, 1], [1, 0]],
        "special_tokens_mask": [[1, 0], [0, 1]],
        "labels": [0.5, 1.5],
    }
    assert batch["labels"].dtype == np.float32
    assert batch["input_ids"].dtype == np.int64


def test_a_fixed_length():
    batch = DataCollatorWithPadding(TOKENIZER, "max_length", 4)([{"input_ids": [1]}, {"input_ids": [2, 3]}])
    assert batch["input_ids"].tolist() == [[1, 0, 0, 0], [2, 3, 0, 0]]


def test_default_data_collator():
    batch = default_data_collator([{"input_ids": [1, 2], "label": 3}, {"input_ids": [4, 5], "label": 6}])
    assert {name: array.tolist() for name, array in batch.items()} == {"input_ids": [[1, 2], [4, 5]], "labels": [3, 6]}


@pytest.mark.parametrize(
    ("features", "message"),
    [
        ([], "empty"),
        ([[1, 2]], "a list; expected a dict"),
        ([{"labels": 1}], "no input_ids"),
        ([{"input_ids": [1]}, {"input_ids": [1], "x": 1}], "example 1 differs from the first in the field 'x'"),
        ([{"input_ids": [1], "text": "a"}], "'a', which is no number"),
        ([{"input_ids": [1], "x": [1]}, {"input_ids": [1], "x": [1, 2]}], "x has another shape"),
        ([{"input_ids": [0.5]}], "input_ids of example 0"),
        ([{"input_ids": [1] * 9}], "truncation=True"),
    ],
)
def test_bad_batches_are_refused(features, message):
    with pytest.raises(InputError, match=message):
        DataCollatorWithPadding(TOKENIZER, "max_length", 8)(features)


def test_bad_arguments_are_refused():
    with pytest.raises(InputError, match="pad_token_id is needed"):
        DataCollatorWithPadding()
    with pytest.raises(InputError, match="tokenizer has none"):
        DataCollatorWithPadding(SimpleNamespace(pad_token_id=None))
    with pytest.raises(InputError, match="padding is"):
        DataCollatorWithPadding(TOKENIZER, "shortest")
    with pytest.raises(InputError, match="needs max_length"):
        DataCollatorWithPadding(TOKENIZER, "max_length")
    with pytest.raises(InputError, match="padding_side"):
        DataCollatorWithPadding(TOKENIZER, padding_side="top")([{"input_ids": [1]}])


def test_seq2seq():
    model = SimpleNamespace(config=SimpleNamespace(decoder_start_token_id=9))
    collate = DataCollatorForSeq2Seq(TOKENIZER, model)
    batch = collate([{"input_ids": [1, 2], "labels": [3, 4, 5]}, {"input_ids": [6], "labels": [7]}])
    assert {name: array.tolist() for name, array in batch.items()} == {
        "input_ids": [[1, 2], [6, 0]],
        "attention_mask": [[1, 1], [1, 0]],
        "labels": [[3, 4, 5], [7, -100, -100]],
        "decoder_input_ids": [[9, 3, 4], [9, 7, 0]],
    }
    assert DataCollatorForSeq2Seq(TOKENIZER)([{"input_ids": [1], "labels": [3]}])["decoder_input_ids"].tolist() == [[0]]
    assert "labels" not in collate([{"input_ids": [1]}])
    with pytest.raises(InputError, match="expected the ids"):
        collate([{"input_ids": [1], "labels": 3}])


@given(st.lists(st.lists(st.integers(1, 9), min_size=3, max_size=3), min_size=1))
def test_shift_right(rows):
    shifted = shift_tokens_right(np.array(rows), 0, 42)
    assert (shifted[:, 0] == 42).all()
    assert shifted[:, 1:].tolist() == [row[:-1] for row in rows]


def test_labels_of_pieces():
    words = [None, 0, 0, 1, 2, 2, 2, None]
    assert align_labels(words, [7, 8, 9]) == [-100, 7, -100, 8, 9, -100, -100, -100]
    assert align_labels(words, [7, 8, 9], label_all_pieces=True) == [-100, 7, 7, 8, 9, 9, 9, -100]
    assert align_labels(words[:4], [7, 8, 9]) == [-100, 7, -100, 8]  # cut off
    with pytest.raises(InputError, match="word 2 has no label"):
        align_labels(words, [7, 8])


@given(st.lists(st.integers(1, 4), max_size=8), st.data())
def test_every_word_has_one_label(pieces, data):
    words = [None, *(n for n, count in enumerate(pieces) for _ in range(count)), None]
    labels = data.draw(st.lists(st.integers(0, 5), min_size=len(pieces), max_size=len(pieces)))
    assert [label for label in align_labels(words, labels) if label != -100] == labels


def test_token_classification():
    collate = DataCollatorForTokenClassification(TOKENIZER)
    batch = collate([{"input_ids": [1, 2, 3], "labels": [-100, 4, -100]}, {"input_ids": [1, 2], "labels": [5, 6]}])
    assert batch["labels"].tolist() == [[-100, 4, -100], [5, 6, -100]]
    with pytest.raises(InputError, match="example 0 has 1 labels for 2 tokens"):
        collate([{"input_ids": [1, 2], "labels": [1]}])


CONTEXT = "The cat sat on the mat."
#          [CLS] who    [SEP] The     cat     sat      on        the       mat       .         [SEP]
OFFSETS = [(0, 0), (0, 3), (0, 0), (0, 3), (4, 7), (8, 11), (12, 14), (15, 18), (19, 22), (22, 23), (0, 0)]
SEQUENCES = [None, 0, None, *[1] * 7, None]


@pytest.mark.parametrize(
    ("answer", "expected"),
    [("cat", (4, 4)), ("The cat", (3, 4)), ("the mat.", (7, 9)), ("at sa", (4, 5)), (CONTEXT, (3, 9)), (".", (9, 9))],
)
def test_answers(answer, expected):
    start = CONTEXT.index(answer)
    assert answer_positions(OFFSETS, SEQUENCES, start, answer) == expected
    first, last = answer_span(OFFSETS, *expected)
    assert answer in CONTEXT[first:last]


def test_an_answer_outside_the_window_is_not_here():
    window, sequences = OFFSETS[:3] + OFFSETS[5:8] + OFFSETS[10:], SEQUENCES[:3] + [1] * 3 + [None]
    assert answer_positions(window, sequences, 4, "cat") == (0, 0)
    assert answer_positions(window, sequences, 19, "mat") == (0, 0)
    assert answer_positions(window, sequences, 4, "cat sat") == (0, 0)  # not whole
    assert answer_positions(window, sequences, 8, "sat on") == (3, 4)
    assert answer_positions([(0, 0), (0, 3)], [None, 0], 4, "cat") == (0, 0)  # no context at all


@given(st.lists(st.integers(1, 5), min_size=1, max_size=12), st.data())
def test_answer_positions_are_the_tokens_that_touch_the_answer(lengths, data):
    ends = np.cumsum(lengths)
    offsets = [(0, 0), *zip((ends - lengths).tolist(), ends.tolist())]
    start = data.draw(st.integers(0, ends[-1] - 1))
    end = data.draw(st.integers(start + 1, ends[-1]))
    touched = [n for n, (a, b) in enumerate(offsets) if n and a < end and b > start]
    got = answer_positions(offsets, [None, *[1] * len(lengths)], start, "x" * (end - start))
    assert got == (touched[0], touched[-1])


def test_bad_answers_are_refused():
    with pytest.raises(InputError, match="is none"):
        answer_positions(OFFSETS, SEQUENCES, 4, "")
    with pytest.raises(InputError, match="is none"):
        answer_positions(OFFSETS, SEQUENCES, -1, "cat")
    with pytest.raises(InputError, match="do not belong together"):
        answer_positions(OFFSETS, SEQUENCES[1:], 4, "cat")
    with pytest.raises(InputError, match="before the start"):
        answer_span(OFFSETS, 5, 4)


@given(ROWS, st.integers(2, 10), st.booleans(), st.booleans())
def test_packing_loses_nothing_but_the_end(rows, block_size, end, drop):
    text = [token for row in rows for token in [*row, *[60] * end]]
    blocks = list(pack_sequences(iter(rows), block_size, 60 if end else None, drop))
    joined = [token for block in blocks for token in block["input_ids"].tolist()]
    assert joined == text[: len(text) // block_size * block_size if drop else None]
    assert all(len(block["input_ids"]) == block_size for block in (blocks if drop else blocks[:-1]))
    assert all(block["labels"].tolist() == block["input_ids"].tolist() for block in blocks)
    assert all((block["attention_mask"] == 1).all() for block in blocks)


def test_packing_needs_two_tokens():
    with pytest.raises(InputError, match="block_size is 1"):
        pack_sequences([], 1)


DOCUMENTS = [[[d * 100 + s * 10 + n for n in range(3)] for s in range(10)] for d in range(1, 400)]


def test_half_of_the_pairs_follow():
    pairs = next_sentence_pairs(DOCUMENTS, 16, np.random.default_rng(3), cls_token_id=1, sep_token_id=2)
    labels = np.array([pair["next_sentence_label"] for pair in pairs])
    assert abs(labels.sum() - len(labels) / 2) < 4 * np.sqrt(len(labels) / 4)  # four standard deviations
    for pair in pairs:
        ids, types, special = (np.array(pair[name]) for name in ("input_ids", "token_type_ids", "special_tokens_mask"))
        assert len(ids) == len(types) == len(special) <= 16
        assert ids[special == 1].tolist() == [1, 2, 2]
        assert ids[0] == 1
        assert ids[-1] == 2
        first, second = ids[(types == 0) & (special == 0)], ids[(types == 1) & (special == 0)]
        assert len(first) > 0 < len(second)
        same = first[0] // 100 == second[0] // 100
        assert same == (pair["next_sentence_label"] == 0)
        if same:  # B begins with the sentence after A's last
            assert second[0] // 10 == first[-1] // 10 + 1


class AlwaysFollows:
    """Stands for a generator: B always follows A, and A is one sentence."""

    def random(self):
        return 0.0

    def integers(self, low, high):
        return low


def test_a_stretch_that_was_used_is_not_read_again():
    pairs = next_sentence_pairs(DOCUMENTS[:2], 16, AlwaysFollows(), cls_token_id=1, sep_token_id=2)
    read = [token for pair in pairs for token in pair["input_ids"] if token > 2]
    whole = [token for document in DOCUMENTS[:2] for sentence in document[:8] for token in sentence]
    assert [token for token in read if token % 100 < 80] == whole  # stretches of four sentences; two are left
    assert all(pair["input_ids"][4] == 2 for pair in pairs)


def test_pairs_are_the_same_for_the_same_seed():
    made = [
        next_sentence_pairs(DOCUMENTS, 16, np.random.default_rng(3), cls_token_id=1, sep_token_id=2) for _ in range(2)
    ]
    assert made[0] == made[1]


@given(
    st.lists(st.lists(st.lists(st.integers(3, 9), max_size=7), max_size=5), min_size=2, max_size=4),
    st.integers(5, 20),
    st.integers(0, 99),
)
def test_pairs_of_any_documents(documents, length, seed):
    if sum(any(map(len, document)) for document in documents) < 2:
        with pytest.raises(InputError, match="documents with sentences"):
            next_sentence_pairs(documents, length, np.random.default_rng(seed), cls_token_id=1, sep_token_id=2)
        return
    pairs = next_sentence_pairs(documents, length, np.random.default_rng(seed), cls_token_id=1, sep_token_id=2)
    assert all(len(pair["input_ids"]) <= length for pair in pairs)
    assert all(sum(pair["special_tokens_mask"]) == 3 for pair in pairs)


def test_pairs_need_room():
    with pytest.raises(InputError, match="max_length 4"):
        next_sentence_pairs(DOCUMENTS, 4, np.random.default_rng(0), cls_token_id=1, sep_token_id=2)
    with pytest.raises(InputError, match="cls_token_id is needed"):
        next_sentence_pairs(DOCUMENTS, 9, np.random.default_rng(0))


@pytest.mark.parametrize(
    "make",
    [
        DataCollatorWithPadding,
        DataCollatorForSeq2Seq,
        DataCollatorForTokenClassification,
        DataCollatorForLanguageModeling,
    ],
)
def test_return_tensors_is_np(make):
    options = {"mlm": False} if make is DataCollatorForLanguageModeling else {}
    batch = make(pad_token_id=0, return_tensors="np", **options)([{"input_ids": [1, 2], "labels": [3, 4]}])
    assert isinstance(batch["input_ids"], np.ndarray)
    with pytest.raises(InputError, match="return_tensors is 'pt'; collators make NumPy arrays: use \"np\""):
        make(pad_token_id=0, return_tensors="pt", **options)
    with pytest.raises(InputError, match="return_tensors is 'tf'"):
        default_data_collator([{"x": 1}], return_tensors="tf")
