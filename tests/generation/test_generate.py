"""Decoding: the cache changes nothing, nor does the batch; seeds repeat; the model is left as it was."""

import itertools

import numpy as np
import pytest

from minilm.errors import InputError
from minilm.generation import GenerationConfig, generate, generate_tokens, penalize_repetition
from minilm.generation.generate import window_start
from minilm.models import GPT, GPTConfig
from minilm.tape import grad_enabled

TINY = {"vocab_size": 23, "context_length": 12, "num_layers": 2, "num_heads": 4, "hidden_size": 16}
LAYOUTS = {
    "learned": {},
    "rotary": {"positions": "rotary"},
    "grouped": {"num_kv_heads": 2},
    "llama": {
        "positions": "rotary",
        "num_kv_heads": 1,
        "norm": "rms_norm",
        "activation": "swiglu",
        "tie_embeddings": False,
    },
    "odd context": {"context_length": 7},
    "context of one": {"context_length": 1},
}


def make_model(seed=0, **changes):
    """A small GPT: large weights, so that it does not say one token for ever; float64, so that rounding decides nothing."""
    model = GPT(GPTConfig(**{**TINY, **changes}), np.random.default_rng(seed))
    for name, parameter in model.named_parameters():
        if parameter.ndim == 2:
            parameter.data *= 20 if name.startswith("token") else 60
    return model.double()


@pytest.fixture
def model():
    return make_model()


GREEDY = {"temperature": 0, "repetition_penalty": 3.0}  # the penalty keeps it from saying one token for ever


@pytest.mark.parametrize("options", [GREEDY, {"temperature": 1.1}], ids=["greedy", "sampled"])
@pytest.mark.parametrize("prompt_length", [1, 5, 12, 30], ids=lambda n: f"prompt{n}")
@pytest.mark.parametrize("layout", LAYOUTS)
def test_the_cache_changes_nothing(layout, prompt_length, options):
    model = make_model(**LAYOUTS[layout])
    prompt = np.random.default_rng(1).integers(0, 23, prompt_length)
    texts = [
        generate(model, prompt, GenerationConfig(40, use_cache=use_cache, **options), np.random.default_rng(2))
        for use_cache in (True, False)
    ]
    assert len(texts[0]) == prompt_length + 40
    assert np.array_equal(*texts)
    assert len(set(texts[0][prompt_length:])) > 2 or layout == "context of one"  # else it would prove little


@pytest.mark.parametrize("penalty", [1.0, 3.0])
def test_the_model_sees_the_windows_that_the_policy_says(model, penalty):
    """Greedy decoding written out: the argmax over text[start:], with `start` from a table made by hand.

    A penalty is for all tokens of the text, also for those that have left the window.
    """
    prompt = [3, 1, 4, 1, 5, 9, 2, 6, 5, 3]
    text = list(prompt)
    # context 12, prompt 10: the window grows to 12, at 13 tokens the last 6 are kept, and again at 20 and at 27
    starts = {
        10: 0,
        11: 0,
        12: 0,
        **dict.fromkeys(range(13, 20), 7),
        **dict.fromkeys(range(20, 27), 14),
        27: 21,
        28: 21,
    }
    for length in range(10, 29):
        logits, _ = model(np.array([text[starts[length] :]]))
        text.append(int(penalize_repetition(logits.data[0, -1], np.array(text), penalty).argmax()))
    config = GenerationConfig(19, temperature=0, repetition_penalty=penalty)
    assert generate(model, prompt, config).tolist() == text


def test_without_the_cache_there_is_none(model, monkeypatch):
    monkeypatch.setattr(model, "new_cache", None)
    generate(model, [1], GenerationConfig(3, use_cache=False))
    with pytest.raises(TypeError):
        generate(model, [1], GenerationConfig(3))


