"""What does not work is said in one sentence, with what to do; exit code 2, and nothing on the disk is created or changed."""

import os

import pytest
from command_line import TINY, CommandLine, refusal, some_text

CORPORA = {
    "empty.txt": (b"", "is empty; give a file with text in it"),
    "one.txt": (b"aaaa" * 100, "one character 'a' only"),
    "short.txt": (b"abcdefgh", "context_length 16 needs at least 17; use a longer text, or --model.context_length 6"),
    "two.txt": (b"ab", "use a longer text"),
    "split.txt": (b"abcdefgh" * 4, "the validation split has 4 tokens"),
    "binary.dat": (bytes(range(256)) * 20, "is no text file"),
    "utf16.txt": ("hello there\n".encode("utf-16") * 50, "looks like UTF-16; convert it first: iconv"),
    "latin1.txt": ("café au lait\n".encode("latin-1") * 50, "looks like LATIN1; convert it first: iconv"),
    "late.txt": (b"plain ascii words\n" * 90_000 + b"caf\xe9\n", "line 90,001"),
    "nul.txt": (b"text and more\n" * 9000 + b"a\0b", "a NUL byte at byte 126,001"),
}
CONFIGS = {
    "empty.yaml": (b"", "empty.yaml holds nothing where options were expected"),
    "list.yaml": (b"- 1\n- 2\n", "list.yaml holds a list where options were expected"),
    "words.yaml": (b"just words\n", "words.yaml holds a text where options were expected"),
    "broken.yaml": (b"corpus: t.txt\nmodel: [1, 2\nx: :\n", "broken.yaml, line 3 is not YAML"),
    "binary.yaml": (b"\xff\xfe\0\0", "binary.yaml is not a YAML file"),
    "control.yaml": (b"corpus: \x01\n", "control.yaml is not a YAML file"),
    "date.yaml": (b"corpus: 2024-99-99\n", "date.yaml is not a YAML file"),
    "unknown.yaml": (b"modle:\n  num_layers: 2\n", "unknown option modle; did you mean model?"),
    "inner.yaml": (b"model:\n  num_layer: 2\n", "model has an unknown option num_layer; did you mean num_layers?"),
    "strange.yaml": (b"training:\n  zzz: 2\n", "unknown option zzz; known are max_steps"),
    "number.yaml": (b"1: 2\n", "unknown option 1"),
    "word.yaml": (b"training:\n  max_steps: many\n", "max_steps is 'many', but must be a whole number"),
    "half.yaml": (b"training:\n  max_steps: 2.5\n", "max_steps is 2.5, but must be a whole number"),
    "bool.yaml": (b"training:\n  max_steps: true\n", "max_steps is True, but must be a whole number"),
    "rate.yaml": (b"training:\n  learning_rate: [1]\n", "learning_rate is [1], but must be a number"),
    "flat.yaml": (b"model: 3\n", "model holds the value 3 where options were expected"),
    "corpus.yaml": (b"corpus: 12\n", "corpus is 12, but must be a text"),
    "nan.yaml": (b"training:\n  learning_rate: .nan\n", "training.learning_rate is nan"),
    "inf.yaml": (b"training:\n  max_grad_norm: .inf\n", "training.max_grad_norm is inf"),
    "heads.yaml": (b"model:\n  hidden_size: 100\n  num_heads: 12\n", "not a multiple of num_heads 12; use 96 or 108"),
}
OPTIONS = {  # after `train --corpus t.txt`
    "--model.hidden_size 100 --model.num_heads 12": "hidden_size 100 is not a multiple of num_heads 12; use 96 or 108",
    "--model.num_heads 0": "model.num_heads is 0; it must be at least 1",
    "--model.num_kv_heads 3": "num_heads 2 is not a multiple of num_kv_heads 3",
    "--model.hidden_size 6 --model.positions rotary": "rotary positions need an even head size",
    "--model.num_layers -1": "model.num_layers is -1; it must be at least 1",
    "--model.dropout 1": "model.dropout is 1.0; it must be at least 0 and below 1",
    "--model.activation swish": "choose one of",
    "--model.vocab_size 3": "smaller than the tokenizer's",
    "--model.context_length 5000": "use a longer text, or --model.context_length 2699",
    "--training.max_steps 0": "training.max_steps is 0; it must be at least 1",
    "--training.batch_size 0": "training.batch_size is 0",
    "--training.seed -1": "training.seed is -1",
    "--training.learning_rate -1": "training.learning_rate is -1.0",
    "--training.learning_rate 1e-5": "above training.learning_rate 1e-05; lower the one, or raise the other",
    "--training.adam_epsilon -1": "training.adam_epsilon is -1.0",
    "--training.adam_beta2 1": "training.adam_beta2 is 1.0",
    "--training.optimizer adagrad": "choose one of adamw, adam, sgd",
    "--training.lr_scheduler_type step": "choose one of cosine, linear, constant",
    "--validation_fraction 0": "validation_fraction is 0.0",
    "--validation_fraction 0.001": "the validation split has 3 tokens",
    "--tokenizer words": 'available are "char" and "bpe:VOCAB"',
    "--tokenizer bpe": 'needs its number of tokens after "bpe:"',
    "--tokenizer bpe:many": 'needs its number of tokens after "bpe:"',
    "--tokenizer bpe:10": "too small",
    "--out t.txt": "choose another folder with --out",
    "--out t.txt/inside/it": "choose another folder with --out",
    "--out run": "already holds a run; continue it with --resume run, or choose another --out",
    "--out leftovers": "leftovers has checkpoints of something else in it",
    "--resume run --out other": "leave --out away",
    "--resume run --model.num_layers 2": "model.num_layers cannot change when a run is resumed: it is 1 in run, not 2",
    "--resume run --tokenizer bpe:300": "tokenizer cannot change when a run is resumed",
    "--resume run --training.max_steps 2": "run has reached step 6 already",
    "--resume run --training.optimizer sgd": "it was trained with AdamW, not SGD",
    "--resume t.txt": "give the folder that `minilm train` named",
    "--resume nowhere": "give the folder that `minilm train` named",
}
OTHERS = {
    "train --corpus nowhere.txt": "there is no file 'nowhere.txt'",
    "train --corpus tinyshakespear": "did you mean tinyshakespeare?",
    "train --corpus folder": "folder is a folder; give one text file",
    "train --config nowhere.yaml": "cannot read nowhere.yaml: No such file or directory",
    "train --config folder": "cannot read folder: Is a directory",
    "train --model words.txt": "--model wants a YAML file",
    "generate run --prompt 'Ä €'": "never saw 'Ä' (U+00C4), '€' (U+20AC)",
    "generate run --temperature -1": "temperature is -1.0; it must be at least 0",
    "generate run --top_k -1": "top_k is -1",
    "generate run --top-p 0": "top_p is 0.0",
    "generate run --max-new-tokens 0": "max_new_tokens is 0; it must be at least 1",
    "generate run --repetition_penalty 0": "repetition_penalty is 0.0",
    "generate run --seed -1": "--seed is -1; it must be 0 or more",
    "generate run --checkpoint newest": "choose best, last or one of 6",
    "generate run --checkpoint ²": "choose best, last or one of 6",
    "generate nowhere": "nowhere is not a run",
    "generate t.txt": "t.txt is not a run",
    "info folder": "folder is not a run",
    "evaluate nowhere --corpus t.txt": "nowhere is not a run",
    "evaluate run --corpus nowhere.txt": "there is no file",
    "evaluate run --corpus unseen.txt": "never saw 'É'",
    "evaluate run --corpus one-token.txt": "one character",
    "plot nowhere": "cannot read nowhere/metrics.jsonl",
    "plot run nowhere": "cannot read nowhere/metrics.jsonl",
    "plot run --out picture.xyz": "use .png, .svg or .pdf",
    "plot run --out picture": "use .png, .svg or .pdf",
    "plot run --out t.txt/picture.png": "cannot write t.txt/picture.png",
}


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A folder with a run and all these files. No test may change it; that is what they check."""
    folder = tmp_path_factory.mktemp("bad-input")
    for name, (data, _) in {**CORPORA, **CONFIGS}.items():
        (folder / name).write_bytes(data)
    for name, text in {"t.txt": some_text(), "unseen.txt": "É été", "one-token.txt": "a", "words.txt": "words"}.items():
        (folder / name).write_text(text, encoding="utf-8")
    (folder / "folder").mkdir()
    (folder / "leftovers" / "checkpoints").mkdir(parents=True)
    return folder


@pytest.fixture
def minilm(folder, monkeypatch, capsys):
    monkeypatch.chdir(folder)
    minilm = CommandLine(folder, capsys)
    if not (folder / "run").exists():
        assert minilm(f"train --corpus t.txt --out run {TINY} --quiet").code == 0
    return minilm


def refuses(minilm, line, says):
    before = minilm.snapshot()
    result = minilm(line)
    assert says in refusal(result)
    assert minilm.snapshot() == before
    return result


@pytest.mark.parametrize("name", CORPORA)
def test_a_corpus_that_cannot_be_learned_from(minilm, name):
    refuses(minilm, f"train --corpus {name} {TINY} --quiet", CORPORA[name][1])
    refuses(minilm, f"train --corpus {name} --out new/run {TINY} --quiet", CORPORA[name][1])


@pytest.mark.parametrize("name", [name for name in CORPORA if name not in ("short.txt", "two.txt", "split.txt")])
def test_a_corpus_that_cannot_be_measured(minilm, name):
    refuses(minilm, f"evaluate run --corpus {name}", CORPORA[name][1])


@pytest.mark.parametrize("name", CONFIGS)
def test_a_config_file_that_does_not_work(minilm, name):
    refuses(minilm, f"train --config {name} --corpus t.txt --training.max_steps 6 --quiet", CONFIGS[name][1])


@pytest.mark.parametrize("options", OPTIONS)
def test_train_options_that_do_not_work(minilm, options):
    corpus = "" if "--resume" in options else "--corpus t.txt " + TINY
    refuses(minilm, f"train {corpus} {options} --quiet", OPTIONS[options])


@pytest.mark.parametrize("line", OTHERS)
def test_what_else_does_not_work(minilm, line):
    result = refuses(minilm, line, OTHERS[line])
    assert result.out == ""


def test_a_failed_start_in_an_existing_folder_takes_away_only_its_own_files(minilm, folder):
    (folder / "mine").mkdir()
    (folder / "mine" / "notes.md").write_text("keep me")
    before = minilm.snapshot()
    refusal(minilm(f"train --corpus short.txt --out mine {TINY} --quiet"))
    assert minilm.snapshot() == before


@pytest.mark.skipif(
    not os.path.isdir("/proc/self"), reason="needs a place where nobody may make a folder: Linux' /proc"
)
def test_a_folder_that_nobody_may_write(minilm):
    refuses(minilm, f"train --corpus t.txt --out /proc/nowhere/run {TINY} --quiet", "choose another folder with --out")


@pytest.mark.skipif(not hasattr(os, "geteuid") or os.geteuid() == 0, reason="the superuser may write everywhere")
def test_a_folder_without_permission(minilm, folder):
    (folder / "closed").mkdir(mode=0o500)
    refuses(minilm, f"train --corpus t.txt --out closed/run {TINY} --quiet", "Permission denied")


@pytest.mark.parametrize("line", ["generate run --prompt Ä", "nonsense"])
def test_a_fresh_process_says_the_same(minilm, line):
    here, there = minilm(line), minilm.fresh(line)
    assert refusal(there) == here.err
    assert there.out == here.out
