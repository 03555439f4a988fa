"""The command line as a user meets it: what every command prints, and what it says about a typing error."""

import math
import re

import pytest
import yaml
from command_line import TINY, CommandLine, refusal, some_text

from minilm.cli_options import SUMMARIES, values_of, with_underscores
from minilm.training import read_metrics


@pytest.fixture
def minilm(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "t.txt").write_text(some_text())
    return CommandLine(tmp_path, capsys)


@pytest.fixture
def run(minilm):
    """A run folder, freshly trained."""
    assert minilm(f"train --corpus t.txt --out run {TINY} --quiet --training.save_steps 2").code == 0
    return minilm.folder / "run"


# --- help -------------------------------------------------------------------------------------------------------------


def test_without_arguments_there_is_help(minilm):
    result = minilm("")
    assert result.code == 0
    assert all(name in result.out for name in SUMMARIES)
    assert minilm("--help") == result


@pytest.mark.parametrize("name", SUMMARIES)
def test_every_command_has_help(minilm, name):
    result = minilm(f"{name} --help")
    assert (result.code, result.err) == (0, "")
    assert "usage: " in result.out
    assert f"minilm {name}" in result.out.replace("minilm.", "minilm ")


@pytest.mark.parametrize("name", SUMMARIES)
def test_no_help_text_has_a_hole(minilm, name):
    text = " ".join(minilm(f"{name} --help").out.split())
    assert not re.search(r"default: *\)", text)
    assert "default: null" not in text
    assert "==SUPPRESS==" not in text


def test_train_explains_all_its_options(minilm):
    text = minilm("train --help").out
    for option in re.findall(r"^  (--\S+) ", text, flags=re.MULTILINE):
        start = text.index(f"  {option} ")
        explained = text[start:].split("\n  --")[0].split(maxsplit=2)[2]
        assert len(explained.split()) >= 4, option


def test_version(minilm):
    assert re.fullmatch(r"minilm \d+\.\d+\.\d+\n", minilm("--version").out)


# --- typing errors ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("line", "says"),
    [
        ("trian", "did you mean train?"),
        ("nonsense", "choose one of train, generate"),
        ("--loud", "there is no option --loud"),
        ("train --model.num_layer 3", "did you mean --model.num_layers?"),
        ("train --model.num-layers=2 --model.hidden_sise=16", "did you mean --model.hidden_size?"),
        ("train --bogus 3", "there is no option --bogus"),
        ("train --corpus", "--corpus wants a value"),
        ("train --training.max_steps many", "--training.max_steps wants a whole number, not many"),
        ("train --training.learning_rate fast", "--training.learning_rate wants a number, not fast"),
        ("train --model.bias maybe", "--model.bias wants true or false, not maybe"),
        ("generate", "missing: RUN"),
        ("generate run --prompt the quick fox", "a text of several words goes in quotes"),
        ("generate run --max-new-token 5", "did you mean --max_new_tokens?"),
        ("generate run --seed x", "--seed wants a whole number, not x"),
        ("generate run --stop_ids 5", "--stop_ids wants a list such as [1, 2], not 5"),
        ("generate run --prompt -x", "written --prompt=VALUE"),
        ("evaluate run", "missing: --corpus"),
        ("plot", "missing: RUN"),
        ("info run extra", "'extra' is one word too many"),
        ("doctor --loud", "there is no option --loud"),
    ],
)
def test_a_typing_error_is_explained_and_points_to_help(minilm, line, says):
    before = minilm.snapshot()
    error = refusal(minilm(line))
    assert says in error
    assert re.search(r"\(see minilm ([a-z]+ )?--help\)$", error.strip())
    assert minilm.snapshot() == before


def test_dashes_and_underscores_are_the_same_in_options_only():
    assert with_underscores("--max-new-tokens") == "--max_new_tokens"
    assert with_underscores("--prompt=well-known") == "--prompt=well-known"
    assert with_underscores("well-known") == "well-known"
    assert with_underscores("-x-y") == "-x-y"


def test_values_of_an_option():
    arguments = ["--config", "a", "--x", "--config=b", "--configs", "c", "--config"]
    assert list(values_of("--config", arguments)) == ["a", "b"]


# --- train ------------------------------------------------------------------------------------------------------------


