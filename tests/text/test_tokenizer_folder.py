"""Saving, loading, choosing by name; and folders that are not as they should be."""

import json
import shutil
import sys

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from strategies import TEXTS

from minilm.errors import InputError
from minilm.text import (
    ByteLevelBPETokenizer,
    CharacterTokenizer,
    Tokenizer,
    load_tokenizer,
    train_tokenizer,
)

TEXT = 'A line of text,\r\nanother line of text: "\\", \0, \u2028, 明月光 and 😀.'


@pytest.mark.parametrize("spec", ["char", "bpe:300"])
def test_saved_and_loaded_are_equal(tmp_path, spec):
    tokenizer = train_tokenizer(spec, [TEXT])
    assert isinstance(tokenizer, Tokenizer)
    tokenizer.save(tmp_path / "new" / "folder")
    loaded = load_tokenizer(tmp_path / "new" / "folder")
    assert type(loaded) is type(tokenizer)
    assert loaded == tokenizer
    assert loaded.encode(TEXT) == tokenizer.encode(TEXT)
    loaded.save(tmp_path / "again")
    for path in (tmp_path / "again").iterdir():
        assert path.read_bytes() == (tmp_path / "new" / "folder" / path.name).read_bytes()


@settings(max_examples=20)  # each writes seven files, and waits for the disk
@given(TEXTS.filter(bool), st.lists(st.sampled_from(["<|endoftext|>", "<s>", "的", "pad"]), unique=True))
def test_any_vocabulary_is_saved_and_loaded(tmp_path_factory, text, special):
    folder = tmp_path_factory.mktemp("any")
    for tokenizer in (CharacterTokenizer.train(text), ByteLevelBPETokenizer.train("a" + text * 2, 280, special)):
        tokenizer.save(folder)
        assert load_tokenizer(folder) == tokenizer
    shutil.rmtree(folder)


def test_files_are_gpt2s(tmp_path):
    ByteLevelBPETokenizer.train("a cat a cat", 300, ["<|endoftext|>"]).save(tmp_path)
    assert (tmp_path / "merges.txt").read_bytes() == "#version: 0.2\na t\nc at\nĠ cat\n".encode()
    vocabulary = json.loads((tmp_path / "vocab.json").read_text(encoding="utf-8"))
    assert (vocabulary["!"], vocabulary["at"], vocabulary["Ġcat"], vocabulary["<|endoftext|>"]) == (0, 256, 258, 259)
    config = json.loads((tmp_path / "tokenizer_config.json").read_text(encoding="utf-8"))
    assert (config["tokenizer_class"], config["format_version"]) == ("GPT2Tokenizer", 1)
    assert config["eos_token"] == "<|endoftext|>"


def test_a_folder_of_another_program(tmp_path):
    """GPT-2's own folder has no format_version, no checksums and does not name its special token."""
    tokenizer = ByteLevelBPETokenizer.train(TEXT * 2, 300, ["<|endoftext|>"])
    tokenizer.save(tmp_path)
    for config in ({"model_max_length": 1024}, {"tokenizer_class": "GPT2TokenizerFast"}):
        (tmp_path / "tokenizer_config.json").write_text(json.dumps(config))
        assert load_tokenizer(tmp_path) == tokenizer
    merges = (tmp_path / "merges.txt").read_text(encoding="utf-8").replace("\n", "\r\n")
    (tmp_path / "merges.txt").write_bytes(merges.encode())
    assert load_tokenizer(tmp_path) == tokenizer


