"""Token files: the ids of the whole text, streamed to disk, never stale and never half."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from minilm.data import CorpusText, RandomWindows, SequentialWindows, TokenFile, open_corpus, prepare_tokens
from minilm.data.tokens import tokenizer_fingerprint
from minilm.errors import InputError
from minilm.text import load_tokenizer, train_tokenizer

ROOT = Path(__file__).parents[2]
TEXT = "First Citizen:\nBefore we proceed any further, hear me speak.\n\nAll:\nSpeak, speak.\n" * 30


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir()) if folder.exists() else []


def test_training_and_validation_are_the_text_in_order(tmp_path, tokenizer):
    training, validation = prepare_tokens(CorpusText.from_text(TEXT), tokenizer, tmp_path / "tokens", progress=False)
    assert tokenizer.decode(training) + tokenizer.decode(validation) == TEXT
    assert len(training) == int(len(TEXT) * 0.9)  # nanoGPT's split
    assert training.dtype == validation.dtype == np.uint16
    assert isinstance(training, np.memmap)
    assert isinstance(validation, np.memmap)
    assert not training.flags.writeable
    (array_name, json_name) = sorted(names(tmp_path / "tokens"), reverse=True)
    np.testing.assert_array_equal(np.load(tmp_path / "tokens" / array_name), tokenizer.encode_array(TEXT))
    about = json.loads((tmp_path / "tokens" / json_name).read_text())
    assert about["count"] == len(TEXT)
    assert about["corpus"] == CorpusText.from_text(TEXT).fingerprint()
    assert about["tokenizer"] == tokenizer_fingerprint(tokenizer)


@pytest.mark.parametrize("chunk_characters", [1, 7, 100, 10_000])
def test_the_chunk_size_changes_nothing(tmp_path, tokenizer, chunk_characters):
    corpus = CorpusText.from_text(TEXT)
    file = TokenFile.write(tmp_path / "t.npy", corpus, tokenizer, progress=False, chunk_characters=chunk_characters)
    np.testing.assert_array_equal(file.tokens, tokenizer.encode_array(TEXT))


@pytest.mark.parametrize("spec", ["char", "bpe:400"])
@pytest.mark.parametrize("chunk_characters", [5, 997])
def test_a_real_tokenizer_does_not_notice_the_chunks(tmp_path, spec, chunk_characters):
    text = open_corpus("python-reference").read()[:20_000] + "四時運灰琯，一夕變冬春。 \U0001f600\n\n\n\t end"
    tokenizer = train_tokenizer(spec, [text])
    corpus = CorpusText.from_text(text)
    file = TokenFile.write(tmp_path / "t.npy", corpus, tokenizer, progress=False, chunk_characters=chunk_characters)
    np.testing.assert_array_equal(file.tokens, tokenizer.encode_array(text))
    assert tokenizer.decode(file.tokens) == text


def test_a_saved_and_loaded_tokenizer_finds_the_file_again(tmp_path):
    corpus = CorpusText.from_text(TEXT)
    tokenizer = train_tokenizer("bpe:300", [TEXT])
    prepare_tokens(corpus, tokenizer, tmp_path / "tokens", progress=False)
    tokenizer.save(tmp_path / "tokenizer")
    prepare_tokens(corpus, load_tokenizer(tmp_path / "tokenizer"), tmp_path / "tokens", progress=False)
    assert len(names(tmp_path / "tokens")) == 2


def test_characters_that_the_tokenizer_never_saw(tmp_path):
    tokenizer = train_tokenizer("char", ["only these letters"])
    with pytest.raises(InputError):
        prepare_tokens(CorpusText.from_text(TEXT), tokenizer, tmp_path / "tokens", progress=False)
    assert names(tmp_path / "tokens") == []


def test_a_large_vocabulary_takes_four_bytes(tmp_path, wide_tokenizer):
    training, _ = prepare_tokens(
        CorpusText.from_text("\U0001f600 smile " * 50), wide_tokenizer, tmp_path, progress=False
    )
    assert training.dtype == np.uint32
    assert training[0] == 0x1F600


def test_a_second_run_reuses_the_file(tmp_path, tokenizer):
    corpus = CorpusText.from_text(TEXT)
    prepare_tokens(corpus, tokenizer, tmp_path, progress=False)
    encoded = tokenizer.encoded_characters
    _, validation = prepare_tokens(corpus, tokenizer, tmp_path, 0.25, progress=False)
    assert tokenizer.encoded_characters == encoded == len(TEXT)
    assert len(validation) == len(TEXT) - int(len(TEXT) * 0.75)


def test_another_text_or_tokenizer_is_never_served_from_a_stale_file(tmp_path, tokenizer, wide_tokenizer):
    prepare_tokens(CorpusText.from_text(TEXT), tokenizer, tmp_path, progress=False)
    changed = TEXT.replace("hear", "heed")
    training, validation = prepare_tokens(CorpusText.from_text(changed), tokenizer, tmp_path, progress=False)
    assert tokenizer.decode(training) + tokenizer.decode(validation) == changed
    training, _ = prepare_tokens(CorpusText.from_text(TEXT), wide_tokenizer, tmp_path, progress=False)
    assert training.dtype == np.uint32
    assert (
        len(list(tmp_path.glob("*.npy"))) == 3
    )  # each under a name of its own: none pulls the file from under another


@pytest.mark.parametrize("damage", ["truncate", "header", "no json", "bad json", "other json", "newer", "swapped"])
def test_a_damaged_file_is_written_anew(tmp_path, tokenizer, damage):
    corpus = CorpusText.from_text(TEXT)
    prepare_tokens(corpus, tokenizer, tmp_path, progress=False)
    (array,) = tmp_path.glob("*.npy")
    sidecar = array.with_suffix(".json")
    about = json.loads(sidecar.read_text())
    if damage == "truncate":
        os.truncate(array, array.stat().st_size - 10)
    elif damage == "header":
        array.write_bytes(b"x" * array.stat().st_size)
    elif damage == "no json":
        sidecar.unlink()
    elif damage == "bad json":
        sidecar.write_text('{"format_version": 1,')
    elif damage == "other json":
        sidecar.write_text("[1]")
    elif damage == "newer":
        sidecar.write_text(json.dumps({**about, "format_version": 99}))
    elif damage == "swapped":
        np.save(array, np.zeros(7, np.uint16))
    with pytest.raises(InputError, match=r"remove .*\.npy and run again"):
        TokenFile.open(array)
    training, validation = prepare_tokens(corpus, tokenizer, tmp_path, progress=False)
    assert tokenizer.decode(training) + tokenizer.decode(validation) == TEXT


def test_a_json_of_other_fingerprints_is_not_believed(tmp_path, tokenizer):
    corpus = CorpusText.from_text(TEXT)
    prepare_tokens(corpus, tokenizer, tmp_path, progress=False)
    (sidecar,) = tmp_path.glob("*.json")
    sidecar.write_text(json.dumps({**json.loads(sidecar.read_text()), "tokenizer": "0" * 64}))
    prepare_tokens(corpus, tokenizer, tmp_path, progress=False)
    assert tokenizer.encoded_characters == 2 * len(TEXT)


def test_a_text_that_breaks_half_way_leaves_no_file(tmp_path, tokenizer):
    path = tmp_path / "text.txt"
    path.write_bytes(b"good words " * 300_000 + b"\xe9 bad")
    with pytest.raises(InputError, match=r"byte 3,300,000 .*iconv"):
        TokenFile.write(tmp_path / "tokens" / "t.npy", open_corpus(path), tokenizer, progress=False)
    with pytest.raises(InputError, match=r"byte 3,300,000 .*iconv"):
        prepare_tokens(open_corpus(path), tokenizer, tmp_path / "tokens", progress=False)
    assert names(tmp_path / "tokens") == []


def test_a_text_that_changes_while_it_is_read(tmp_path, tokenizer):
    texts = iter(["the first text", "the first text, and more"])
    corpus = CorpusText("growing", lambda _: [next(texts)])
    with pytest.raises(InputError, match="growing changed while it was read; run again"):
        prepare_tokens(corpus, tokenizer, tmp_path / "tokens", progress=False)
    assert names(tmp_path / "tokens") == []


def test_no_tokens_at_all(tmp_path, tokenizer):
    with pytest.raises(InputError, match="has no tokens; give a longer text"):
        prepare_tokens(CorpusText("nothing", lambda _: []), tokenizer, tmp_path / "tokens", progress=False)
    assert names(tmp_path / "tokens") == []


@pytest.mark.parametrize("fraction", [-0.1, 1.0, float("nan")])
def test_a_validation_fraction_that_makes_no_sense(tmp_path, tokenizer, fraction):
    with pytest.raises(InputError, match=r"validation_fraction is .*such as 0\.1"):
        prepare_tokens(CorpusText.from_text(TEXT), tokenizer, tmp_path, fraction, progress=False)


def test_no_validation_is_allowed(tmp_path, tokenizer):
    training, validation = prepare_tokens(CorpusText.from_text(TEXT), tokenizer, tmp_path, 0.0, progress=False)
    assert len(training) == len(TEXT)
    assert len(validation) == 0


def test_the_tokenizers_fingerprint_is_of_what_it_saves(tokenizer, wide_tokenizer):
    assert tokenizer_fingerprint(tokenizer) == tokenizer_fingerprint(type(tokenizer)())
    assert tokenizer_fingerprint(tokenizer) != tokenizer_fingerprint(wide_tokenizer)


STREAMING = """
import resource, sys
import numpy as np
from conftest import CodePointTokenizer
from minilm.data import RandomWindows, SequentialWindows, open_corpus, prepare_tokens
import tqdm