def test_a_run_ends_with_loss_perplexity_sample_folder_and_the_next_command(minilm):
    result = minilm(f"train --corpus t.txt --out my-run {TINY}")
    assert result.code == 0
    records = read_metrics(minilm.folder / "my-run" / "metrics.jsonl")
    final = records[-1]
    assert final["event"] == "final"
    assert f"validation loss {final['validation_loss']:.3f} nats per token" in result.out
    assert f"perplexity      {math.exp(final['validation_loss']):.2f}" in result.out
    assert f"(a bigram model: {math.exp(final['bigram_loss']):.2f})" in result.out
    sample = result.out.partition("A sample:\n\n")[2].partition("\n\nrun folder")[0]
    assert len(sample) == 300
    assert "run folder      my-run   (loss curve: my-run/loss.png)" in result.out
    following = re.search(r"^next +minilm (.*)$", result.out, flags=re.MULTILINE)[1]
    assert minilm(following).code == 0  # the command works as it is printed, also for a text without capitals
    assert len(re.findall(r"^step +6 ", result.out, flags=re.MULTILINE)) == 1


def test_quiet_prints_the_result_only(minilm):
    result = minilm(f"train --corpus t.txt --out run {TINY} --quiet")
    assert [line.split()[0] for line in result.out.splitlines()] == ["validation", "perplexity", "run", "next"]
    assert result.err == ""


def test_a_config_file_and_options_that_override_it(minilm):
    (minilm.folder / "run.yaml").write_text(
        "corpus: t.txt\nmodel:\n  num_layers: 2\n  hidden_size: 8\n  num_heads: 2\n  context_length: 8\n"
        "training:\n  max_steps: 3\n  learning_rate: 1e-2\n"
    )
    assert minilm("train --config run.yaml --model.num_layers 1 --out run --quiet").code == 0
    saved = yaml.safe_load((minilm.folder / "run" / "config.yaml").read_text())
    assert (saved["model"]["num_layers"], saved["model"]["hidden_size"]) == (1, 8)
    assert (saved["training"]["max_steps"], saved["training"]["learning_rate"]) == (3, 0.01)


def test_the_printed_config_is_a_config_file(minilm):
    printed = minilm("train --corpus t.txt --print_config --training.max_steps 3 --model.hidden-size 8").out
    assert yaml.safe_load(printed)["model"]["hidden_size"] == 8
    (minilm.folder / "run.yaml").write_text(printed)
    assert minilm("train --config run.yaml --print_config").out == printed
    assert not (minilm.folder / "runs").exists()


def test_a_runs_own_config_makes_the_same_run(minilm, run):
    assert minilm("train --config run/config.yaml --out again --quiet").code == 0
    step = "checkpoints/step-000006/model.safetensors"
    assert (minilm.folder / "again" / step).read_bytes() == (run / step).read_bytes()


def test_without_out_a_folder_is_made_for_every_run(minilm):
    for _ in range(2):
        assert minilm(f"train --corpus t.txt --quiet {TINY}").code == 0
    folders = sorted((minilm.folder / "runs").iterdir())
    assert len(folders) == 2
    assert all(re.fullmatch(r"t-\d{8}-\d{6}(-\d+)?", folder.name) for folder in folders)


def test_a_byte_pair_run(minilm):
    result = minilm(f"train --corpus t.txt --tokenizer bpe:300 --out run --quiet {TINY}")
    assert result.code == 0, result.err
    assert (minilm.folder / "run" / "tokenizer" / "merges.txt").is_file()
    written = minilm(
        "generate run --prompt 'Übung €' --max-new-tokens 4 --seed 1"
    )  # bytes can encode what was never seen
    assert written.code == 0
    assert written.out.startswith("Übung €")


def test_a_corpus_by_name(minilm):
    result = minilm(f"train --out run {TINY} --quiet --training.eval_tokens 500 --validation_fraction 0.01")
    assert result.code == 0, result.err
    assert "corpus: python-reference" in (minilm.folder / "run" / "config.yaml").read_text()


def test_a_corpus_from_the_data_folder(minilm, data_folder):
    result = minilm(f"train --corpus tinyshakespeare --out run {TINY} --quiet --validation_fraction 0.01")
    assert result.code == 0, result.err


def test_a_model_padded_to_a_round_vocabulary_writes_only_what_can_be_decoded(minilm):
    assert minilm(f"train --corpus t.txt --out run {TINY} --model.vocab_size 256").code == 0
    assert minilm("generate run --max-new-tokens 50 --seed 1").code == 0


