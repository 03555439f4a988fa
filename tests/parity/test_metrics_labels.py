"""Classification, entities and bootstrap intervals beside scikit-learn, seqeval and SciPy."""

from __future__ import annotations

import warnings

import numpy as np
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from minilm.data import read_conll
from minilm.metrics import (
    accuracy,
    bootstrap_interval,
    classification_report,
    confusion_matrix,
    entity_f1,
    find_entities,
    precision_recall_f1,
)

LABEL = st.one_of(st.sampled_from(["a", "b", "c", "ä 床"]), st.text(st.characters(exclude_characters="\0"), max_size=3))
PAIRS = st.one_of(
    st.lists(st.tuples(LABEL, LABEL), min_size=1),
    st.lists(st.tuples(st.integers(-3, 3), st.integers(-3, 3)), min_size=1),
    st.lists(st.tuples(st.booleans(), st.booleans()), min_size=1),
)
TAG = st.sampled_from(["O", "B-X", "I-X", "B-Y", "I-Y", "B-X-Y", "I-X-Y", "B", "I"])
TAGGED = st.lists(st.lists(st.tuples(TAG, TAG), max_size=9), min_size=1, max_size=4)
SCHEMES = {None: None, "BIO": "IOB2", "IOB1": "IOB1"}


@pytest.fixture(scope="module")
def sklearn_metrics():
    return pytest.importorskip("sklearn.metrics", reason="the package `scikit-learn`, the oracle, is not installed")


@pytest.fixture(scope="module")
def seqeval():
    pytest.importorskip("seqeval", reason="the package `seqeval`, the oracle, is not installed")
    import seqeval.metrics
    import seqeval.metrics.sequence_labeling
    import seqeval.scheme

    return seqeval


@pytest.mark.filterwarnings("ignore:A single label was found")
@given(PAIRS)
@example([("a", "a")])
@example([("a", "b")])
@example([(1, 2), (2, 1)])
def test_classification(sklearn_metrics, pairs):
    predictions, references = map(list, zip(*pairs))
    report = classification_report(predictions, references)
    theirs = sklearn_metrics.confusion_matrix(references, predictions)
    assert np.array_equal(report.confusion.counts, theirs)
    assert report.accuracy == accuracy(predictions, references)
    assert report.accuracy == pytest.approx(sklearn_metrics.accuracy_score(references, predictions), rel=1e-15)
    for average in ("micro", "macro", "weighted"):
        ours = precision_recall_f1(predictions, references, average)
        assert ours == getattr(report, average)
        theirs = sklearn_metrics.precision_recall_fscore_support(
            references, predictions, average=average, zero_division=0
        )
        assert ours[:3] == pytest.approx(theirs[:3], rel=1e-12)
    each = sklearn_metrics.precision_recall_fscore_support(references, predictions, average=None, zero_division=0)
    assert list(report.per_class) == sorted({*predictions, *references})
    for ours, theirs in zip(report.per_class.values(), np.transpose(each)):
        assert list(ours) == pytest.approx(theirs.tolist(), rel=1e-12)


@given(st.lists(st.tuples(st.integers(0, 2), st.integers(0, 2)), min_size=1), st.permutations(range(5)))
def test_classification_with_given_labels(sklearn_metrics, pairs, labels):
    """In their order, and with classes that do not occur."""
    predictions, references = map(list, zip(*pairs))
    theirs = sklearn_metrics.confusion_matrix(references, predictions, labels=labels)
    assert np.array_equal(confusion_matrix(predictions, references, labels).counts, theirs)
    for average in ("micro", "macro", "weighted"):
        theirs = sklearn_metrics.precision_recall_fscore_support(
            references, predictions, labels=labels, average=average, zero_division=0
        )
        assert precision_recall_f1(predictions, references, average, labels)[:3] == pytest.approx(theirs[:3], rel=1e-12)


