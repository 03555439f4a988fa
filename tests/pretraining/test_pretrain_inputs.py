"""What `minilm pretrain` reads, makes of it, and refuses before any work."""

import json

import numpy as np
import pytest
from command_line import CommandLine
from pretrain_texts import documents, write_text

from minilm.cli_pretrain import HELP
from minilm.errors import InputError
from minilm.pretraining import FAMILIES, BertOptions, GptOptions, T5Options, prepare
from minilm.pretraining.documents import paragraphs, read_texts, sentences, set_aside
from minilm.pretraining.families import blocks, frequency_baseline, loss_and_right

SMALL = {"max_length": 24, "validation_fraction": 0.2}


@pytest.fixture
def minilm(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    return CommandLine(tmp_path, capsys)


def test_the_overview_and_each_help(minilm):
    for line in ("pretrain", "pretrain --help"):
        result = minilm(line)
        assert result.code == 0
        assert all(f"pretrain {family}" in result.out for family in FAMILIES)
    assert "pretrain" in minilm("--help").out
    for family in FAMILIES:
        result = minilm(f"pretrain {family} --help")
        assert HELP[family] in result.out
        assert "--max_length" in result.out
        assert "--data FILE" in result.out


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("pretrain berd --data text.txt", "there is no family berd; did you mean bert?"),
        ("pretrain --data text.txt", "say first what to train: bert, t5, gpt"),
        ("pretrain bert", "give one or more text files: --data FILE"),
        ("pretrain bert --data no.txt", "there is no file 'no.txt'"),
        ("pretrain bert --data text.txt --step 3", "did you mean --steps?"),
        ("pretrain bert --data text.txt --steps many", "--steps wants a whole number, not many"),
        ("pretrain bert --data text.txt --steps 0", "steps is 0; it must be at least 1"),
        ("pretrain bert --data text.txt --size huge", "--size is one of tiny, small, base, not huge"),
        ("pretrain bert --data text.txt --tokenizer unigram:100", "bert reads wordpiece; give wordpiece:100"),
        ("pretrain bert --data text.txt --tokenizer wordpiece", "say how many pieces, as in wordpiece:8000"),
        ("pretrain bert --data text.txt --tokenizer wordpiece:5", "give a number of 20 pieces or more"),
        ("pretrain bert --data text.txt --tokenizer nowhere", "give wordpiece:N"),
        ("pretrain t5 --data text.txt --tokenizer unigram:90", "no room beside 100 sentinels"),
        ("pretrain t5 --data text.txt --max_length 4000", "200 stretches cut out of it, and there are 100 sentinels"),
        ("pretrain gpt --data text.txt --validation_fraction 0", "validation_fraction is 0"),
        ("pretrain bert --data flat.txt", "put an empty line between documents"),
        ("pretrain bert --data latin.txt", "latin.txt is not UTF-8"),
        ("pretrain bert --data empty.txt", "empty.txt is empty"),
        ("pretrain bert --data blank.txt", "consists of the one character"),
        ("pretrain bert --data bad.jsonl", "bad.jsonl, line 2 is no JSON"),
        ("pretrain bert --data field.jsonl", "has no text under 'text', but body; name the field with --text"),
        ("pretrain bert --data half.jsonl", "half.jsonl, line 1: the text has a lone surrogate"),
        ("pretrain t5 --data short.txt --tokenizer unigram:120", "too short for one example"),
        ("pretrain bert --data text.txt --out text.txt", "text.txt is a file"),
        ("pretrain --resume text.txt", "cannot resume text.txt"),
        ("pretrain bert --resume nowhere", "cannot resume nowhere"),
        ("pretrain --resume nowhere --steps 3", "there is no option --steps"),
        ("pretrain bert --data text.txt extra.txt", "there is no file 'extra.txt'"),
    ],
)
def test_complaints_are_one_sentence_and_nothing_is_left(minilm, tmp_path, line, message):
    write_text(tmp_path)
    (tmp_path / "flat.txt").write_text("one line of text. " * 40, "utf-8")
    (tmp_path / "latin.txt").write_bytes("caf\xe9 au lait, caf\xe9 noir\n".encode("latin-1"))
    (tmp_path / "empty.txt").write_bytes(b"")
    (tmp_path / "blank.txt").write_text("\n\n\n", "utf-8")
    (tmp_path / "bad.jsonl").write_text('{"text": "a"}\n{"text": \n', "utf-8")
    (tmp_path / "field.jsonl").write_text('{"body": "a"}\n', "utf-8")
    (tmp_path / "half.jsonl").write_text('{"text": "a \\ud800 b"}\n', "utf-8")
    (tmp_path / "short.txt").write_text("a b", "utf-8")
    before = sorted(path.name for path in tmp_path.iterdir())
    result = minilm(line)
    assert result.code == 2
    assert message in result.err
    assert result.err.count("\n") == 1
    assert sorted(path.name for path in tmp_path.iterdir()) == before


