"""A run folder that something happened to: every command says what is damaged and what to do, and changes nothing."""

import json
import shutil

import pytest
from command_line import TINY, CommandLine, refusal, run_here, some_text

from minilm.training import load_checkpoint

LAST = "checkpoints/step-000006"
READERS = ("generate run --max-new-tokens 3", "evaluate run --corpus t.txt", "info run")
RESUME = "train --resume run --quiet --training.max_steps 8"
ALL = (*READERS, RESUME)


@pytest.fixture(scope="module")
def originals(tmp_path_factory):
    """A folder with a text and two runs of models of different width, which the tests copy."""
    folder = tmp_path_factory.mktemp("originals")
    (folder / "t.txt").write_text(some_text())
    for name, width in (("run", 16), ("wide", 32)):
        options = TINY.replace("hidden_size 16", f"hidden_size {width}")
        # best is the last: the loss still falls
        assert run_here(folder, f"train --corpus t.txt --out {name} {options} --training.save_steps 3 --quiet") == 0
    return folder


@pytest.fixture
def minilm(originals, tmp_path, monkeypatch, capsys):
    shutil.copytree(originals, tmp_path, dirs_exist_ok=True)
    monkeypatch.chdir(tmp_path)
    return CommandLine(tmp_path, capsys)


def truncate(path):
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])


def flip_a_bit(path):
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 4
    path.write_bytes(bytes(data))


def edit_json(path, **changes):
    path.write_text(json.dumps({**json.loads(path.read_text()), **changes}))


def overwrite(text):
    return lambda path: path.write_bytes(text)


def replace_text(old, new):
    return lambda path: path.write_text(path.read_text().replace(old, new))


def a_newer_version(path):
    edit_json(path, format_version=99)


def of_the_other_run(path):
    run = next(parent for parent in path.parents if parent.name == "run")
    other = run.parent / "wide" / path.relative_to(run)
    shutil.rmtree(path)
    shutil.copytree(other, path)


def remove(path):
    shutil.rmtree(path) if path.is_dir() else path.unlink()


DAMAGE = {  # what is damaged, how, which commands notice, what they say
    "weights-truncated": (f"{LAST}/model.safetensors", truncate, READERS, "model.safetensors is damaged"),
    "weights-flipped": (f"{LAST}/model.safetensors", flip_a_bit, READERS, "model.safetensors is damaged"),
    "weights-missing": (f"{LAST}/model.safetensors", remove, READERS, "cannot read run/checkpoints/step-000006/model"),
    "state-truncated": (f"{LAST}/state.json", truncate, READERS, "state.json is damaged"),
    "state-flipped": (f"{LAST}/state.json", replace_text('"step": 6', '"step": 7'), READERS, "state.json is damaged"),
    "state-missing": (f"{LAST}/state.json", remove, READERS, "is not a checkpoint: it has no state.json"),
    "newer-checkpoint": (f"{LAST}/state.json", a_newer_version, READERS, "upgrade with pip install -U minilm"),
    "another-model": (LAST, of_the_other_run, ALL, "of another model"),
    "no-checkpoints": ("checkpoints", remove, READERS, "train for at least one step first"),
    "vocabulary-truncated": ("tokenizer/vocab.json", truncate, ALL, "vocab.json is not as it was saved"),
    "vocabulary-edited": ("tokenizer/vocab.json", replace_text('"a"', '"ä"'), ALL, "vocab.json is not as it was saved"),
    "vocabulary-missing": ("tokenizer/vocab.json", remove, ALL, "vocab.json does not exist"),
    "tokenizer-truncated": ("tokenizer/tokenizer_config.json", truncate, ALL, "not valid JSON"),
    "newer-tokenizer": ("tokenizer/tokenizer_config.json", a_newer_version, ALL, "written by a newer minilm"),
    "tokenizer-missing": ("tokenizer", remove, ALL, "tokenizer_config.json does not exist"),
    "config-missing": ("config.yaml", remove, ALL, "it has no config.yaml; give the folder that `minilm train` named"),
    "config-empty": ("config.yaml", overwrite(b""), ALL, "config.yaml holds nothing where options were expected"),
    "config-binary": ("config.yaml", overwrite(b"\xff\xfe\0"), ALL, "config.yaml is not a YAML file"),
    "config-broken": ("config.yaml", overwrite(b"model: [1,\n"), ALL, "is not YAML"),
    "config-unknown": ("config.yaml", replace_text("dropout", "dropuot"), ALL, "did you mean dropout?"),
    "config-mistyped": ("config.yaml", replace_text("num_layers: 1", "num_layers: x"), ALL, "must be a whole number"),
    "config-heads": (
        "config.yaml",
        replace_text("num_heads: 2", "num_heads: 5"),
        ALL,
        "hidden_size 16 is not a multiple",
    ),
    "config-other": ("config.yaml", replace_text("hidden_size: 16", "hidden_size: 32"), ALL, "of another model"),
    "config-activation": ("config.yaml", replace_text("activation: gelu", "activation: relu"), ALL, "of another model"),
    "log-damaged": ("metrics.jsonl", replace_text('"step": 1,', '"step": 1'), ("plot run", RESUME), "line 1"),
    "log-binary": (
        "metrics.jsonl",
        lambda p: p.write_bytes(b"\xff\0\n" + p.read_bytes()),
        ("plot run", RESUME),
        "line 1",
    ),
    "log-odd": (
        "metrics.jsonl",
        replace_text('"loss": ', '"loss": "x", "y": '),
        ("plot run", RESUME),
        "remove that line",
    ),
    "log-no-step": ("metrics.jsonl", replace_text('"step"', '"stop"'), ("plot run", RESUME), "remove that line"),
    "log-empty": ("metrics.jsonl", overwrite(b""), ("plot run",), "has no steps in its metrics log yet"),
    "corpus-changed": (
        "../t.txt",
        lambda p: p.write_text(p.read_text() + "a"),
        (RESUME,),
        "t.txt has changed since run",
    ),
    "corpus-gone": ("../t.txt", remove, (RESUME,), "there is no file 't.txt'"),
}


