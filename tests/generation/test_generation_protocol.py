"""What generate() asks of a model and leaves of it, and which options, prompts and models it refuses."""

from types import SimpleNamespace

import numpy as np
import pytest
from generation_models import ROWS, V, gpt, gpt2, t5

from minilm.errors import InputError
from minilm.generation import (
    GenerationConfig,
    GenerationOptions,
    generate,
    generate_tokens,
)
from minilm.models.causal import GPT2Model
from minilm.models.t5 import T5Model


def test_a_model_of_ones_own_needs_three_methods():
    """A model that counts: after token t comes t + 1. Beams are reordered through its state."""

    class Counter:
        config = SimpleNamespace(vocab_size=10)

        def start(self, input_ids, attention_mask, max_length, use_cache):
            return {"last": None}

        def step(self, ids, state):
            state["last"] = ids[:, -1].copy()
            return np.eye(10)[(state["last"] + 1) % 10] * 3.0

        def reorder(self, state, rows):
            state["last"] = state["last"][rows]

    assert generate(Counter(), [1, 2], max_new_tokens=4).tolist() == [1, 2, 3, 4, 5, 6]
    assert generate(Counter(), [[1], [7]], max_new_tokens=4, num_beams=3).tolist() == [[1, 2, 3, 4, 5], [7, 8, 9, 0, 1]]
    assert list(generate_tokens(Counter(), [5], max_new_tokens=3)) == [6, 7, 8]


def test_the_model_is_left_as_it_was(model):
    model.train()
    generate(model, ROWS, max_new_tokens=3)
    generate(model, ROWS, max_new_tokens=3, num_beams=2)
    assert all(module.training for module in model.modules())
    assert all(parameter.grad is None for parameter in model.parameters())


def test_what_a_model_says_about_itself_is_used():
    model = t5()
    model.config.eos_token_id = [4, 2]
    options = GenerationOptions.for_model(model)
    assert (options.eos, options.padding, options.decoder_start_token_id) == ([4, 2], 0, 0)
    model.generation_config = {"num_beams": 4, "max_length": 7, "transformers_version": "4", "eos_token_id": 3}
    options = GenerationOptions.for_model(model, num_beams=2)
    assert (options.num_beams, options.max_length, options.eos) == (2, 7, [3])
    assert GenerationOptions(eos_token_id=9).padding == 9
    assert GenerationOptions().padding is None


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"max_new_token": 3}, "no option 'max_new_token'; did you mean max_new_tokens?"),
        ({"max_new_tokens": 0}, "max_new_tokens is 0; it must be at least 1"),
        ({"max_new_tokens": 2.5}, "max_new_tokens is 2.5"),
        ({"min_new_tokens": 9, "max_new_tokens": 3}, "min_new_tokens is 9 and max_new_tokens 3"),
        ({"num_beams": 0}, "num_beams is 0"),
        ({"num_beams": 2, "num_return_sequences": 3}, "only 2 beams are followed; use num_beams=3"),
        ({"num_return_sequences": 3}, "greedy decoding has one result"),
        ({"do_sample": True, "temperature": 0.0}, "temperature is 0.0; it must be above 0"),
        ({"top_p": 0.0}, "top_p is 0.0"),
        ({"min_p": 2.0}, "min_p is 2.0"),
        ({"repetition_penalty": -1.0}, "repetition_penalty is -1.0"),
        ({"early_stopping": "always"}, "early_stopping is 'always'; it must be True, False or 'never'"),
        ({"length_penalty": float("nan")}, "length_penalty is nan"),
        ({"stop_strings": [""]}, "none of them empty"),
        ({"attention_mask": np.ones((2, 3))}, r"attention_mask has shape \(2, 3\); give \(1, 2\)"),
        ({"attention_mask": np.zeros((1, 2))}, "a row of attention_mask is all zeros"),
        ({"attention_mask": np.array([[1, 0]])}, "pad on the left"),
        ({"max_new_tokens": 39}, "the texts may become 41 tokens long, 2 of them given, but the model knows 40"),
    ],
)
def test_options_that_cannot_work(options, message):
    with pytest.raises(InputError, match=message):
        generate(gpt(), [[3, 4]], **options)


@pytest.mark.parametrize(
    ("prompt", "message"),
    [
        ([], "the prompt is empty"),
        ([[3], []], "prompt 1 has shape"),
        ([[3], [1.5, 2.0]], "prompt 1 has shape"),
        ([[V]], "holds token 23, but the model has tokens 0 to 22"),
        (None, "there is no prompt"),
        (np.zeros((1, 41), int), "41 of them given, but the model knows 40"),
    ],
)
def test_prompts_that_cannot_be_continued(prompt, message):
    with pytest.raises(InputError, match=message):
        generate(gpt(), prompt, max_new_tokens=1)


def test_padding_takes_no_position():
    """40 positions, 38 tokens in the longest prompt: two more fit, however the batch is padded."""
    model = gpt()
    ids = np.full((1, 45), 3)
    mask = np.ones((1, 45), int)
    mask[0, :7] = 0
    assert generate(model, ids, attention_mask=mask, max_new_tokens=2).shape == (1, 47)
    with pytest.raises(InputError, match="41 tokens long, 38 of them given"):
        generate(model, ids, attention_mask=mask, max_new_tokens=3)


def test_a_config_and_options_do_not_mix():
    model = gpt()
    with pytest.raises(InputError, match="goes without options by name"):
        generate(model, [1], GenerationConfig(3), num_beams=2)
    options = GenerationOptions(max_new_tokens=3)
    assert np.array_equal(generate(model, [1], options), generate(model, [1], max_new_tokens=3))
    with pytest.raises(InputError, match="streamed for one prompt"):
        generate_tokens(model, [[1], [2]], max_new_tokens=3)


def test_a_model_without_a_head_writes_nothing():
    for body in (T5Model(t5().config), GPT2Model(gpt2().config)):
        with pytest.raises(InputError, match="writes no text: it has no head"):
            generate(body, [1], max_new_tokens=2)


def test_a_broken_model_is_named_as_such():
    for options in ({}, {"num_beams": 2}):
        model = gpt()
        model.final_norm.weight.data[...] = np.nan
        with pytest.raises(InputError, match="scores are NaN"):
            generate(model, [1], max_new_tokens=2, **options)