def test_the_tokenizer_of_a_folder(minilm, tmp_path):
    data = write_text(tmp_path)
    made = prepare(BertOptions(data=[data], tokenizer="wordpiece:120", **SMALL)).tokenizer
    made.save_pretrained(tmp_path / "pieces")
    options = BertOptions(data=[data], tokenizer=str(tmp_path / "pieces"), **SMALL)
    assert prepare(options).tokenizer.get_vocab() == made.get_vocab()
    refused = minilm("pretrain gpt --data text.txt --tokenizer pieces --max_length 16")
    assert "has no eos_token, which gpt needs" in refused.err
    refused = minilm("pretrain t5 --data text.txt --tokenizer pieces --max_length 16")
    assert "has no eos_token, which t5 needs" in refused.err


def test_documents_and_sentences():
    text = "One. Two!\nthree\n \n\nFour? five\n\n六。七！\n"
    assert paragraphs(text) == ["One. Two!\nthree", "Four? five", "六。七！"]
    assert sentences("One. Two!\nthree 3.5") == ["One.", "Two!", "three 3.5"]
    assert sentences("六。七！") == ["六。", "七！"]


def test_json_lines_are_documents(tmp_path):
    lines = [json.dumps({"text": text, "n": 1}) for text in ("a b", "c\n\nd", "  ")]
    (tmp_path / "x.jsonl").write_text("\n".join(lines) + "\n\n", "utf-8")
    assert read_texts([str(tmp_path / "x.jsonl")], "text") == ["a b", "c\n\nd"]


def test_what_is_set_aside_is_not_trained_on():
    texts = [f"document {n}" for n in range(50)]
    training, validation = set_aside(texts, 0.1, 0)
    assert sorted(training + validation) == sorted(texts)
    assert len(validation) == 5
    assert set_aside(texts, 0.1, 1)[1] != validation
    text = "".join(f"line {n}\n" for n in range(100))
    (training, validation) = set_aside([text], 0.1, 0)
    assert "".join(training + validation) == text
    assert len(validation[0]) == pytest.approx(0.1 * len(text), rel=0.2)
    with pytest.raises(InputError, match="too short"):
        set_aside(["a"], 0.5, 0)


def test_pairs_follow_or_come_from_another_document(tmp_path):
    """With one sentence a line and short rows, a pair that follows names one thing, and one that does not mostly two."""
    data = write_text(tmp_path, count=60)
    prepared = prepare(BertOptions(data=[data], tokenizer="wordpiece:200", max_length=20, pair_draws=3))
    vocabulary = {n: token for token, n in prepared.tokenizer.get_vocab().items()}
    labels = np.array([int(row["next_sentence_label"]) for row in prepared.training])
    assert 0.35 < labels.mean() < 0.65
    for row in prepared.training:
        assert len(row["input_ids"]) <= 20
        words = [vocabulary[int(n)] for n in row["input_ids"]]
        things = {words[n + 1] for n, word in enumerate(words[:-1]) if word == "the"} - {"[SEP]"}
        if row["next_sentence_label"] == 0:
            assert len(things) == 1
    once = prepare(BertOptions(data=[data], tokenizer="wordpiece:200", max_length=20, pair_draws=1))
    assert len(prepared.training) == pytest.approx(3 * len(once.training), rel=0.1)