@pytest.mark.parametrize("scheme", SCHEMES)
@given(tags=st.lists(TAG, max_size=12))
@example([])
@example(["O"])
@example(["I-X"])
@example(["I-X", "B-X", "B-Y", "I-Y", "O"])
def test_entities(seqeval, scheme, tags):
    if scheme is None:
        theirs = [(kind, a, b + 1) for kind, a, b in seqeval.metrics.sequence_labeling.get_entities(tags)]
    else:
        entities = seqeval.scheme.Tokens(tags, getattr(seqeval.scheme, SCHEMES[scheme])).entities
        theirs = [(entity.tag, entity.start, entity.end) for entity in entities]
    assert find_entities(tags, scheme) == theirs


@pytest.mark.parametrize("scheme", SCHEMES)
@given(sentences=TAGGED)
@example([[]])
@example([[("O", "O")]])
@example([[("B-X", "O")]])
@example([[("O", "B-X")]])
@example([[("B-X", "B-X")]])
@example([[("I-X", "I-X"), ("I-X", "O")], [("I-X", "I-X")]])
def test_entity_scores(seqeval, scheme, sentences):
    predictions = [[predicted for predicted, _ in sentence] for sentence in sentences]
    references = [[actual for _, actual in sentence] for sentence in sentences]
    report = entity_f1(predictions, references, scheme)
    options = {"zero_division": 0}
    if scheme is not None:
        options |= {"mode": "strict", "scheme": getattr(seqeval.scheme, SCHEMES[scheme])}
    averages = ["micro", "macro", "weighted"] if report.per_type else []  # seqeval's mean of no types is no number
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        for average in averages:
            for n, name in enumerate(["precision_score", "recall_score", "f1_score"]):
                theirs = getattr(seqeval.metrics, name)(references, predictions, average=average, **options)
                assert getattr(report, average)[n] == pytest.approx(theirs, rel=1e-12)
        for n, name in enumerate(["precision_score", "recall_score", "f1_score"]):
            theirs = getattr(seqeval.metrics, name)(references, predictions, average=None, **options)
            assert [scores[n] for scores in report.per_type.values()] == pytest.approx(list(theirs), rel=1e-12)


@given(st.lists(st.floats(-1e3, 1e3), min_size=2, max_size=30), st.integers(0, 2**32 - 1), st.floats(0.5, 0.99))
@example([0.0, 1.0, 1.0], 0, 0.95)
def test_bootstrap_draws_and_cuts_as_scipy_does(values, seed, level):
    stats = pytest.importorskip("scipy.stats", reason="the package `scipy`, the oracle, is not installed")
    sample = np.array(values)
    ours = bootstrap_interval(
        lambda rows: sample[rows].mean(), len(sample), np.random.default_rng(seed), resamples=99, level=level
    )
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        theirs = stats.bootstrap(
            (sample,),
            np.mean,
            n_resamples=99,
            confidence_level=level,
            method="percentile",
            rng=np.random.default_rng(seed),
            batch=1,
        ).confidence_interval
    assert ours.score == sample.mean()
    assert ours[1:] == pytest.approx((theirs.low, theirs.high), rel=1e-9, abs=1e-9)


def test_real_entities(seqeval, data_folder, generator):
    """Wikigold's own tags, and a tagger that is wrong in every tenth token."""
    examples = read_conll(data_folder / "wikigold.conll", scheme="IOB1")
    references = [list(example.tags) for example in examples]
    names = sorted({tag for tags in references for tag in tags})
    predictions = [
        [str(generator.choice(names)) if generator.random() < 0.1 else tag for tag in tags] for tags in references
    ]
    for scheme, options in ((None, {}), ("BIO", {"mode": "strict", "scheme": seqeval.scheme.IOB2})):
        theirs = seqeval.metrics.classification_report(references, predictions, output_dict=True, **options)
        report = entity_f1(predictions, references, scheme)
        ours = {
            **report.per_type,
            "micro avg": report.micro,
            "macro avg": report.macro,
            "weighted avg": report.weighted,
        }
        assert list(ours) == list(theirs)
        for name, scores in ours.items():
            assert list(scores) == pytest.approx(list(theirs[name].values()), rel=1e-12)
        assert 0.5 < report.micro.f1 < 0.95