@pytest.mark.parametrize("name", DAMAGE)
def test_damage_is_named(minilm, name):
    path, damage, commands, says = DAMAGE[name]
    path = (minilm.folder / "run" / path).resolve()
    before = minilm.snapshot()
    damage(path)
    after = minilm.snapshot()
    assert after != before
    for line in commands:
        assert says in refusal(minilm(line)), line
        assert minilm.snapshot() == after, line


@pytest.mark.parametrize("damage", [truncate, flip_a_bit, a_newer_version, remove], ids=lambda f: f.__name__)
def test_a_resumed_run_goes_back_to_the_newest_whole_checkpoint_and_says_so(minilm, damage):
    expected = load_checkpoint(minilm.folder / "run" / LAST)
    damage(minilm.folder / "run" / LAST / "state.json")
    result = minilm("train --resume run --quiet")
    assert result.code == 0
    assert result.err.startswith("minilm: warning: run/checkpoints/step-000006")
    assert result.err.endswith("going on from step-000003\n")
    again = load_checkpoint(minilm.folder / "run" / LAST)
    for name, array in {**expected.weights, **expected.optimizer}.items():
        assert array.tobytes() == {**again.weights, **again.optimizer}[name].tobytes()


def test_no_whole_checkpoint_at_all(minilm):
    for name in ("step-000003", "step-000006"):
        truncate(minilm.folder / "run" / "checkpoints" / name / "model.safetensors")
    before = minilm.snapshot()
    assert "step-000006/model.safetensors is damaged" in refusal(minilm(RESUME))
    assert minilm.snapshot() == before


def test_an_earlier_checkpoint_can_be_chosen(minilm):
    flip_a_bit(minilm.folder / "run" / LAST / "model.safetensors")
    assert minilm("generate run --checkpoint 3 --max-new-tokens 3").code == 0


def test_what_is_not_needed_may_be_damaged(minilm):
    flip_a_bit(minilm.folder / "run" / LAST / "optimizer.safetensors")
    assert all(minilm(line).code == 0 for line in READERS)


def test_a_log_cut_short_by_a_crash_is_no_damage(minilm):
    log = minilm.folder / "run" / "metrics.jsonl"
    log.write_bytes(log.read_bytes()[:-20])
    assert minilm("plot run").code == 0
    assert minilm(RESUME).code == 0


@pytest.mark.parametrize("damage", [truncate, remove], ids=lambda f: f.__name__)
def test_a_damaged_token_file_is_written_anew(minilm, damage):
    (path,) = (minilm.folder / "run" / "tokens").glob("*.npy")
    whole = path.read_bytes()
    damage(path)
    assert minilm(RESUME).code == 0
    assert path.read_bytes() == whole
