"""Whole jobs on small files: they learn, what they save opens again and says the same, LoRA trains the adapters alone."""

import json
import os
import signal

import numpy as np
import pytest
from finetune_files import (
    ALL,
    answering,
    classification,
    summarization,
    tagging,
    translation,
    write_papers,
    write_questions,
)

from minilm import (
    AutoModelForQuestionAnswering,
    AutoModelForSeq2SeqLM,
    AutoModelForSequenceClassification,
    AutoModelForTokenClassification,
    AutoTokenizer,
    GPT2Config,
    GPT2LMHeadModel,
)
from minilm.finetuning import finetune, prepare, running
from minilm.text import GPT2Tokenizer
from minilm.training import load_adapter

AUTO = {
    "classification": AutoModelForSequenceClassification,
    "tagging": AutoModelForTokenClassification,
    "qa": AutoModelForQuestionAnswering,
    "translation": AutoModelForSeq2SeqLM,
    "summarization": AutoModelForSeq2SeqLM,
}
FILES = {"model", "report.md", "report.json", "loss.png", "metrics.jsonl", "predictions.jsonl", ".lock"}


def run(options):
    return finetune(options, say=lambda line: None, progress=False)


def answers(folder):
    return [json.loads(line) for line in (folder / "predictions.jsonl").read_text("utf-8").splitlines()]


def predicted_again(folder, prepared):
    """The judgement of the saved model, opened anew, on the same test part."""
    model = AUTO[prepared.options.task].from_pretrained(folder / "model")
    tokenizer = AutoTokenizer.from_pretrained(folder / "model")
    task = prepared.task
    part = task.encode(prepared.test.examples, "test", tokenizer, prepared.max_length)
    batch = dict(task.collator(tokenizer, model)(part.rows))
    labels = [name for name in batch if name in ("labels", "start_positions", "end_positions", "decoder_input_ids")]
    given = {name: value for name, value in batch.items() if name not in labels}
    if task.generation():
        return task.judge(part, np.asarray(model.generate(**given, **task.generation())), tokenizer)
    outputs = model(**given)
    if prepared.options.task == "qa":
        return task.judge(part, (outputs.start_logits.data, outputs.end_logits.data), tokenizer)
    return task.judge(part, outputs.logits.data, tokenizer)


@pytest.mark.parametrize("task", ALL)
def test_a_job_from_nothing_writes_a_folder_that_opens_again_and_predicts_the_same(tmp_path, task):
    options = ALL[task](tmp_path)
    result = run(options)
    wanted = FILES | ({"confusion.png"} if task in ("classification", "tagging") else set())
    assert {path.name for path in result.folder.iterdir()} == wanted
    assert result.steps == 3
    for picture in result.folder.glob("*.png"):
        assert picture.read_bytes().startswith(b"\x89PNG")
    again = predicted_again(result.folder, prepare(options))
    assert [answer["predicted"] for answer in again.answers] == [a["predicted"] for a in answers(result.folder)]
    for name, interval in again.scores.items():
        assert interval.score == pytest.approx(result.judgement.scores[name].score)


@pytest.mark.parametrize("task", ALL)
def test_the_same_options_give_the_same_job(tmp_path, task):
    one, two = (prepare(ALL[task](tmp_path)) for _ in range(2))
    for part in ("training", "validation", "test"):
        assert getattr(one, part).rows == getattr(two, part).rows
        assert getattr(one, part).rows
    for name, array in one.model.state_dict().items():
        np.testing.assert_array_equal(array, two.model.state_dict()[name])
    other = prepare(ALL[task](tmp_path, split_seed=1))
    assert other.test.examples != one.test.examples


def test_it_learns_to_classify(tmp_path):
    result = run(classification(tmp_path, max_steps=30, learning_rate=2e-3, keep="best", evaluations=3))
    assert result.judgement.scores["accuracy"].score > 0.9
    assert not (result.folder / "checkpoints").exists()


def test_it_learns_to_tag(tmp_path):
    result = run(tagging(tmp_path, max_steps=30, learning_rate=2e-3))
    assert result.judgement.scores["entity F1"].score > 0.9


@pytest.mark.slow
def test_it_learns_to_answer_from_windows(tmp_path):
    options = answering(tmp_path, data=write_questions(tmp_path, 120), max_steps=150, learning_rate=1e-3)
    prepared = prepare(options)
    assert len(prepared.test.rows) > len(prepared.test.examples)  # some texts are several windows
    assert run(options).judgement.scores["exact match"].score > 0.6


@pytest.mark.slow
def test_it_learns_to_translate(tmp_path):
    result = run(translation(tmp_path, max_steps=120, learning_rate=3e-3))
    assert result.judgement.scores["chrF"].score > 25
    assert any("，" in answer["predicted"] for answer in answers(result.folder))


def test_a_translator_can_write_wide_commas(tmp_path):
    tokenizer = prepare(translation(tmp_path)).tokenizer
    text = "一个好的书，一"
    assert tokenizer.decode(tokenizer(text)["input_ids"], skip_special_tokens=True) == text


