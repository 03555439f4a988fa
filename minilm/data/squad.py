"""SQuAD files: contexts, questions about them, and where in the context the answers stand.

{"data": [{"paragraphs": [{"context": "...",
                           "qas": [{"id": "...", "question": "...",
                                    "answers": [{"text": "...", "answer_start": 0}]}]}]}]}
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from minilm.data.tasks import Answer, QuestionExample
from minilm.data.tasks_files import fault, no_examples, parse_json, read_file
from minilm.errors import InputError

NAMES = {dict: "an object", list: "a list", str: "a string", int: "an integer"}


def read_squad(path: str | Path) -> list[QuestionExample]:
    """All questions of a SQuAD file, version 1.1 or 2.0, in their order.

    A question without answers is one that its context does not answer (SQuAD 2.0), or whose answers are kept secret.
    Raises InputError, with file and line, for a file that cannot be read, a part that is missing or of the wrong type,
    an id that occurs twice, and an answer that does not stand where its answer_start says.
    """
    text = read_file(path)
    reader = SquadReader(path, text)
    examples = reader.read(parse_json(text, path, None))
    if not examples:
        raise no_examples(path, '"data" with "paragraphs", a "context" in each and "qas" about it')
    return examples


class SquadReader:
    """Walks through one file's objects; knows how to say where something is wrong."""

    def __init__(self, path: str | Path, text: str):
        self.path, self.text = path, text
        self.ids: set[str] = set()

    def read(self, root: Any) -> list[QuestionExample]:
        """All questions in the file's object."""
        examples = []
        for a, article in enumerate(self.member(root, "data", list, "the file")):
            place = f"data[{a}]"
            for p, paragraph in enumerate(self.member(article, "paragraphs", list, place)):
                place = f"data[{a}].paragraphs[{p}]"
                context = self.member(paragraph, "context", str, place)
                for q, question in enumerate(self.member(paragraph, "qas", list, place)):
                    examples.append(self.question(question, context, f"{place}.qas[{q}]"))
        return examples

    def question(self, value: Any, context: str, place: str) -> QuestionExample:
        """One of the "qas"."""
        identity = self.member(value, "id", str, place)
        question = self.member(value, "question", str, place)
        if not identity or identity in self.ids:
            raise self.fault(identity, f"{place} has the id {identity!r}, which is empty or taken; give each its own")
        self.ids.add(identity)
        if not question.strip():
            raise self.fault(identity, f"{place} has an empty question; fill it in or remove it")
        answers = []
        for n, answer in enumerate(self.member(value, "answers", list, place)):
            text = self.member(answer, "text", str, f"{place}.answers[{n}]", identity)
            start = self.member(answer, "answer_start", int, f"{place}.answers[{n}]", identity)
            problem = misplaced(context, text, start)
            if problem:
                raise self.fault(identity, f"{place}.answers[{n}], to the question {identity!r}, {problem}")
            answers.append(Answer(text, start))
        return QuestionExample(identity, question, context, tuple(answers))

    def member(self, value: Any, name: str, kind: type, place: str, identity: str | None = None) -> Any:
        """value[name], which has to be of that type; identity: of the question it belongs to."""
        if not isinstance(value, dict):
            raise self.fault(identity, f"{place} is {type(value).__name__} instead of an object")
        identity = identity or value.get("id")
        if name not in value:
            raise self.fault(identity, f"{place} has no {name!r}; give it, as files of SQuAD's format do")
        found = value[name]
        if not isinstance(found, kind) or isinstance(found, bool):
            raise self.fault(identity, f"{place}.{name} is {type(found).__name__} instead of {NAMES[kind]}")
        return found

    def fault(self, identity: Any, problem: str) -> InputError:
        """The error, with the line in which the question's id stands where it can be found."""
        for ascii_only in (True, False) if isinstance(identity, str) else ():
            at = self.text.rfind(json.dumps(identity, ensure_ascii=ascii_only))
            if at >= 0:
                return fault(self.path, self.text.count("\n", 0, at) + 1, problem)
        return fault(self.path, None, problem)


def misplaced(context: str, text: str, start: int) -> str:
    """What is wrong with an answer that does not stand at `start`, and where it does; "" if it stands there."""
    if not text.strip():
        return "is empty; give a piece of the context, or no answer at all"
    if start >= 0 and context.startswith(text, start):
        return ""
    places = [n for n in range(len(context)) if context.startswith(text, n)]
    where = f"but at {min(places, key=lambda n: abs(n - start))}" if places else "nor anywhere in the context"
    return (
        f"is {text[:40]!r}, which is not at answer_start {start} {where}; count answer_start in characters of the"
        " context, from 0"
    )