path, folder = sys.argv[1:]
corpus = open_corpus(path)
used = next(int(line.split()[1]) << 10 for line in open("/proc/self/status") if line.startswith("VmData"))
limit = used + (32 << 20)
resource.setrlimit(resource.RLIMIT_DATA, (limit, limit))
try:
    corpus.read()
except MemoryError:
    print("the text does not fit")
training, validation = prepare_tokens(corpus, CodePointTokenizer(), folder, progress=False)
print(len(training) + len(validation))
batches = RandomWindows(training, 8, 64, np.random.default_rng(0))
for _ in range(100):
    batches.next_batch()
windows = SequentialWindows(validation, 64, 1024)
print(sum(targets.size for _, targets in windows) == len(validation) - 1)
"""


@pytest.mark.skipif(
    not sys.platform.startswith("linux"), reason="RLIMIT_DATA covers a process' whole memory on Linux only"
)
def test_a_text_larger_than_memory(tmp_path):
    """64 MB of text and 128 MB of tokens in a process that may take 32 MB more."""
    path = tmp_path / "large.txt"
    with open(path, "w") as stream:
        for number in range(64):
            stream.write((f"line {number:010d} " * 66_000)[: (1 << 20) - 1] + "\n")
    search = [ROOT, ROOT / "kernels", Path(__file__).parent]
    result = subprocess.run(
        [sys.executable, "-c", STREAMING, str(path), str(tmp_path / "tokens")],
        env={**os.environ, "PYTHONPATH": os.pathsep.join(map(str, search))},
        capture_output=True,
        text=True,
    )
    assert result.stdout.split("\n") == ["the text does not fit", str(64 << 20), "True", ""], result.stderr


def test_windows_run_on_token_files(tmp_path, tokenizer):
    training, validation = prepare_tokens(CorpusText.from_text(TEXT), tokenizer, tmp_path, progress=False)
    inputs, targets = RandomWindows(training, 4, 16, np.random.default_rng(0)).next_batch()
    assert type(inputs) is np.ndarray
    assert tokenizer.decode(inputs[0])[1:] == tokenizer.decode(targets[0])[:-1]
    assert tokenizer.decode(inputs[0]) in TEXT
    seen = "".join(tokenizer.decode(y) for _, targets in SequentialWindows(validation, 4, 16) for y in targets)
    assert seen == tokenizer.decode(validation[1:])
