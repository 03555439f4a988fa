"""SQuAD and SNIPS files: what is read, and what is wrong with them."""

from __future__ import annotations

import json

import pytest

from minilm.data import (
    Answer,
    QuestionExample,
    TextExample,
    TokensExample,
    read_snips_intents,
    read_snips_slots,
    read_squad,
)
from minilm.errors import InputError

CONTEXT = "Ann was born in 床前 in 1999, and 1999 was cold."


def squad(**changes):
    """A file with one question, some of whose members are changed (None: left out)."""
    question = {"id": "q1", "question": "When?", "answers": [{"text": "1999", "answer_start": 22}]} | changes
    question = {name: value for name, value in question.items() if value is not None}
    return {"version": "1.1", "data": [{"title": "Ann", "paragraphs": [{"context": CONTEXT, "qas": [question]}]}]}


@pytest.fixture
def write(tmp_path):
    def write(content, name="a.json", **options):
        path = tmp_path / name
        text = content if isinstance(content, str) else json.dumps(content, **options)
        path.write_text(text, encoding="utf-8")
        return path

    return write


@pytest.mark.parametrize("options", [{}, {"indent": 1, "ensure_ascii": False}])
def test_a_question(write, options):
    (example,) = read_squad(write(squad(), **options))
    assert example == QuestionExample("q1", "When?", CONTEXT, (Answer("1999", 22),))
    assert example.answer_texts == ("1999",)


def test_a_question_without_an_answer(write):
    assert read_squad(write(squad(answers=[], is_impossible=True)))[0].answers == ()


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("", "a.json is empty"),
        ("{", r"a.json, line 1: no valid JSON \(Expecting property name"),
        ('{\n"data": [}', "a.json, line 2: no valid JSON"),
        ("[1]", "a.json: the file is list instead of an object"),
        ({"version": 1}, "a.json: the file has no 'data'"),
        ({"data": {}}, "the file.data is dict instead of a list"),
        ({"data": []}, "has no example in it"),
        ({"data": [1]}, r"data\[0\] is int instead of an object"),
        ({"data": [{"paragraphs": [{"qas": []}]}]}, r"data\[0\].paragraphs\[0\] has no 'context'"),
        (squad(id=None), r"a.json: data\[0\].paragraphs\[0\].qas\[0\] has no 'id'"),
        (squad(id=7), r"qas\[0\].id is int instead of a string"),
        (squad(id=""), "has the id ''"),
        (squad(question=None), r"a.json, line \d+: data\[0\].paragraphs\[0\].qas\[0\] has no 'question'"),
        (squad(question=" "), "has an empty question"),
        (squad(answers=None), r"qas\[0\] has no 'answers'"),
        (squad(answers=["1999"]), r"answers\[0\] is str instead of an object"),
        (squad(answers=[{"text": "1999"}]), r"answers\[0\] has no 'answer_start'"),
        (squad(answers=[{"text": "1999", "answer_start": "22"}]), "answer_start is str instead of an integer"),
        (squad(answers=[{"text": "1999", "answer_start": True}]), "answer_start is bool instead of an integer"),
        (squad(answers=[{"text": "", "answer_start": 0}]), "is empty; give a piece of the context"),
        (squad(answers=[{"text": "1999", "answer_start": 26}]), "'1999', which is not at answer_start 26 but at 22"),
        (squad(answers=[{"text": "1999", "answer_start": 31}]), "not at answer_start 31 but at 32"),
        (squad(answers=[{"text": "cold.", "answer_start": -5}]), "not at answer_start -5 but at 41"),
        (squad(answers=[{"text": "2000", "answer_start": 22}]), "answer_start 22 nor anywhere in the context"),
        (squad(answers=[{"text": "cold.", "answer_start": 10**30}]), "not at answer_start 10{30} but at 41"),
    ],
)
def test_what_is_wrong_is_said_with_its_place(write, content, message):
    with pytest.raises(InputError, match=message) as caught:
        read_squad(write(content, indent=1))
    assert "\n" not in str(caught.value)


def test_the_line_of_the_question_is_named(write):
    path = write(squad(answers=[{"text": "1999", "answer_start": 0}]), indent=1)
    line = path.read_text(encoding="utf-8").split("\n").index('       "id": "q1",') + 1
    with pytest.raises(InputError, match=rf"a.json, line {line}: .* to the question 'q1'"):
        read_squad(path)


def test_an_id_twice(write):
    content = squad()
    content["data"] *= 2
    with pytest.raises(InputError, match="has the id 'q1', which is empty or taken"):
        read_squad(write(content))


SNIPS = [
    {"intent": "PlayMusic", "chunks": [{"text": " play "}, {"text": "Hey  Jude", "entity": "track"}, {"text": "."}]},
    {"intent": "Rate", "chunks": [{"text": "five", "entity": "n"}, {"text": "stars", "entity": "n"}, {"text": " "}]},
]


def test_snips(write):
    path = write("\n".join(map(json.dumps, SNIPS)), "a.jsonl")
    assert read_snips_intents(path) == [TextExample("play Hey  Jude.", "PlayMusic"), TextExample("fivestars", "Rate")]
    assert read_snips_slots(path) == [
        TokensExample(("play", "Hey", "Jude", "."), ("O", "B-track", "I-track", "O")),
        TokensExample(("five", "stars"), ("B-n", "B-n")),
    ]


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("\n", "has no example in it; expected objects with an intent"),
        ('{"chunks": []}', "line 1: no column 'intent'"),
        ('{"intent": "", "chunks": []}', "line 1: its intent is empty"),
        ('{"intent": "a", "chunks": "b"}', "its chunks are str instead of a list"),
        ('{"intent": "a", "chunks": []}', "its chunks have no text"),
        ('\n{"intent": "a", "chunks": [{"text": "b"}, {}]}', "line 2: chunk 1 is not"),
        ('{"intent": "a", "chunks": ["b"]}', "chunk 0 is not"),
        ('{"intent": "a", "chunks": [{"text": "b", "entity": 1}]}', "chunk 0 is not"),
        ('{"intent": "a", "chunks": [{"text": "b", "entity": ""}]}', "chunk 0 is not"),
    ],
)
def test_what_is_wrong_with_snips(write, content, message):
    for read in (read_snips_intents, read_snips_slots):
        with pytest.raises(InputError, match=message):
            read(write(content, "a.jsonl"))
