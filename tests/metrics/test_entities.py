"""Whole entities: found, counted and scored by hand, in the three ways of reading tags."""

from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from minilm.errors import InputError
from minilm.metrics import Entity, entity_counts, entity_f1, find_entities

TAGS = st.lists(st.sampled_from(["O", "B-X", "I-X", "B-Y", "I-Y"]), max_size=10)


def spell(entities, length):
    """The BIO tags of entities."""
    tags = ["O"] * length
    for kind, start, end in entities:
        tags[start:end] = [f"B-{kind}", *[f"I-{kind}"] * (end - start - 1)]
    return tags


def test_the_example_of_the_docstring():
    tags = ["B-PER", "I-PER", "O", "O", "B-LOC", "I-LOC"]
    assert find_entities(tags) == [Entity("PER", 0, 2), Entity("LOC", 4, 6)]


@pytest.mark.parametrize(
    ("tags", "lenient", "bio", "iob1"),
    [
        ("", [], [], []),
        ("O", [], [], []),
        ("B-X", [("X", 0, 1)], [("X", 0, 1)], []),
        ("I-X", [("X", 0, 1)], [], [("X", 0, 1)]),
        ("B-X B-X", [("X", 0, 1), ("X", 1, 2)], [("X", 0, 1), ("X", 1, 2)], [("X", 1, 2)]),
        ("I-X B-X", [("X", 0, 1), ("X", 1, 2)], [("X", 1, 2)], [("X", 0, 1), ("X", 1, 2)]),
        ("I-X B-Y", [("X", 0, 1), ("Y", 1, 2)], [("Y", 1, 2)], [("X", 0, 1)]),
        ("I-X B-X B-Y", [("X", 0, 1), ("X", 1, 2), ("Y", 2, 3)], [("X", 1, 2), ("Y", 2, 3)], [("X", 0, 1)]),
        ("B-X I-Y", [("X", 0, 1), ("Y", 1, 2)], [("X", 0, 1)], [("Y", 1, 2)]),
        ("B-X I-X O I-X", [("X", 0, 2), ("X", 3, 4)], [("X", 0, 2)], [("X", 1, 2), ("X", 3, 4)]),
    ],
)
def test_three_ways_of_reading(tags, lenient, bio, iob1):
    assert find_entities(tags.split()) == lenient
    assert find_entities(tags.split(), "BIO") == bio
    assert find_entities(tags.split(), "IOB1") == iob1


@given(TAGS)
def test_entities_spelt_again_are_the_same(tags):
    for scheme in (None, "BIO", "IOB1"):
        found = find_entities(tags, scheme)
        assert find_entities(spell(found, len(tags)), "BIO") == found
        assert all(a.end <= b.start for a, b in pairwise(found))


def test_scores_by_hand():
    references = [["B-PER", "I-PER", "O", "B-LOC"], ["B-LOC", "O"]]
    predictions = [["B-PER", "O", "O", "B-LOC"], ["B-LOC", "B-ORG"]]  # PER cut short, an ORG invented
    report = entity_f1(predictions, references)
    assert report.per_type == {"LOC": (1.0, 1.0, 1.0, 2), "ORG": (0.0, 0.0, 0.0, 0), "PER": (0.0, 0.0, 0.0, 1)}
    assert report.micro == pytest.approx((2 / 4, 2 / 3, 4 / 7, 3))
    assert report.macro == pytest.approx((1 / 3, 1 / 3, 1 / 3, 3))
    assert report.weighted == pytest.approx((2 / 3, 2 / 3, 2 / 3, 3))
    types, counts = entity_counts(predictions, references)
    assert types == ["LOC", "ORG", "PER"]
    assert counts.tolist() == [[[1, 1, 1], [0, 0, 0], [0, 1, 1]], [[1, 1, 1], [0, 1, 0], [0, 0, 0]]]


def test_the_type_counts():
    assert entity_f1([["B-PER", "I-PER"]], [["B-LOC", "I-LOC"]]).micro == (0.0, 0.0, 0.0, 1)


def test_no_entity_and_no_token():
    for sentence in ([], ["O"]):
        report = entity_f1([sentence], [sentence])
        assert report.per_type == {}
        assert report.micro == report.macro == report.weighted == (0.0, 0.0, 0.0, 0)


def test_the_same_place_in_another_sentence_is_another_entity():
    report = entity_f1([["B-X"], ["O"]], [["O"], ["B-X"]])
    assert report.micro == (0.0, 0.0, 0.0, 1)


@pytest.mark.parametrize(
    ("predictions", "references", "scheme", "message"),
    [
        ([], [], None, "no predictions"),
        ([["O"]], [["O"], ["O"]], None, "1 predictions for 2 references"),
        ([["O"], ["O"]], [["O"], ["O", "O"]], None, "sentence 1 has 1 predicted tags and 2"),
        ([["PER"]], [["O"]], None, "'PER' is no tag of an entity"),
        ([["S-PER"]], [["O"]], "BIO", "'S-PER' is no tag"),
        ([["O-"]], [["O"]], None, "'O-' is no tag"),
        ([["O"]], [["O"]], "IOB2", "no scheme 'IOB2'"),
    ],
)
def test_bad_input(predictions, references, scheme, message):
    with pytest.raises(InputError, match=message):
        entity_f1(predictions, references, scheme)
