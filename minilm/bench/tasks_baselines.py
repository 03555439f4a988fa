"""What simple methods reach on the same tasks: bags of words with scikit-learn, and rules.

A Transformer that cannot beat these is not worth its training. Each baseline learns from the training part alone, and
chooses what there is to choose (how strongly to regularize) on the validation part; the test part is judged once.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np

from minilm.data import PairExample, QuestionExample, TextExample, TokensExample
from minilm.metrics import accuracy
from minilm.optional import require

REGULARIZATIONS = (1.0, 4.0, 16.0)  # scikit-learn's C: higher ones fit the training part more closely
SENTENCE = re.compile(r"(?<=[.!?])\s+(?=[A-Z])|(?<=[。！？])")
WINDOW_WORDS = 12  # words before and after a candidate answer that are compared with the question
LONGEST_ANSWER = 6  # words


class Baseline(NamedTuple):
    """A method's name, and what it says for the test part: classes, lists of tags, or texts."""

    name: str
    predictions: list[Any]


def sklearn(module: str) -> Any:
    """A module of scikit-learn, or MissingDependencyError that says how to install it."""
    require("sklearn", "the bag-of-words baseline")
    return require(f"sklearn.{module}", "the bag-of-words baseline")


# --- classes --------------------------------------------------------------------------------------------------------


def classify(
    training: Sequence[TextExample], validation: Sequence[TextExample], test: Sequence[TextExample]
) -> Baseline:
    """Words and pairs of words, weighted by TF-IDF, into logistic regression."""
    text = sklearn("feature_extraction.text")
    vectorizer = text.TfidfVectorizer(ngram_range=(1, 2), sublinear_tf=True, token_pattern=r"(?u)\b\w+\b|[^\w\s]")
    x = vectorizer.fit_transform([whole(example) for example in training])
    y = [example.label for example in training]
    xv, yv = vectorizer.transform([whole(example) for example in validation]), [e.label for e in validation]
    model = best_regression(x, y, lambda fitted: accuracy(list(fitted.predict(xv)), yv) if yv else 0.0)
    predicted = model.predict(vectorizer.transform([whole(example) for example in test]))
    return Baseline("TF-IDF of words and word pairs, logistic regression", [str(label) for label in predicted])


def whole(example: TextExample) -> str:
    return example.text if example.second is None else f"{example.text} {example.second}"


def best_regression(x: Any, y: Sequence[Any], judge: Callable[[Any], float]) -> Any:
    """Logistic regression with the C that does best on the validation part."""
    linear = sklearn("linear_model")
    best, best_score = None, -1.0
    for C in REGULARIZATIONS:
        fitted = linear.LogisticRegression(C=C, max_iter=1000).fit(x, y)
        score = judge(fitted)
        if score > best_score:
            best, best_score = fitted, score
    return best


# --- tags -----------------------------------------------------------------------------------------------------------


def tag(training: Sequence[TokensExample], test: Sequence[TokensExample]) -> Baseline:
    """Each word by itself: the word, its ends, its shape and its neighbours, into a linear classifier.

    It does not know which tags it gave to the words before, so its entities may begin with I.
    """
    vectorizer = sklearn("feature_extraction").DictVectorizer()
    x = vectorizer.fit_transform([word for example in training for word in word_features(example.tokens)])
    y = [tag for example in training for tag in example.tags]
    if len(set(y)) == 1:
        predicted = iter([y[0]] * sum(len(example.tokens) for example in test))
    else:
        model = sklearn("linear_model").SGDClassifier(
            loss="log_loss", alpha=1e-6, max_iter=12, tol=None, random_state=0
        )
        model.fit(small_indices(x), y)
        features = [word for example in test for word in word_features(example.tokens)]
        predicted = iter(model.predict(small_indices(vectorizer.transform(features))))
    return Baseline(
        "each word with its neighbours, logistic regression", [[str(next(predicted)) for _ in e.tokens] for e in test]
    )


def small_indices(x: Any) -> Any:
    """A sparse matrix with 32-bit indices, which the classifier insists on."""
    x.indices, x.indptr = x.indices.astype(np.int32), x.indptr.astype(np.int32)
    return x


def word_features(tokens: Sequence[str]) -> list[dict[str, Any]]:
    """What is known of each word of a sentence."""
    lower = ["<s>", "<s>", *(token.lower() for token in tokens), "</s>", "</s>"]
    shapes = ["", "", *map(shape, tokens), "", ""]
    return [
        {
            "word": lower[n], "before": lower[n - 1], "two before": lower[n - 2], "behind": lower[n + 1],
            "two behind": lower[n + 2], "start": lower[n][:3], "end": lower[n][-3:], "shape": shapes[n],
            "shape before": shapes[n - 1], "shape behind": shapes[n + 1],
        }
        for n in range(2, len(tokens) + 2)
    ]  # fmt: skip


