"""generate() with transformers' options, for every kind of model: unequal prompts, ends, samples, the cache."""

import numpy as np
import pytest
from generation_models import ROWS, V, gpt, gpt2, llama, t5, transformer, written

from minilm.errors import InputError
from minilm.functional.normalization import softmax_array
from minilm.generation import (
    GenerateOutput,
    GenerationConfig,
    generate,
    generate_tokens,
)
from minilm.models.causal_config import GPT2Config

OPTIONS = {
    "greedy": {},
    "rules": {"repetition_penalty": 1.4, "no_repeat_ngram_size": 3},
    "beams": {"num_beams": 3},
    "beams, rules": {"num_beams": 3, "repetition_penalty": 1.4, "early_stopping": True, "length_penalty": 0.5},
}


@pytest.mark.parametrize("options", OPTIONS.values(), ids=OPTIONS)
def test_a_row_of_an_unequal_batch_is_what_it_is_alone(model, options):
    options = {**options, "max_new_tokens": 12, "eos_token_id": [2, 11], "pad_token_id": 0}
    together = written(model, generate(model, ROWS, **options), 8)
    assert together.dtype == np.int64
    for row, prompt in zip(together, ROWS):
        alone = written(model, generate(model, prompt, **options), len(prompt))
        assert np.array_equal(row[: len(alone)], alone)
        assert np.isin(row[len(alone) :], (0, 2)).all()  # padding


def test_padding_by_hand_and_by_list_are_the_same(model):
    left = not hasattr(model, "encode")
    ids, mask = np.zeros((4, 8), int), np.zeros((4, 8), int)
    for i, row in enumerate(ROWS):
        place = slice(8 - len(row), None) if left else slice(None, len(row))
        ids[i, place], mask[i, place] = row, 1
    options = {"max_new_tokens": 9, "eos_token_id": []}
    wanted = generate(model, ROWS, **options)
    assert np.array_equal(generate(model, ids, attention_mask=mask, **options), wanted)
    ids[mask == 0] = 22  # whatever stands there
    other = generate(model, ids, attention_mask=mask, **options)
    assert np.array_equal(written(model, other, 8), written(model, wanted, 8))
    ids[mask == 0] = 0
    if left:  # seen from pad_token_id, as in transformers only here
        assert np.array_equal(generate(model, ids, pad_token_id=0, **options), wanted)


def test_padding_is_no_text_that_a_penalty_counts():
    """Padding with the token that the model likes best: were it penalized, the text would be another."""
    for make in (gpt, llama):
        model = make()
        free = generate(model, ROWS, max_new_tokens=12, eos_token_id=[])[:, 8:]
        favourite = int(np.bincount(free.reshape(-1)).argmax())
        rows = [[token for token in row if token != favourite] for row in ROWS]
        longest = max(map(len, rows))
        options = {"max_new_tokens": 6, "repetition_penalty": 3.0, "pad_token_id": favourite}
        together = generate(model, rows, **options)
        for row, prompt in zip(together, rows):
            assert np.array_equal(row[longest - len(prompt) :], generate(model, prompt, **options))


@pytest.mark.parametrize("options", [{}, {"num_beams": 3}, {"do_sample": True, "num_return_sequences": 2}], ids=str)
def test_the_cache_changes_nothing(model, options):
    options = {**options, "max_new_tokens": 15}
    texts = [generate(model, ROWS, generator=np.random.default_rng(1), use_cache=c, **options) for c in (True, False)]
    assert np.array_equal(*texts)


def test_greedy_is_the_argmax_of_the_model(model):
    prompt = np.array([ROWS[1]])
    out = generate(model, prompt, max_new_tokens=10, eos_token_id=[])
    if hasattr(model, "encode"):
        scores = model(prompt, decoder_input_ids=out[:, :-1]).logits.data
        assert np.array_equal(scores.argmax(-1), out[:, 1:])
        assert out[0, 0] == model.config.decoder_start_token_id
    else:
        output = model(out[:, :-1])
        scores = (output.logits if model.config.__class__ is GPT2Config else output[0]).data
        assert np.array_equal(scores[:, 7:].argmax(-1), out[:, 8:])


def test_lengths(model):
    n = 1 if hasattr(model, "encode") else 8
    free = {"eos_token_id": []}
    assert generate(model, [ROWS[1]], **free).shape == (1, n + 20)  # transformers' default
    assert generate(model, [ROWS[1]], max_length=13, **free).shape == (1, 13)
    assert generate(model, [ROWS[1]], max_length=13, max_new_tokens=3, **free).shape == (1, n + 3)
    assert generate(model, ROWS[1], max_new_tokens=3, **free).shape == (n + 3,)
    if n == 8:
        with pytest.raises(InputError, match="max_length is 8 and the prompt has 8"):
            generate(model, [ROWS[1]], max_length=8)


