"""Rules about which tokens may and must come, each by numbers that one can follow, and refused where they cannot work."""

import numpy as np
import pytest

from minilm import GPT2Config, GPT2LMHeadModel, T5Config, T5ForConditionalGeneration
from minilm.errors import InputError
from minilm.generation import GenerationOptions, generate, keep_epsilon, keep_typical
from minilm.generation.constraints import forbid_ngrams_of, forbid_sequences, force_tokens, prefer_end

ZEROS = np.zeros((2, 6))


def left(logits):
    """The tokens that may come, row by row."""
    return [np.flatnonzero(np.isfinite(row)).tolist() for row in logits]


def test_sequences():
    seen = np.array([[1, 2, 3], [3, 1, 2]])
    assert left(forbid_sequences(ZEROS, seen, [[4], [1, 2, 5], [2, 3, 0]])) == [[1, 2, 3, 5], [0, 1, 2, 3]]
    assert left(forbid_sequences(ZEROS, seen, [[9, 9, 9, 9, 1]])) == [[*range(6)]] * 2  # longer than the text
    assert np.isfinite(ZEROS).all()


def test_ngrams_of_the_source():
    source = np.array([[1, 2, 3, 2, 4], [5, 5, 5, 5, 5]])
    seen = np.array([[0, 2], [0, 5]])
    assert left(forbid_ngrams_of(ZEROS, seen, source, 2)) == [[0, 1, 2, 5], [0, 1, 2, 3, 4]]
    assert left(forbid_ngrams_of(ZEROS, seen, source, 1)) == [[0, 5], [0, 1, 2, 3, 4]]
    assert left(forbid_ngrams_of(ZEROS, seen, source, 4)) == [[*range(6)]] * 2
    assert left(forbid_ngrams_of(ZEROS, seen, source[:, :0], 1)) == [[*range(6)]] * 2


def test_forced_and_preferred():
    assert left(force_tokens(ZEROS, [2, 4])) == [[2, 4]] * 2
    logits = np.array([[2.0, -3.0, -np.inf, 1.0]])
    np.testing.assert_allclose(prefer_end(logits, [0, 1, 2], 2.0, 2), [[8.0, 6.0, -np.inf, 1.0]])  # z + |z| (4 − 1)


def test_typical_leaves_out_what_is_too_probable():
    """Of a distribution with one probable token and many rare ones, the rare are typical: H is near their surprise."""
    logits = np.log(np.array([[0.4, *[0.06] * 10]]))
    kept = left(keep_typical(logits, 0.3))[0]
    assert 0 not in kept
    assert left(keep_typical(logits, 1.0)) == [[*range(11)]]
    assert 0 in left(keep_typical(logits, 0.99))[0]
    forbidden = np.array([[1.0, -np.inf, 1.0]])
    assert left(keep_typical(forbidden, 0.9)) == [[0, 2]]


def test_epsilon():
    logits = np.log(np.array([[0.5, 0.3, 0.2], [0.34, 0.33, 0.33]]))
    assert left(keep_epsilon(logits, 0.25)) == [[0, 1], [0, 1, 2]]
    assert left(keep_epsilon(logits, 0.9)) == [[0], [0]]


@pytest.fixture
def model():
    config = GPT2Config(vocab_size=13, n_positions=32, n_embd=8, n_layer=1, n_head=2, eos_token_id=0, bos_token_id=0)
    return GPT2LMHeadModel(config, np.random.default_rng(0)).eval()


def test_in_a_text(model):
    prompt = np.array([[3, 4]])
    plain = generate(model, prompt, max_new_tokens=8)[0]
    word = [int(token) for token in plain[2:4]]
    other = generate(model, prompt, max_new_tokens=8, bad_words_ids=[word])[0].tolist()
    assert not any(other[i : i + 2] == word for i in range(1, 9))
    without = generate(model, prompt, max_new_tokens=8, suppress_tokens=[word[0]])[0]
    assert word[0] not in without[2:]
    assert generate(model, prompt, max_new_tokens=8, begin_suppress_tokens=[word[0]])[0, 2] != word[0]
    assert generate(model, prompt, max_new_tokens=8, forced_eos_token_id=7)[0, -1] == 7
    assert generate(model, [[5]], max_new_tokens=3, forced_bos_token_id=9)[0, 1] == 9
    new = generate(model, np.array([[3, 4, 5, 6]]), max_new_tokens=12, encoder_no_repeat_ngram_size=1)[0, 4:]
    assert not set(new) & {3, 4, 5, 6}
    ended = generate(model, prompt, max_new_tokens=20, exponential_decay_length_penalty=(2, 8.0))[0]
    assert len(ended) < 22


def test_a_summary_does_not_copy():
    config = T5Config(
        vocab_size=20, d_model=8, d_kv=4, d_ff=8, num_layers=1, num_heads=2, decoder_start_token_id=0, eos_token_id=1,
        pad_token_id=0,
    )  # fmt: skip
    model = T5ForConditionalGeneration(config, np.random.default_rng(0)).eval()
    source = np.array([[4, 5, 6, 7, 8, 1]])
    new = generate(model, source, max_new_tokens=10, encoder_no_repeat_ngram_size=1, num_beams=2)[0, 1:]
    assert not set(new.tolist()) & {4, 5, 6, 7, 8, 1}
    assert generate(model, source, max_new_tokens=3, forced_bos_token_id=9)[0, 1] == 9


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"bad_words_ids": []}, "give lists of tokens"),
        ({"bad_words_ids": [[]]}, "has an empty list"),
        ({"bad_words_ids": [5]}, "give tokens, whole numbers"),
        ({"bad_words_ids": [[5, 13]]}, "token 13, which does not exist; the model has tokens 0 to 12"),
        ({"suppress_tokens": [-1]}, "token -1"),
        ({"suppress_tokens": ["a"]}, "give tokens"),
        ({"begin_suppress_tokens": 1.5}, "give tokens"),
        ({"forced_bos_token_id": 99}, "token 99"),
        ({"forced_eos_token_id": [1, 99]}, "token 99"),
        ({"forced_bos_token_id": 3, "suppress_tokens": [3, 4]}, "forced_bos_token_id 3 is in suppress_tokens too"),
        ({"forced_eos_token_id": [3, 4], "suppress_tokens": [3, 4]}, "nothing could come there"),
        ({"encoder_no_repeat_ngram_size": -1}, "at least 0"),
        ({"exponential_decay_length_penalty": 3}, "how many tokens are free, and a factor"),
        ({"exponential_decay_length_penalty": (3, 1.1), "eos_token_id": []}, "needs eos_token_id"),
        ({"typical_p": 0}, "typical_p is 0"),
        ({"typical_p": 1.5}, "typical_p is 1.5"),
        ({"epsilon_cutoff": 1}, "epsilon_cutoff is 1"),
        ({"do_sample": True, "suppress_tokens": [*range(13)]}, "forbid every token"),
        ({"bad_word_ids": [[3]]}, "did you mean bad_words_ids"),
    ],
)
def test_what_cannot_work(model, options, message):
    with pytest.raises(InputError, match=message):
        generate(model, [[1]], max_new_tokens=4, **options)


def test_a_token_that_ends_a_text_is_never_a_bad_word(model):
    assert GenerationOptions(eos_token_id=[0, 4], bad_words_ids=[[0], [4], [3], [0, 4]]).bad_words == [[3], [0, 4]]
