"""generate() with transformers' options, for every kind of model: unequal prompts, ends, samples, streams, protocol."""

import itertools

import numpy as np
import pytest

from minilm.errors import InputError
from minilm.functional.normalization import softmax_array
from minilm.generation import (
    GenerateOutput,
    GenerationConfig,
    GenerationOptions,
    TextStreamer,
    generate,
    generate_tokens,
)
from minilm.models import GPT, GPTConfig
from minilm.models.causal import GPT2LMHeadModel, GPT2Model
from minilm.models.causal_config import GPT2Config
from minilm.models.t5 import T5Config, T5ForConditionalGeneration, T5Model
from minilm.models.transformer import Transformer, TransformerConfig

V = 23


def lively(model, spread=25.0):
    """Weights large enough that the model does not say one token for ever; float64, so that rounding decides nothing."""
    generator = np.random.default_rng(0)
    for name, parameter in model.named_parameters():
        if parameter.ndim == 2:
            std = 0.8 if name.startswith(("token", "shared", "position")) else 3.0 / parameter.shape[1] ** 0.5
            parameter.data[...] = generator.normal(0, std, parameter.shape)
    return model.double().eval()


def gpt(**changes):
    sizes = {"vocab_size": V, "context_length": 40, "num_layers": 2, "num_heads": 4, "hidden_size": 16}
    return lively(GPT(GPTConfig(**{**sizes, **changes}), np.random.default_rng(0)))


def llama():
    return gpt(positions="rotary", norm="rms_norm", num_kv_heads=2, activation="swiglu")


def t5():
    config = T5Config(vocab_size=V, d_model=16, d_kv=4, d_ff=24, num_layers=2, num_heads=4, dropout_rate=0.0)
    return lively(T5ForConditionalGeneration(config, np.random.default_rng(0)))


def transformer():
    config = TransformerConfig(
        vocab_size=V, max_positions=40, num_encoder_layers=1, num_decoder_layers=2, num_heads=4, hidden_size=16
    )
    return lively(Transformer(config, np.random.default_rng(0)))


def gpt2():
    config = GPT2Config(vocab_size=V, n_positions=40, n_embd=16, n_layer=2, n_head=4, eos_token_id=2)
    return lively(GPT2LMHeadModel(config, np.random.default_rng(0)))


FAMILIES = [gpt, llama, gpt2, t5, transformer]


@pytest.fixture(params=FAMILIES, ids=lambda make: make.__name__)
def model(request):
    return request.param()


def written(model, out, prompt_length):
    """The new tokens: behind the prompt, or behind the start token of an encoder-decoder."""
    return out[..., 1 if hasattr(model, "encode") else prompt_length :]


ROWS = [[7, 8, 9], [3, 4, 5, 6, 7, 8, 9, 10], [12], [15, 4, 4, 19, 3]]
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


def test_streams(model):
    prompt = ROWS[1]
    whole = written(model, generate(model, prompt, max_new_tokens=12, eos_token_id=[]), 8)
    stream = generate_tokens(model, prompt, max_new_tokens=12, eos_token_id=[])
    first = list(itertools.islice(stream, 3))
    assert [*first, *stream] == whole.tolist()

    class Recorder:
        def __init__(self):
            self.parts, self.ended = [], False

        def put(self, tokens):
            self.parts.append(np.array(tokens).reshape(-1))

        def end(self):
            self.ended = True

    recorder = Recorder()
    out = generate(model, prompt, max_new_tokens=12, eos_token_id=[], streamer=recorder)
    assert recorder.ended
    assert np.concatenate(recorder.parts).tolist() == out.tolist()
    for options in ({"num_beams": 2}, {"do_sample": True, "num_return_sequences": 2}):
        with pytest.raises(InputError, match="a streamer shows one text"):
            generate(model, prompt, streamer=recorder, **options)


def test_a_source_can_be_encoded_once():
    for make in (t5, transformer):
        model = make()
        ids = np.array([ROWS[1], ROWS[1][::-1]])
        encoded = model.encode(ids)
        for options in ({}, {"num_beams": 3, "num_return_sequences": 2}):
            wanted = generate(model, ids, max_new_tokens=6, **options)
            assert np.array_equal(generate(model, encoder_outputs=encoded, max_new_tokens=6, **options), wanted)


class Letters:
    """Tokens are letters; one is a whole word."""

    names = "abcdefghijklmnopqrstuv"

    def decode(self, ids):
        return "".join("stop!" if i == 22 else self.names[i] for i in ids)


def test_stop_strings_end_a_text():
    model = gpt()
    free = generate(model, ROWS, max_new_tokens=20, eos_token_id=[])
    letters = Letters()
    text = letters.decode(free[0, 8:])
    stop = text[5:8]
    out = generate(model, ROWS, max_new_tokens=20, stop_strings=[stop, "not there"], tokenizer=letters, pad_token_id=1)
    for row, unstopped in zip(out[:, 8:], free[:, 8:]):
        end = letters.decode(unstopped).find(stop)
        end = 20 if end < 0 else end + 3
        assert np.array_equal(row[:end], unstopped[: min(end, len(row))])
        assert (row[end:] == 1).all()
    beams = generate(model, ROWS, max_new_tokens=20, stop_strings=stop, tokenizer=letters, num_beams=3)
    assert beams.shape[0] == 4
    with pytest.raises(InputError, match="stop_strings need the tokenizer"):
        generate(model, ROWS, stop_strings="x")


def test_a_stop_string_counts_wherever_in_the_last_token_it_ends():
    from minilm.generation.stopping import Stopping

    stopping = Stopping(GenerationOptions(stop_strings=["bst", "op"]), 99, Letters())
    texts = np.array([[0, 1, 22], [0, 0, 22], [14, 15, 0], [0, 14, 15], [22, 0, 0]])
    assert stopping(texts).tolist() == [True, True, False, True, False]


def test_a_model_of_ones_own_needs_three_methods():
    """A model that counts: after token t comes t + 1. Beams are reordered through its state."""

    class Counter:
        class config:  # noqa: N801
            vocab_size = 10

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


def test_a_dictionary_of_scores():
    output = generate(gpt(), ROWS, max_new_tokens=3, num_beams=2, return_dict_in_generate=True)
    assert isinstance(output, GenerateOutput)
    assert output.sequences_scores.shape == (4,)
    assert "sequences_scores" not in generate(gpt(), ROWS, max_new_tokens=3, return_dict_in_generate=True)


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


class Bytes:
    """Tokens are bytes."""

    def decode(self, ids, upper=False):
        text = bytes(ids).decode("utf-8", errors="replace")
        return text.upper() if upper else text


def test_a_text_streamer_prints_whole_characters():
    parts = []
    streamer = TextStreamer(Bytes(), write=parts.append)
    encoded = list("né\n 语言🙂!".encode())
    streamer.put(np.array([encoded[:2]]))
    for token in encoded[2:]:
        streamer.put(np.array([token]))
    streamer.end()
    assert "".join(parts) == "né\n 语言🙂!"
    assert all("\ufffd" not in part for part in parts)
    assert parts[-1] == "!"


def test_a_text_streamer_skips_the_prompt_and_passes_options(capsys):
    streamer = TextStreamer(Bytes(), skip_prompt=True, upper=True)
    for _ in range(2):  # it can be used again
        streamer.put(np.array([[65, 66]]))
        streamer.put(np.array([99]))
        streamer.end()
    assert capsys.readouterr().out == "CC"
    with pytest.raises(InputError, match="a stream is one text"):
        streamer.put(np.zeros((2, 3), int))
