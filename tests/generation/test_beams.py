"""Beam search against exhaustive search: with beams enough it finds the best text there is."""

import itertools
from types import SimpleNamespace

import numpy as np
import pytest

from minilm.generation import generate
from minilm.generation.beams import ranked

V, END = 4, 3


class Table:
    """P(next | last two tokens) from a table: small enough to try every text."""

    config = SimpleNamespace(vocab_size=V, eos_token_id=END)

    def __init__(self, seed):
        self.logits = np.random.default_rng(seed).normal(0, 1.5, (V, V, V))

    def start(self, input_ids, attention_mask, max_length, use_cache):
        return {"seen": np.zeros((len(input_ids), 0), np.int64)}

    def step(self, ids, state):
        state["seen"] = np.concatenate([state["seen"], ids], axis=1)
        return self.logits[state["seen"][:, -2], state["seen"][:, -1]]

    def reorder(self, state, rows):
        state["seen"] = state["seen"][rows]

    def score(self, text, length_penalty, prompt=(0, 1)):
        """Σ ln P / n^penalty, written out."""
        total, seen = 0.0, list(prompt)
        for token in text:
            z = self.logits[seen[-2], seen[-1]]
            total += z[token] - np.log(np.exp(z).sum())
            seen.append(token)
        return total / len(text) ** length_penalty


def all_texts(n):
    """Every text of n tokens, and every shorter one that ends with END; END stands nowhere else."""
    for length in range(1, n + 1):
        for text in itertools.product(range(V), repeat=length):
            if END not in text[:-1] and (length == n or text[-1] == END):
                yield text


@pytest.mark.parametrize("length_penalty", [0.0, 1.0, 2.0])
@pytest.mark.parametrize("seed", range(6))
def test_with_enough_beams_the_best_text_is_found(seed, length_penalty):
    table, n = Table(seed), 4
    best = sorted(all_texts(n), key=lambda text: -table.score(text, length_penalty))[:5]
    output = generate(
        table, [0, 1], num_beams=100, num_return_sequences=5, max_new_tokens=n, length_penalty=length_penalty,
        early_stopping="never", return_dict_in_generate=True, pad_token_id=0,
    )  # fmt: skip
    for row, score, text in zip(output.sequences, output.sequences_scores, best):
        assert tuple(row[2 : 2 + len(text)]) == text
        assert score == pytest.approx(table.score(text, length_penalty))


def plain_beam_search(table, n, steps, length_penalty):
    """The idea in lists of (Σ ln P, text): no arrays, no shortcuts, and no end before the last step."""
    running, done = [(0.0, ())], []
    for _ in range(steps):
        longer = [(table.score((*text, token), 0), (*text, token)) for _, text in running for token in range(V)]
        longer.sort(reverse=True)
        ends = [(score, text) for score, text in longer[:n] if text[-1] == END or len(text) == steps]
        done += [(score / len(text) ** length_penalty, text) for score, text in ends]
        running = [(score, text) for score, text in longer if text[-1] != END][:n]
    return sorted(done, reverse=True)[:n]


@pytest.mark.parametrize("length_penalty", [0.0, 1.0, 2.0])
@pytest.mark.parametrize("n", [2, 3, 5])
def test_few_beams_are_those_of_the_plain_search(n, length_penalty):
    for seed in range(12):
        table = Table(seed)
        wanted = plain_beam_search(table, n, 7, length_penalty)
        output = generate(
            table, [0, 1], num_beams=n, num_return_sequences=n, max_new_tokens=7, length_penalty=length_penalty,
            early_stopping="never", return_dict_in_generate=True, pad_token_id=0,
        )  # fmt: skip
        # scores, not texts: two texts with the same triples of tokens have the same score
        assert np.allclose(output.sequences_scores, [score for score, _ in wanted])


@pytest.mark.parametrize("early_stopping", [True, False, "never"])
def test_scores_are_those_of_the_texts_and_fall(early_stopping):
    for seed in range(5):
        table = Table(seed)
        output = generate(
            table, [[0, 1], [2, 1]], num_beams=3, num_return_sequences=3, max_new_tokens=8, length_penalty=0.7,
            early_stopping=early_stopping, return_dict_in_generate=True, pad_token_id=0,
        )  # fmt: skip
        assert output.sequences.shape[0] == 6
        for row, score in zip(output.sequences, output.sequences_scores):
            new = row[2:].tolist()
            text = new[: new.index(END) + 1] if END in new else new
            assert score == pytest.approx(table.score(text, 0.7, row[:2]))
        assert (np.diff(output.sequences_scores.reshape(2, 3)) <= 0).all()
        assert len({tuple(row) for row in output.sequences}) == 6


def test_more_beams_are_never_worse_than_greedy_here():
    worse = 0
    for seed in range(20):
        table = Table(seed)
        greedy = generate(table, [0, 1], max_new_tokens=6)[2:]
        end = int(np.flatnonzero(greedy == END)[0]) + 1 if END in greedy else 6
        output = generate(
            table, [0, 1], num_beams=6, max_new_tokens=6, length_penalty=0.0, early_stopping="never",
            return_dict_in_generate=True,
        )  # fmt: skip
        worse += output.sequences_scores[0] < table.score(greedy[:end], 0.0) - 1e-9
    assert worse == 0


def test_a_prompt_in_a_batch_is_searched_as_if_alone():
    table = Table(3)
    prompts = [[0, 1], [2, 1], [1, 1]]
    options = {"num_beams": 3, "max_new_tokens": 7, "pad_token_id": 0}
    together = generate(table, prompts, **options)
    for row, prompt in zip(together, prompts):
        alone = generate(table, prompt, **options)
        assert np.array_equal(row[: len(alone)], alone)


def test_drawn_beams_differ_and_repeat_with_the_seed():
    table = Table(1)
    options = {"num_beams": 2, "do_sample": True, "max_new_tokens": 6, "top_k": 0}
    texts = [
        generate(table, [0, 1], generator=np.random.default_rng(seed), **options).tolist()
        for seed in (1, 1, 2, 3, 4, 5)
    ]
    assert texts[0] == texts[1]
    assert len({tuple(text) for text in texts}) > 2


def test_ranked_is_a_stable_sort(generator):
    scores = generator.integers(0, 6, (5, 40)).astype(float)  # many ties
    for k in (1, 3, 40):
        assert np.array_equal(ranked(scores, k), np.argsort(-scores, axis=1, kind="stable")[:, :k])
    scores[:, 5:] = -np.inf
    assert np.array_equal(ranked(scores, 7), np.argsort(-scores, axis=1, kind="stable")[:, :7])