@pytest.mark.parametrize(
    ("spec", "message"),
    [
        ("words", '\'words\' is unknown; available are "char" and "bpe:VOCAB"'),
        ("wordpiece", 'needs its number of tokens after "wordpiece:", e.g. "wordpiece:8000"'),
        ("word:", 'needs its number of tokens after "word:"'),
        ("unigram:-3", 'needs its number of tokens after "unigram:"'),
        ("", "'' is unknown; available"),
        ("char:5", "'char:5' is unknown"),
        ("BPE:300", "'BPE:300' is unknown"),
        ("bpe", "needs its number of tokens"),
        ("bpe:", "needs its number of tokens"),
        ("bpe:abc", '\'bpe:abc\' needs its number of tokens after "bpe:", e.g. "bpe:8000"'),
        ("bpe:-5", "needs its number of tokens"),
        ("bpe:٣٠٠", "needs its number of tokens"),
        ("bpe:" + "9" * 5000, "needs its number of tokens"),
        ("bpe:100", "100 tokens is too small.*need 257"),
    ],
)
def test_specs_that_do_not_exist(spec, message):
    with pytest.raises(InputError, match=message):
        train_tokenizer(spec, [TEXT])


@pytest.mark.parametrize("spec", ["char", "bpe:300"])
def test_no_text(spec):
    with pytest.raises(InputError, match="give it"):
        train_tokenizer(spec, iter([]))


@pytest.fixture(params=["char", "bpe:300"])
def folder(request, tmp_path):
    train_tokenizer(request.param, [TEXT * 2]).save(tmp_path)
    return tmp_path


def edit_json(path, change):
    value = json.loads(path.read_text(encoding="utf-8"))
    change(value)
    path.write_text(json.dumps(value), encoding="utf-8")


def without_checksums(folder):
    edit_json(folder / "tokenizer_config.json", lambda config: config.pop("sha256"))


def test_no_folder(tmp_path):
    with pytest.raises(InputError, match=r"tokenizer_config.json does not exist; name a folder that a tokenizer was"):
        load_tokenizer(tmp_path / "nowhere")


@pytest.mark.parametrize(
    ("folder", "name"),
    [(spec, name) for spec in ("char", "bpe:300") for name in ("tokenizer_config.json", "vocab.json")]
    + [("bpe:300", "merges.txt")],
    indirect=["folder"],
)
@pytest.mark.parametrize("damage", ["missing", "a folder", "cut short", "empty", "not UTF-8", "one bit"])
def test_damaged_files(folder, name, damage):
    path = folder / name
    data = path.read_bytes()
    path.unlink()
    if damage == "a folder":
        path.mkdir()
    elif damage != "missing":
        middle = len(data) // 2
        flipped = data[:middle] + bytes([data[middle] ^ 1]) + data[middle + 1 :]
        path.write_bytes(
            {"cut short": data[:middle], "empty": b"", "not UTF-8": b"\xff" + data, "one bit": flipped}[damage]
        )
    with pytest.raises(InputError, match=str(path)) as caught:
        load_tokenizer(folder)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda config: config.update(format_version=2), "written by a newer minilm .format_version 2.*update minilm"),
        (lambda config: config.update(format_version="1"), "format_version '1' where a number from 1"),
        (lambda config: config.update(format_version=True), "format_version True"),
        (lambda config: config.update(format_version=0), "format_version 0"),
        (
            lambda config: config.update(tokenizer_class="XLNetTokenizer"),
            "'XLNetTokenizer', which this minilm does not have",
        ),
        (lambda config: config.update(tokenizer_class=["x"]), "which this minilm does not have; it has CharacterTok"),
    ],
)
def test_configs_that_cannot_be_read(folder, change, message):
    edit_json(folder / "tokenizer_config.json", change)
    with pytest.raises(InputError, match=message):
        load_tokenizer(folder)


