"""Whole jobs of `minilm pretrain`: what they learn, write, and what opens afterwards; interrupted and resumed."""

import json
import signal

import numpy as np
import pytest
from command_line import CommandLine
from pretrain_texts import write_text

from minilm import (
    AutoModelForCausalLM,
    AutoModelForMaskedLM,
    AutoModelForNextSentencePrediction,
    AutoModelForSeq2SeqLM,
    AutoTokenizer,
    pipeline,
)
from minilm.pretraining import BertOptions, GptOptions, T5Options, prepare, pretrain, resume, running

SMALL = {"batch_size": 8, "max_length": 24, "evaluations": 2, "resamples": 20, "shown": 1, "validation_fraction": 0.1}
FAMILIES = [(BertOptions, "wordpiece:120"), (T5Options, "unigram:200"), (GptOptions, "bpe:300")]
FILES = {"model", "pretraining.json", "report.md", "report.json", "loss.png", "metrics.jsonl"}


@pytest.fixture
def minilm(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    return CommandLine(tmp_path, capsys)


def job(kind, folder, **changes):
    """Do a small job without a word."""
    data = write_text(folder)
    options = kind(**{"data": [data], "out": str(folder / "out"), **SMALL, **changes})
    return pretrain(options, lambda line: None, progress=False)


def test_a_bert_from_the_command_line_to_its_use(minilm, tmp_path):
    write_text(tmp_path)
    line = (
        "pretrain bert --data text.txt --tokenizer wordpiece:120 --steps 25 --batch_size 8 --max_length 24 --evaluations 2 "
        "--resamples 20 --validation_fraction 0.1 --out a"
    )
    result = minilm(line)
    assert result.code == 0, result.err
    assert "hidden words: perplexity" in result.out
    assert "next sentence: accuracy" in result.out
    assert {path.name for path in (tmp_path / "a").iterdir()} - {".lock"} == FILES
    report = json.loads((tmp_path / "a/report.json").read_text("utf-8"))
    scores = report["scores"]
    assert scores["mlm loss"]["score"] < report["baseline"]["mlm"]["loss"]
    assert scores["mlm perplexity"]["score"] == pytest.approx(np.exp(scores["mlm loss"]["score"]))
    assert "[MASK]" in (tmp_path / "a/report.md").read_text("utf-8")

    assert AutoTokenizer.from_pretrained("a/model").model_max_length == 24
    assert AutoModelForNextSentencePrediction.from_pretrained("a/model").config.max_position_embeddings == 24
    answers = pipeline("fill-mask", model="a/model")("the [MASK] barks on day 3.")
    assert answers[0]["score"] > 1 / report["vocabulary"]
    again = minilm(line)
    assert (again.code, again.out) == (2, "")
    assert "a already has model in it; choose another --out" in again.err

    rows = "\n".join(f"the {thing} on day {n}\t{thing}" for n in range(12) for thing in ("cat", "dog"))
    (tmp_path / "things.tsv").write_text(f"text\tlabel\n{rows}\n", "utf-8")
    tuned = minilm("finetune classification --data things.tsv --model a/model --max_steps 2 --resamples 5 --quiet")
    assert tuned.code == 0, tuned.err


def test_a_t5(tmp_path):
    result = job(T5Options, tmp_path, tokenizer="unigram:200", steps=25)
    report = json.loads((tmp_path / "out/report.json").read_text("utf-8"))
    assert report["scores"]["span loss"]["score"] < report["baseline"]["span"]["loss"]
    assert "<extra_id_0>" in (tmp_path / "out/report.md").read_text("utf-8")
    model, tokenizer = (
        kind.from_pretrained(result.folder / "model") for kind in (AutoModelForSeq2SeqLM, AutoTokenizer)
    )
    assert tokenizer.convert_tokens_to_ids("<extra_id_0>") == len(tokenizer) - 1
    assert model.generation_config["decoder_start_token_id"] == tokenizer.pad_token_id
    ids = tokenizer("the dog <extra_id_0> on day 1.", return_tensors="np")["input_ids"]
    assert model.generate(ids, max_new_tokens=4).shape[0] == 1


def test_a_gpt(tmp_path):
    result = job(GptOptions, tmp_path, tokenizer="bpe:300", steps=20)
    report = json.loads((tmp_path / "out/report.json").read_text("utf-8"))
    assert report["scores"]["token loss"]["score"] < report["baseline"]["token"]["loss"]
    per_character = report["scores"]["token loss"]["score"] / np.log(2) / 2  # more than two characters a token
    assert 0 < report["bits_per_character"] < per_character
    model = AutoModelForCausalLM.from_pretrained(result.folder / "model")
    tokenizer = AutoTokenizer.from_pretrained(result.folder / "model")
    assert model.config.eos_token_id == tokenizer.eos_token_id
    write = pipeline("text-generation", model=str(result.folder / "model"), do_sample=False, max_new_tokens=3)
    assert write("the dog")[0]["generated_text"].startswith("the dog")


def test_without_next_sentences_any_text_will_do(tmp_path):
    (tmp_path / "flat.txt").write_text(" ".join(f"the cat sleeps on day {n % 7}." for n in range(200)), "utf-8")
    result = job(BertOptions, tmp_path, data=[str(tmp_path / "flat.txt")], nsp=False, tokenizer="wordpiece:80", steps=2)
    assert [name for name in result.scores if name.startswith("nsp")] == []
    assert type(AutoModelForMaskedLM.from_pretrained(result.folder / "model")).__name__ == "BertForMaskedLM"


@pytest.mark.parametrize(("kind", "tokenizer"), [*FAMILIES[:2], pytest.param(*FAMILIES[2], marks=pytest.mark.slow)])
def test_interrupted_and_resumed_it_has_the_same_bits(kind, tokenizer, tmp_path, monkeypatch):
    undisturbed, disturbed = tmp_path / "a", tmp_path / "b"
    for folder in (undisturbed, disturbed):
        folder.mkdir()
    options = {"tokenizer": tokenizer, "steps": 4, "evaluations": 2}
    whole = job(kind, undisturbed, **options)

    step_end = running.StopAndSave.on_step_end

    def interrupt(self, args, state, control, **kwargs):
        if state.global_step == 3:
            signal.raise_signal(signal.SIGINT)  # as Ctrl-C does
        step_end(self, args, state, control, **kwargs)

    monkeypatch.setattr(running.StopAndSave, "on_step_end", interrupt)
    stopped = job(kind, disturbed, **options)
    assert (stopped.steps, stopped.scores, stopped.received) == (3, None, signal.SIGINT)
    assert not (stopped.folder / "model").exists()
    monkeypatch.setattr(running.StopAndSave, "on_step_end", step_end)

    result = resume(stopped.folder, lambda line: None, progress=False)
    assert result.steps == 4
    assert result.scores == whole.scores
    for name in ("model.safetensors", "tokenizer.json", "tokenizer_config.json"):
        assert (result.folder / "model" / name).read_bytes() == (whole.folder / "model" / name).read_bytes(), name
    assert {path.name for path in result.folder.iterdir()} - {".lock"} == FILES


def test_resuming_from_the_command_line(minilm, tmp_path, monkeypatch):
    data = write_text(tmp_path)
    monkeypatch.setattr(
        running.StopAndSave, "on_step_end",
        lambda self, args, state, control, **kwargs: (
            setattr(self, "received", 2), setattr(control, "should_save", True), setattr(control, "should_training_stop", True)
        ),
    )  # fmt: skip
    line = "pretrain gpt --data text.txt --tokenizer bpe:300 --steps 3 --max_length 16 --resamples 5 --out runs/a"
    stopped = minilm(line)
    assert stopped.code == 130
    assert "minilm pretrain --resume runs/a" in stopped.out
    assert "go on with --resume runs/a" in minilm(line).err
    monkeypatch.undo()
    monkeypatch.chdir(tmp_path)

    text = (tmp_path / "text.txt").read_text("utf-8")
    (tmp_path / "text.txt").write_text(text.replace("cat", "cow"), "utf-8")
    other = minilm("pretrain --resume runs/a")
    assert other.code == 2
    assert "no longer gives the examples that this run was begun with" in other.err
    (tmp_path / "text.txt").write_text(text, "utf-8")
    result = minilm("pretrain gpt --resume runs/a --quiet")
    assert result.code == 0, result.err
    assert [line.split()[0] for line in result.out.splitlines()] == ["token"] * 3
    done = minilm("pretrain --resume runs/a")
    assert "is done: its model is runs/a/model" in done.err
    assert data


def test_a_failure_before_the_first_checkpoint_leaves_no_trace_and_a_later_one_the_checkpoint(tmp_path, monkeypatch):
    def fail(self, args, state, control, **kwargs):
        if state.global_step == self.fatal:
            raise MemoryError("none is left")

    monkeypatch.setattr(running.StopAndSave, "on_step_begin", fail, raising=False)
    for fatal, kept in ((1, False), (4, True)):
        monkeypatch.setattr(running.StopAndSave, "fatal", fatal, raising=False)
        with pytest.raises(MemoryError):
            job(GptOptions, tmp_path, tokenizer="bpe:300", steps=6, evaluations=3)
        assert (tmp_path / "out").exists() is kept
    assert [path.name for path in (tmp_path / "out/checkpoints").iterdir()] == ["checkpoint-2", "checkpoint-4"]


def test_evaluations_have_the_same_masks_and_leave_the_trainings_draws_alone(tmp_path):
    prepared = prepare(
        BertOptions(data=[write_text(tmp_path)], tokenizer="wordpiece:120", out=str(tmp_path / "a"), **SMALL)
    )
    trainer = prepared.trainer()
    before = trainer.data_collator.state_dict()
    first, second = trainer.evaluate(), trainer.evaluate()
    assert first["eval_loss"] == second["eval_loss"]
    assert trainer.data_collator.state_dict() == before


@pytest.mark.parametrize(("kind", "tokenizer"), FAMILIES)
def test_the_scores_are_those_of_the_models_own_loss(kind, tokenizer, tmp_path):
    """BERT: L = L_words + L_next. Where all rows are one batch, the parts add up to what the model returns."""
    options = {**SMALL, "batch_size": 64}
    prepared = prepare(kind(data=[write_text(tmp_path)], tokenizer=tokenizer, out=str(tmp_path / "a"), **options))
    assert len(prepared.validation) <= 64
    values = prepared.trainer().evaluate()
    parts = [value for name, value in values.items() if name.endswith("_loss") and name != "eval_loss"]
    assert len(parts) == (2 if kind is BertOptions else 1)
    assert sum(parts) == pytest.approx(values["eval_loss"], rel=1e-5)
    assert all(0 <= value <= 1 for name, value in values.items() if name.endswith("_accuracy"))