@pytest.mark.parametrize("task", ["classification", "qa", "translation"])
def test_lora_trains_the_adapters_and_the_new_head_alone(tmp_path, task):
    first = run(ALL[task](tmp_path, out=str(tmp_path / "base")))
    options = ALL[task](
        tmp_path, out=str(tmp_path / "lora"), model=str(first.folder / "model"), lora=2, learning_rate=0.05
    )
    before = prepare(options)
    result = run(options)
    report = json.loads((result.folder / "report.json").read_text())
    assert report["trained_parameters"] < report["parameters"] / 10
    adapter = json.loads((result.folder / "adapter" / "adapter_config.json").read_text())
    assert (adapter["r"], adapter["lora_alpha"]) == (2, 4)
    base = AUTO[task].from_pretrained(first.folder / "model").state_dict()
    saved = AUTO[task].from_pretrained(result.folder / "model")
    changed = {name for name, array in saved.state_dict().items() if not np.array_equal(array, base[name])}
    assert changed
    assert all(name.endswith(("query_key_value.weight", "query.weight", "key_value.weight"))
               or name.startswith(("classifier", "qa_outputs")) for name in changed)  # fmt: skip
    # the adapter on the base is the merged model
    adapted = AUTO[task].from_pretrained(first.folder / "model")
    load_adapter(adapted, result.folder / "adapter")
    batch = dict(before.collator(before.test.rows[:4]))
    ours, theirs = (model(**batch).loss.item() for model in (adapted, saved))
    assert ours == pytest.approx(theirs, rel=1e-4)


def test_a_model_goes_on_with_its_own_order_of_classes(tmp_path):
    first = run(classification(tmp_path, out=str(tmp_path / "one"), max_steps=30, learning_rate=2e-3))
    config = first.folder / "model" / "config.json"
    values = json.loads(config.read_text())
    assert values["label2id"] == {"neg": 0, "pos": 1}
    prepared = prepare(classification(tmp_path, model=str(first.folder / "model")))
    outputs = prepared.trainer().predict(prepared.test.rows)
    assert prepared.judge(outputs.predictions).scores["accuracy"].score > 0.8


def test_questions_without_answers(tmp_path):
    data = write_questions(tmp_path, 40, unanswered=3)
    result = run(answering(tmp_path, data=data, max_steps=3))
    told = answers(result.folder)
    assert any(answer["expected"] == "(no answer)" for answer in told)
    assert all(any(candidate["text"] == "" for candidate in answer["n_best"]) for answer in told)


def test_one_source_is_in_one_part_and_the_test_takes_all_its_translations(tmp_path):
    prepared = prepare(translation(tmp_path))
    parts = [
        {example.source for example in part.examples}
        for part in (prepared.training, prepared.validation, prepared.test)
    ]
    assert len(set.union(*parts)) == sum(map(len, parts))
    sources = [example.source for example in prepared.test.examples]
    assert len(set(sources)) == len(sources)
    assert any(len(example.references) > 1 for example in prepared.test.examples)


def test_files_of_their_own_limits_and_prefix(tmp_path):
    test, other = write_papers(tmp_path, 9, "test.tsv"), write_papers(tmp_path, 6, "validation.tsv")
    options = summarization(
        tmp_path, test=test, validation=other, max_train_examples=7, max_test_examples=5, prefix="sum: "
    )
    prepared = prepare(options)
    counts = [len(part.examples) for part in (prepared.training, prepared.validation, prepared.test)]
    assert counts == [7, 6, 5]
    first = prepared.tokenizer.decode(prepared.test.rows[0]["input_ids"], skip_special_tokens=True)
    assert first.startswith("sum: we saw")


def test_ctrl_c_ends_the_training_and_keeps_the_model(tmp_path, monkeypatch):
    class Interrupted(running.TrainingLines):
        def on_step_end(self, args, state, control, **kwargs):
            super().on_step_end(args, state, control, **kwargs)
            if state.global_step == 2:
                os.kill(os.getpid(), signal.SIGINT)

    monkeypatch.setattr(running, "TrainingLines", Interrupted)
    handler = signal.getsignal(signal.SIGINT)
    result = run(classification(tmp_path, max_steps=50))
    assert result.judgement is None
    assert result.received == signal.SIGINT
    assert result.steps in (2, 3)
    AutoModelForSequenceClassification.from_pretrained(result.folder / "model")
    assert not (result.folder / "report.md").exists()
    assert signal.getsignal(signal.SIGINT) is handler


def test_a_gpt_that_has_no_padding_classifies(tmp_path):
    folder = tmp_path / "gpt"
    tokenizer = GPT2Tokenizer.train(["a good film number 1 2 3 4 5 bad book"] * 3, vocab_size=280)
    config = GPT2Config(vocab_size=len(tokenizer), n_positions=48, n_embd=16, n_layer=1, n_head=2)
    GPT2LMHeadModel(config, np.random.default_rng(0)).save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    options = classification(tmp_path, model=str(folder))
    result = run(options)
    again = predicted_again(result.folder, prepare(options))
    assert [answer["predicted"] for answer in again.answers] == [a["predicted"] for a in answers(result.folder)]