def test_no_token_of_a_long_sentence_is_lost(tmp_path):
    lines = [" ".join(f"word{n}" for n in range(start, start + 60)) for start in (0, 60, 120, 180)]
    (tmp_path / "long.txt").write_text("\n\n".join(f"{a}\n{b}" for a, b in zip(lines[::2], lines[1::2])), "utf-8")
    (tmp_path / "other.txt").write_text("\n\n".join(documents(4)), "utf-8")
    options = BertOptions(
        data=[str(tmp_path / "long.txt")],
        validation=[str(tmp_path / "other.txt")],
        tokenizer="wordpiece:800",
        max_length=20,
    )
    prepared = prepare(options)
    seen = {int(n) for row in prepared.training for n in row["input_ids"]}
    used = {n for text in lines for n in prepared.tokenizer(text)["input_ids"]}
    assert used <= seen


def test_whole_words(tmp_path):
    data = write_text(tmp_path)
    prepared = prepare(BertOptions(data=[data], tokenizer="wordpiece:60", whole_words=True, **SMALL))
    pieces = prepared.tokenizer.convert_ids_to_tokens(list(range(len(prepared.tokenizer))))
    continues = np.array([piece.startswith("##") for piece in pieces])
    collate = prepared.family.collator(prepared.tokenizer, 0)
    seen = 0
    for row in prepared.training[:40]:
        batch = collate([dict(row)])
        ids, chosen = row["input_ids"], batch["labels"][0] != -100
        for place in np.flatnonzero(continues[ids]):
            if ids[place - 1] in prepared.tokenizer.all_special_ids:
                continue  # a long sentence was cut within a word
            assert chosen[place] == chosen[place - 1]
            seen += int(chosen[place])
    assert seen > 20


def test_what_looks_like_a_special_token_is_text(tmp_path):
    (tmp_path / "odd.txt").write_text("\n\n".join(f"[MASK] is no mask.\nline [SEP] {n}" for n in range(30)), "utf-8")
    prepared = prepare(BertOptions(data=[str(tmp_path / "odd.txt")], tokenizer="wordpiece:80", **SMALL))
    masks = sum(int((row["input_ids"] == prepared.tokenizer.mask_token_id).sum()) for row in prepared.training)
    assert masks == 0
    assert all(int((row["input_ids"] == prepared.tokenizer.sep_token_id).sum()) == 2 for row in prepared.training)


def test_t5_can_write_what_the_text_has(tmp_path):
    (tmp_path / "zh.txt").write_text("好，很好。\n\n坏，很坏！\n" * 30, "utf-8")
    prepared = prepare(T5Options(data=[str(tmp_path / "zh.txt")], tokenizer="unigram:130", **SMALL))
    ids = prepared.tokenizer("好，很坏！")["input_ids"]
    assert prepared.tokenizer.decode(ids, skip_special_tokens=True) == "好，很坏！"


def test_gpt_keeps_empty_lines_and_ends_documents(tmp_path):
    data = write_text(tmp_path)
    prepared = prepare(GptOptions(data=[data, data], tokenizer="bpe:300", **SMALL))
    end = prepared.tokenizer.eos_token_id
    ids = np.concatenate([row["input_ids"] for row in prepared.training])
    text = prepared.tokenizer.decode([int(n) for n in ids if n != end])
    assert "\n\n" in text
    assert int((ids == end).sum()) == 2


def test_blocks():
    rows = blocks([[1, 2, 3], [4, 5]], 4, 1, between=0)
    assert [row.tolist() for row in rows] == [[1, 2, 3, 0], [4, 5, 0]]
    assert [row.tolist() for row in blocks([[1, 2, 3], [4, 5]], 4, 2)] == [[1, 2, 3, 4]]


def test_loss_and_right_and_the_baseline():
    logits = np.log(np.array([[[0.7, 0.2, 0.1], [0.1, 0.1, 0.8], [0.3, 0.3, 0.4]]]))
    labels = np.array([[0, 1, -100]])
    loss, right = loss_and_right(logits, labels)
    np.testing.assert_allclose(loss, [[-np.log(0.7), -np.log(0.1), 0]])
    np.testing.assert_array_equal(right, [[1, 0, 0]])
    value, accuracy = frequency_baseline([np.array([0, 0, 1])], labels, 3)
    assert value == pytest.approx(-(np.log(3 / 6) + np.log(2 / 6)) / 2)
    assert accuracy == 0.5
