"""Texts while they are written: streams, stop strings, and characters that are whole before they are shown."""

import itertools

import numpy as np
import pytest
from generation_models import ROWS, gpt, written

from minilm.errors import InputError
from minilm.generation import (
    GenerationOptions,
    TextStreamer,
    generate,
    generate_tokens,
)


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