def test_a_text_ends_with_any_of_its_ends_and_is_padded(model):
    free = written(model, generate(model, ROWS, max_new_tokens=20, eos_token_id=[]), 8)
    ends = [int(free[0, 3]), int(free[1, 6])]
    out = written(model, generate(model, ROWS, max_new_tokens=20, eos_token_id=ends, pad_token_id=1), 8)
    for row, unstopped in zip(out, free):
        places = np.flatnonzero(np.isin(unstopped, ends))
        end = int(places[0]) + 1 if places.size else 20
        assert np.array_equal(row[:end], unstopped[: min(end, len(row))])
        assert (row[end:] == 1).all()
    assert out.shape[1] == max(
        int(np.flatnonzero(np.isin(row, ends))[0]) + 1 if np.isin(row, ends).any() else 20 for row in free
    )


def test_min_new_tokens_holds_the_end_back(model):
    free = written(model, generate(model, [ROWS[1]], max_new_tokens=20, eos_token_id=[]), 8)[0]
    end = int(free[0])
    out = written(model, generate(model, [ROWS[1]], max_new_tokens=20, eos_token_id=end, min_new_tokens=7), 8)[0]
    assert end not in out[:7]


def test_no_ngram_occurs_twice(model):
    for n in (1, 2, 3):
        out = generate(model, [ROWS[1]], max_new_tokens=14, no_repeat_ngram_size=n, eos_token_id=[])[0]
        grams = [tuple(out[i : i + n]) for i in range(len(out) - n + 1)]
        assert len(set(grams)) == len(grams)


def test_samples(model):
    options = {"do_sample": True, "max_new_tokens": 12, "num_return_sequences": 3, "eos_token_id": []}
    texts = [generate(model, ROWS, generator=np.random.default_rng(seed), **options) for seed in (1, 1, 2)]
    assert len(texts[0]) == 12
    assert np.array_equal(texts[0], texts[1])
    assert not np.array_equal(texts[0], texts[2])
    assert len({tuple(row) for row in texts[0][:3]}) > 1  # samples of one prompt differ
    greedy = generate(model, ROWS, max_new_tokens=12, eos_token_id=[])
    for narrow in ({"top_k": 1}, {"top_p": 1e-9}, {"min_p": 1.0}, {"temperature": 1e-4}):
        out = generate(model, ROWS, do_sample=True, max_new_tokens=12, eos_token_id=[], **narrow)
        assert np.array_equal(out, greedy)


def test_first_tokens_are_drawn_as_the_model_says():
    """Pearson's χ² of 4,000 first tokens with temperature 1.3: below the 99.9 % point for V − 1 = 22."""
    model = gpt()
    prompt = np.array([[7, 8, 9]])
    P = softmax_array(model(prompt)[0].data[0, -1] / 1.3)
    out = generate(
        model, prompt, do_sample=True, temperature=1.3, top_k=0, max_new_tokens=1, num_return_sequences=4000,
        generator=np.random.default_rng(3),
    )  # fmt: skip
    observed = np.bincount(out[:, -1], minlength=V)
    expected = np.maximum(4000 * P, 1e-9)
    frequent = expected > 5
    pooled = (
        np.append(observed[frequent], observed[~frequent].sum()),
        np.append(expected[frequent], expected[~frequent].sum()),
    )
    assert ((pooled[0] - pooled[1]) ** 2 / pooled[1]).sum() < 48.27


def test_a_source_can_be_encoded_once():
    for make in (t5, transformer):
        model = make()
        ids = np.array([ROWS[1], ROWS[1][::-1]])
        encoded = model.encode(ids)
        for options in ({}, {"num_beams": 3, "num_return_sequences": 2}):
            wanted = generate(model, ids, max_new_tokens=6, **options)
            assert np.array_equal(generate(model, encoder_outputs=encoded, max_new_tokens=6, **options), wanted)


def test_a_dictionary_of_scores():
    output = generate(gpt(), ROWS, max_new_tokens=3, num_beams=2, return_dict_in_generate=True)
    assert isinstance(output, GenerateOutput)
    assert output.sequences_scores.shape == (4,)
    assert "sequences_scores" not in generate(gpt(), ROWS, max_new_tokens=3, return_dict_in_generate=True)


def test_a_config_works_for_every_model(model):
    model = model if hasattr(model, "encode") else gpt2()
    n = 1 if hasattr(model, "encode") else 8
    config = GenerationConfig(6, temperature=0, stop_ids=[22])
    out = generate(model, ROWS[1], config)
    assert np.array_equal(out, generate(model, ROWS[1], max_new_tokens=6, eos_token_id=22))
    assert list(generate_tokens(model, ROWS[1], config)) == out[n:].tolist()
    drawn = generate(model, ROWS[1], GenerationConfig(6, top_k=5, stop_ids=[22]), np.random.default_rng(4))
    options = {"do_sample": True, "top_k": 5, "max_new_tokens": 6, "eos_token_id": 22}
    assert np.array_equal(drawn, generate(model, ROWS[1], generator=np.random.default_rng(4), **options))
    assert np.array_equal(generate(model, ROWS[1]), generate(model, ROWS[1], max_new_tokens=20))