def test_a_window_never_exceeds_the_context_nor_shrinks_below_half():
    for context in range(1, 12):
        start = 0
        for length in range(1, 100):
            start = window_start(start, length, context)
            assert 1 <= length - start <= context
            assert length < context or length - start >= max(1, context // 2)


def test_of_a_long_prompt_the_last_part_counts(model):
    config = GenerationConfig(5, temperature=0)
    long = np.random.default_rng(3).integers(0, 23, 50)
    assert np.array_equal(generate(model, long, config)[50:], generate(model, long[-12:], config)[12:])


def test_a_batch_is_its_rows(model):
    prompts = np.random.default_rng(4).integers(0, 23, (3, 5))
    config = GenerationConfig(25, temperature=0, repetition_penalty=1.3)
    together = generate(model, prompts, config)
    assert together.shape == (3, 30)
    for row, prompt in zip(together, prompts):
        assert np.array_equal(row, generate(model, prompt, config))


def test_streaming_gives_the_same_tokens_one_by_one(model):
    config = GenerationConfig(20, temperature=0.9, top_k=10, top_p=0.9)
    stream = generate_tokens(model, [1, 2], config, np.random.default_rng(5))
    first = list(itertools.islice(stream, 3))
    assert all(type(token) is int for token in first)
    assert [1, 2, *first, *stream] == generate(model, [1, 2], config, np.random.default_rng(5)).tolist()


def test_the_seed_decides(model):
    config = GenerationConfig(30)
    texts = [generate(model, [1], config, np.random.default_rng(seed)).tolist() for seed in (7, 7, 8)]
    assert texts[0] == texts[1] != texts[2]


def test_greedy_draws_nothing_from_the_generator(model, generator):
    before = generator.bit_generator.state
    generate(model, [1], GenerationConfig(5, temperature=0), generator)
    assert generator.bit_generator.state == before


def test_a_temperature_near_zero_writes_what_greedy_writes(model):
    texts = [generate(model, [1, 2], GenerationConfig(30, temperature=t)).tolist() for t in (0, 1e-5)]
    assert texts[0] == texts[1]


def test_top_k_of_one_and_a_tiny_top_p_are_greedy(model):
    greedy = generate(model, [1, 2], GenerationConfig(30, temperature=0)).tolist()
    assert generate(model, [1, 2], GenerationConfig(30, top_k=1)).tolist() == greedy
    assert generate(model, [1, 2], GenerationConfig(30, top_p=1e-9)).tolist() == greedy


def test_generation_ends_with_a_stop_token(model):
    free = generate(model, [1, 2], GenerationConfig(30, temperature=0))[2:].tolist()
    stop = free[7]
    expected = free[: free.index(stop) + 1]
    config = GenerationConfig(30, temperature=0, stop_ids=[stop, 22])
    assert list(generate_tokens(model, [1, 2], config)) == expected
    assert generate(model, [1, 2], config)[2:].tolist() == expected


def test_a_row_that_has_ended_repeats_its_stop_token(model):
    prompts = np.array([[1, 2], [3, 4], [5, 6]])
    free = generate(model, prompts, GenerationConfig(20, temperature=0))[:, 2:]
    stop = int(free[0, 4])
    out = generate(model, prompts, GenerationConfig(20, temperature=0, stop_ids=[stop]))[:, 2:]
    for row, unstopped in zip(out, free):
        places = np.flatnonzero(unstopped == stop)
        end = int(places[0]) if places.size else 20
        assert np.array_equal(row[:end], unstopped[: min(end, len(row))])
        assert (row[end:] == stop).all()


@pytest.mark.parametrize("training", [True, False])
def test_the_model_is_left_in_its_mode_even_by_a_stream_that_is_dropped(training):
    model = make_model(dropout=0.5).train(training)
    model.blocks[0].eval()
    modes = [module.training for module in model.modules()]
    stream = generate_tokens(model, [1], GenerationConfig(30, temperature=0))
    for _ in range(3):
        next(stream)
        assert [module.training for module in model.modules()] == modes
        assert grad_enabled()
    text = [1, *itertools.islice(stream, 5)]
    assert text[1:] == generate(model.eval(), [1], GenerationConfig(8, temperature=0))[4:].tolist()  # no dropout
    assert all(parameter.grad is None for parameter in model.parameters())


def test_the_prompt_is_not_changed_and_any_integers_do(model):
    config = GenerationConfig(4, temperature=0)
    prompt = np.array([1, 2, 3], np.uint16)
    texts = [generate(model, p, config).tolist() for p in (prompt, [1, 2, 3], (1, 2, 3), prompt[None][0])]
    assert prompt.tolist() == [1, 2, 3]
    assert all(text == texts[0] for text in texts)
    assert generate(model, prompt, config).dtype == np.int64


@pytest.mark.parametrize(
    ("prompt", "message"),
    [
        ([], "the prompt is empty"),
        (np.zeros((2, 0), int), "the prompt is empty"),
        ([1.5], "give integers"),
        ([[[1]]], "give integers"),
        ([[1, 2], [3]], "different lengths"),
        ([1, 23], r"holds token 23, but the model has tokens 0 to 22"),
        ([-1], "holds token -1"),
    ],
)
def test_a_prompt_that_cannot_be_continued(model, prompt, message):
    with pytest.raises(InputError, match=message):
        generate(model, prompt)
    with pytest.raises(InputError, match=message):
        generate_tokens(model, prompt)  # at the call, before a token is asked for


def test_a_stream_is_one_text(model):
    with pytest.raises(InputError, match="one prompt, not for 2"):
        generate_tokens(model, [[1], [2]])


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"max_new_tokens": 0}, "max_new_tokens is 0; it must be at least 1"),
        ({"temperature": -0.1}, "temperature is -0.1; it must be at least 0"),
        ({"temperature": float("nan")}, "temperature is nan"),
        ({"top_k": -1}, "top_k is -1; it must be at least 1, or 0"),
        ({"top_p": 0.0}, "top_p is 0.0; it must be above 0 and at most 1"),
        ({"top_p": 1.01}, "top_p is 1.01"),
        ({"repetition_penalty": 0.0}, "repetition_penalty is 0.0; it must be above 0"),
    ],
)
def test_options_out_of_range(model, options, message):
    with pytest.raises(InputError, match=message):
        generate(model, [1], GenerationConfig(**options))


@pytest.mark.parametrize("temperature", [0.0, 1.0])
def test_a_broken_model_is_named_as_such(model, temperature):
    model.final_norm.weight.data[...] = np.nan
    with pytest.raises(InputError, match="scores are NaN"):
        generate(model, [1], GenerationConfig(5, temperature=temperature))


def test_the_options_make_a_command_line():
    jsonargparse = pytest.importorskip("jsonargparse", reason="jsonargparse is not installed")
    parser = jsonargparse.ArgumentParser(exit_on_error=False)
    parser.add_class_arguments(GenerationConfig, as_group=False)
    values = parser.parse_args(["--top_k", "40", "--temperature=0.8", "--stop_ids=[1,2]", "--use_cache", "false"])
    config = GenerationConfig(**values.as_dict())
    assert (config.top_k, config.temperature, config.stop_ids, config.use_cache) == (40, 0.8, [1, 2], False)
    assert "choose among this many most probable tokens" in parser.format_help()