def test_too_little_memory_is_one_sentence_and_leaves_nothing(minilm):
    before = minilm.snapshot()
    error = refusal(minilm(f"train --corpus t.txt --out run {TINY} --quiet --model.vocab_size 10000000000000"))
    assert "not enough memory" in error
    assert "smaller model" in error
    assert minilm.snapshot() == before


# --- generate, evaluate, plot, info, doctor, corpora ---------------------------------------------------------------------


def test_the_same_seed_gives_the_same_text(minilm, run):
    line = "generate run --prompt 'the ' --max-new-tokens 30 --temperature 0.8 --top-k 10 --top-p 0.95 --seed 1"
    first = minilm(line)
    assert first.code == 0
    assert first.out.startswith("the ")
    assert len(first.out) == len("the ") + 30 + 1
    assert minilm(line) == first
    assert minilm(line.replace("-k", "_k").replace("max-new-tokens", "max_new_tokens")) == first
    assert minilm(line.replace("--seed 1", "--seed 2")) != first
    assert minilm(line + " --use_cache false") == first


def test_temperature_zero_needs_no_seed(minilm, run):
    line = "generate run --prompt 'the ' --temperature 0 --max-new-tokens 20"
    assert minilm(line) == minilm(line)


@pytest.mark.parametrize("prompt", ["''", "'\n'", "the", "x"])
def test_prompts(minilm, run, prompt):
    result = minilm(f"generate run --prompt {prompt} --max-new-tokens 5 --seed 1")
    assert (result.code, result.err) == (0, "")
    assert len(result.out) == len(prompt.strip("'")) + 6


def test_a_vocabulary_without_a_line_break_still_writes(minilm):
    (minilm.folder / "one-line.txt").write_text("abcdefgh" * 100)
    assert minilm(f"train --corpus one-line.txt --out run {TINY}").code == 0
    assert minilm("generate run --max-new-tokens 5").code == 0


def test_checkpoints_by_name_and_number(minilm, run):
    shown = {which: minilm(f"info run --checkpoint {which}").out.splitlines()[0] for which in ("best", "last", 4, 6)}
    assert shown["last"] == shown[6] == "run         run, step 6 of 6"
    assert shown[4] == "run         run, step 4 of 6"
    error = refusal(minilm("generate run --checkpoint 99"))
    assert "choose best, last or one of 4, 6" in error


def test_evaluate(minilm, run):
    result = minilm("evaluate run --corpus t.txt")
    values = dict(line.split(maxsplit=1) for line in result.out.replace("bits per character", "bits").splitlines())
    loss = float(values["loss"].split()[0])
    assert f"({2999:,} tokens predicted)" in values["corpus"]
    assert float(values["perplexity"]) == pytest.approx(math.exp(loss), rel=1e-3)
    assert float(values["bits"]) == pytest.approx(loss / math.log(2), rel=1e-3)


def test_plot_compares_runs(minilm, run):
    minilm(f"train --corpus t.txt --out other {TINY} --quiet")
    assert minilm("plot run other --out both.png").out == "both.png\n"
    picture = (minilm.folder / "both.png").read_bytes()
    assert picture.startswith(b"\x89PNG\r\n\x1a\n")
    assert len(picture) > 10_000
    assert minilm("plot run --out new/one.svg").code == 0
    assert b"<svg" in (minilm.folder / "new" / "one.svg").read_bytes()


def test_info_is_a_table_with_parameters_cost_and_memory(minilm, run):
    text = minilm("info run").out
    assert "token_embedding.weight" in text
    assert "16 × 16" in text
    assert "FLOPs per token" in text
    assert "memory for training" in text


def test_doctor_names_what_is_there_and_what_to_install(minilm):
    result = minilm("doctor")
    assert result.code == 0
    for word in ("numpy", "BLAS", "threads", "matplotlib", "safetensors", "numba", "cupy", "MINILM_DATA"):
        assert word in result.out
    for line in result.out.splitlines():
        assert not line.startswith("  missing") or "pip install" in line


def test_corpora_lists_name_and_licence(minilm):
    lines = minilm("corpora").out.splitlines()
    assert any(line.startswith("python-reference ") and "PSF" in line for line in lines)
    assert any(line.startswith("tinyshakespeare ") for line in lines)


def test_bench_names_its_benchmarks(minilm):
    assert all(name in minilm("bench --help").out for name in ("train", "decode", "startup", "memory"))
    assert minilm("bench nonsense").code == 2