@pytest.mark.parametrize("text", ["[]", "null", '"text"', "3", "{", '{"a": 1', "[" * 100_000])
@pytest.mark.parametrize("name", ["tokenizer_config.json", "vocab.json"])
def test_json_of_the_wrong_kind(folder, name, text):
    without_checksums(folder)
    (folder / name).write_text(text)
    with pytest.raises(InputError, match=f"{name} (holds|is not valid JSON).*copy the folder again"):
        load_tokenizer(folder)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda vocabulary: vocabulary.update(A=1), "are not 0 to"),
        (lambda vocabulary: vocabulary.update(A=-1), "are not 0 to"),
        (lambda vocabulary: vocabulary.update(A=10**30), "are not 0 to"),
        (lambda vocabulary: vocabulary.update(A="0"), "the id '0', which is no integer"),
        (lambda vocabulary: vocabulary.update(A=True), "the id True, which is no integer"),
        (lambda vocabulary: vocabulary.update(A=1.0), "the id 1.0, which is no integer"),
        (lambda vocabulary: vocabulary.update({"two words": len(vocabulary)}), "damaged: "),
        (lambda vocabulary: vocabulary.update({"\ud800": len(vocabulary)}), "damaged: "),
    ],
)
def test_vocabularies_that_are_none(folder, change, message):
    without_checksums(folder)
    edit_json(folder / "vocab.json", change)
    with pytest.raises(InputError, match=message):
        load_tokenizer(folder)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda lines: [*lines, "one"], "is 'one' where two tokens were expected"),
        (lambda lines: [*lines, "a b c"], "is 'a b c' where two tokens"),
        (lambda lines: [*lines, "a "], "is 'a ' where two tokens"),
        (lambda lines: [*lines, "zz zz"], "needs the token 'zz', which the vocabulary lacks"),
        (lambda lines: lines[:-1], "come from no merge.*merges.txt may be cut short"),
    ],
)
def test_merges_that_are_none(tmp_path, change, message):
    train_tokenizer("bpe:300", [TEXT * 2]).save(tmp_path)
    without_checksums(tmp_path)
    path = tmp_path / "merges.txt"
    path.write_text("\n".join(change(path.read_text(encoding="utf-8").splitlines())), encoding="utf-8")
    with pytest.raises(InputError, match=message):
        load_tokenizer(tmp_path)


@pytest.mark.parametrize("special", ["<s>", [1], ["<lost>"]])
def test_special_tokens_that_are_none(tmp_path, special):
    train_tokenizer("bpe:300", [TEXT]).save(tmp_path)
    edit_json(tmp_path / "tokenizer_config.json", lambda config: config.update(additional_special_tokens=special))
    with pytest.raises(InputError, match="special"):
        load_tokenizer(tmp_path)


def test_the_wrong_class(tmp_path):
    train_tokenizer("char", [TEXT]).save(tmp_path)
    with pytest.raises(InputError, match="holds a CharacterTokenizer where a GPT2Tokenizer was expected"):
        ByteLevelBPETokenizer.load(tmp_path)
    train_tokenizer("bpe:300", [TEXT]).save(tmp_path)
    with pytest.raises(InputError, match="holds a GPT2Tokenizer where a CharacterTokenizer was expected"):
        CharacterTokenizer.load(tmp_path)


def test_a_place_that_cannot_be_written(tmp_path):
    (tmp_path / "file").write_text("here")
    for spec in ("char", "bpe:300"):
        with pytest.raises(InputError, match="cannot write"):
            train_tokenizer(spec, [TEXT]).save(tmp_path / "file")
    assert (tmp_path / "file").read_text() == "here"


def test_a_save_that_was_cut_off_is_noticed(tmp_path, monkeypatch):
    """One tokenizer saved over another of the same size; the power goes after the first file."""
    train_tokenizer("bpe:270", ["first text, first text, first text"]).save(tmp_path)
    storage = sys.modules["minilm.text.storage"]
    write = storage.write_text

    def only_the_vocabulary(path, text):
        if path.name != "vocab.json":
            raise KeyboardInterrupt
        write(path, text)

    monkeypatch.setattr(storage, "write_text", only_the_vocabulary)
    with pytest.raises(KeyboardInterrupt):
        train_tokenizer("bpe:270", ["other words, other words, other words"]).save(tmp_path)
    with pytest.raises(InputError, match=r"vocab.json is not as it was saved.*another tokenizer"):
        load_tokenizer(tmp_path)