def shape(token: str) -> str:
    """Alice → Xx, NATO → X, 1984 → 0, U.S. → X.X. ."""
    signs = ["0" if c.isdigit() else "X" if c.isupper() else "x" if c.isalpha() else c for c in token]
    return "".join(c for n, c in enumerate(signs) if n == 0 or c != signs[n - 1])


def frequent_tag(training: Sequence[TokensExample], test: Sequence[TokensExample]) -> Baseline:
    """Each word gets the tag that it has most often in training, an unknown word O. Needs no library."""
    counts: dict[str, dict[str, int]] = {}
    for example in training:
        for token, tag in zip(example.tokens, example.tags):
            own = counts.setdefault(token.lower(), {})
            own[tag] = own.get(tag, 0) + 1
    usual = {word: max(own, key=lambda tag: own[tag]) for word, own in counts.items()}
    return Baseline("each word's most frequent tag", [[usual.get(t.lower(), "O") for t in e.tokens] for e in test])


# --- answers --------------------------------------------------------------------------------------------------------


def answer(training: Sequence[QuestionExample], test: Sequence[QuestionExample]) -> Baseline:
    """The piece of the context whose surroundings share most with the question: words weighted by IDF, near ones more.

    Pieces have up to LONGEST_ANSWER words, none of them in the question, and do not begin or end with a frequent word.
    The sliding window of Richardson and others, "MCTest", EMNLP 2013, with weights from the training part.
    """
    text = sklearn("feature_extraction.text")
    contexts = sorted({example.context for example in training} | {example.context for example in test})
    vectorizer = text.TfidfVectorizer(token_pattern=r"(?u)\w+").fit(contexts)
    weights = dict(zip(vectorizer.get_feature_names_out(), vectorizer.idf_))
    rare = float(np.max(vectorizer.idf_))
    return Baseline("sliding window, words weighted by IDF", [window_answer(e, weights, rare) for e in test])


def window_answer(example: QuestionExample, weights: Mapping[str, float], rare: float) -> str:
    """The best piece of one context."""
    words = [(match.group().lower(), match.start(), match.end()) for match in re.finditer(r"\w+", example.context)]
    if not words:
        return ""
    asked = {word: weights.get(word, rare) for word in re.findall(r"\w+", example.question.lower())}
    hits = np.array([asked.get(word, 0.0) for word, _, _ in words])
    own = np.array([weights.get(word, rare) for word, _, _ in words])
    usual = float(np.median(own))
    distance = np.abs(np.arange(len(words))[:, None] - np.arange(len(words))[None, :])
    near = (np.where(distance <= WINDOW_WORDS, 1 / (1 + distance), 0) * hits[None, :]).sum(
        1
    )  # how near the question is
    best, best_score = (0, 1), -1.0
    for start in range(len(words)):
        for end in range(start + 1, min(len(words), start + LONGEST_ANSWER) + 1):
            if hits[end - 1] > 0:
                break
            if own[start] < usual * 0.8 or own[end - 1] < usual * 0.8:
                continue
            score = float(near[start:end].mean()) + 0.05 * (end - start)
            if score > best_score:
                best, best_score = (start, end), score
    start, end = best
    return example.context[words[start][1] : words[end - 1][2]]


# --- texts ----------------------------------------------------------------------------------------------------------


def translate(training: Sequence[PairExample], test: Sequence[PairExample]) -> Baseline:
    """The translation of that training sentence which is most like the one to translate, by TF-IDF and cosine."""
    text = sklearn("feature_extraction.text")
    vectorizer = text.TfidfVectorizer(ngram_range=(1, 2), sublinear_tf=True, token_pattern=r"(?u)\b\w+\b|[^\w\s]")
    known = vectorizer.fit_transform([example.source for example in training])
    asked = vectorizer.transform([example.source for example in test])
    nearest: list[int] = []
    for start in range(0, asked.shape[0], 500):
        nearest += np.asarray((asked[start : start + 500] @ known.T).argmax(1)).ravel().tolist()
    return Baseline("translation of the most similar training sentence", [training[n].target for n in nearest])


def lead(test: Sequence[PairExample]) -> Baseline:
    """The first sentence. Needs no library, and is hard to beat."""
    return Baseline("first sentence", [sentences(example.source)[0] for example in test])


def summarize(training: Sequence[PairExample], test: Sequence[PairExample]) -> Baseline:
    """The sentence that is most like the whole text, by TF-IDF and cosine."""
    vectorizer = sklearn("feature_extraction.text").TfidfVectorizer(sublinear_tf=True, stop_words="english")
    vectorizer.fit([example.source for example in training])
    chosen = []
    for example in test:
        parts = sentences(example.source)
        likeness = (vectorizer.transform(parts) @ vectorizer.transform([example.source]).T).toarray().ravel()
        chosen.append(parts[int(likeness.argmax())])
    return Baseline("most central sentence by TF-IDF", chosen)


def sentences(text: str) -> list[str]:
    """A text cut behind its full stops; never empty."""
    return [part.strip() for part in SENTENCE.split(text) if part.strip()] or [text]
