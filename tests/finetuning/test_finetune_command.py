"""`minilm finetune`: its help, its complaints, what it prints."""

import json

import pytest
from command_line import CommandLine
from finetune_files import write_reviews, write_sentences

from minilm.cli_finetune import HELP
from minilm.finetuning import TASKS

TINY = "--vocab_size 120 --max_steps 3 --batch_size 8 --evaluations 1 --test_fraction 0.2 --resamples 20"


@pytest.fixture
def minilm(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    return CommandLine(tmp_path, capsys)


def test_the_overview_names_all_tasks(minilm):
    for line in ("finetune", "finetune --help"):
        result = minilm(line)
        assert result.code == 0
        assert all(task in result.out for task in TASKS)
    assert "finetune" in minilm("--help").out


@pytest.mark.parametrize("task", TASKS)
def test_each_help_teaches_with_examples_and_lists_the_options(minilm, task):
    result = minilm(f"finetune {task} --help")
    assert result.code == 0
    assert HELP[task] in result.out
    assert f"minilm finetune {task} --data" in result.out
    assert "--lora LORA" in result.out
    assert "the file with the training examples" in result.out


def test_a_job_and_what_it_prints(minilm, tmp_path):
    write_reviews(tmp_path)
    result = minilm(f"finetune classification --data reviews.tsv --out runs/a {TINY}")
    assert result.code == 0, result.err
    assert "Scores on 12 test examples" in result.out
    assert "Majority baseline" in result.out
    assert "Confusion matrix" in result.out
    report = json.loads((tmp_path / "runs/a/report.json").read_text("utf-8"))
    assert f"{report['scores']['accuracy']['score']:.3f}" in result.out
    again = minilm(f"finetune classification --data reviews.tsv --out runs/a {TINY}")
    assert (again.code, again.out.count("\n")) == (2, 0)
    assert "runs/a already has model in it" in again.err


def test_quiet_prints_the_scores_alone(minilm, tmp_path):
    write_sentences(tmp_path)
    result = minilm(f"finetune tagging --data names.conll --quiet --tag-column -1 {TINY}")
    assert result.code == 0, result.err
    assert [line.split()[0] for line in result.out.splitlines()] == ["entity", "entity", "entity", "word"]
    (folder,) = (tmp_path / "runs").iterdir()
    assert folder.name.startswith("tagging-")


def test_options_from_a_file(minilm, tmp_path):
    write_reviews(tmp_path)
    (tmp_path / "job.yaml").write_text(
        "data: reviews.tsv\nvocab_size: 120\nmax_steps: 2\nresamples: 20\ntest_fraction: 0.2\n"
    )
    result = minilm("finetune classification --config job.yaml --max_steps 1 --out a --quiet")
    assert result.code == 0, result.err
    options = json.loads((tmp_path / "a/report.json").read_text("utf-8"))["options"]
    assert (options["max_steps"], options["vocab_size"]) == (1, 120)


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("finetune clasification", "did you mean classification?"),
        ("finetune qa", "give the file with the examples: --data FILE"),
        ("finetune qa --data x.json --epoch 3", "did you mean --epochs?"),
        ("finetune qa --data x.json --epochs many", "--epochs wants a number, not many"),
        ("finetune tagging --data x.conll --scheme BILOU", "--scheme is one of BIO, IOB1, any, not BILOU"),
        ("finetune tagging --data x.conll", "there is no file"),
        ("finetune qa --data x.json extra", "one word too many"),
    ],
)
def test_complaints_are_one_sentence(minilm, line, message):
    result = minilm(line)
    assert result.code == 2
    assert message in result.err
    assert result.err.count("\n") == 1


def test_lora_on_layers_that_are_not_there(minilm, tmp_path):
    write_reviews(tmp_path)
    line = f"finetune classification --data reviews.tsv --out a --quiet --lora 2 {TINY} --lora_targets"
    for given in ("nothere", "query,nothere", "[nothere]"):
        result = minilm(f"{line} {given}")
        assert result.code == 2
        assert "no linear layer 'nothere'; it has classifier, dense, key, query, value" in result.err
    result = minilm(f"{line} query,key")
    assert result.code == 0, result.err
    config = json.loads((tmp_path / "a/adapter/adapter_config.json").read_text("utf-8"))
    assert {name.rpartition(".")[2] for name in config["target_modules"]} == {"query", "key"}
