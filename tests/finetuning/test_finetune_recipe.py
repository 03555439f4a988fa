"""What a job is told about its recipe and about a new model reaches the training and the saved folder."""

import json

import numpy as np
import pytest
from finetune_files import ALL, answering, classification, summarization, translation, write_pairs

from minilm import AutoModelForSeq2SeqLM, AutoTokenizer, MarianMTModel, PegasusForConditionalGeneration, pipeline
from minilm.errors import InputError
from minilm.finetuning import finetune, prepare
from minilm.nn import Dropout

SHAPE = {"hidden_size": 48, "num_hidden_layers": 1, "num_attention_heads": 3, "intermediate_size": 20}
KINDS = {"transformer": MarianMTModel, "transformer_pre_norm": PegasusForConditionalGeneration}


def rates(folder, **options):
    """The learning rates of ten steps, from the log."""
    options = classification(folder, max_steps=10, learning_rate=1e-3, warmup_ratio=0.2, **options)
    trainer = prepare(options).trainer()
    trainer.train()
    return [line["learning_rate"] for line in trainer.state.log_history if "learning_rate" in line]


def test_the_scheduler_bends_the_learning_rate(tmp_path):
    shares = np.arange(8) / 8  # of the eight steps behind the warm-up
    wanted = {"linear": 1 - shares, "cosine": (1 + np.cos(np.pi * shares)) / 2, "constant": np.ones(8)}
    for name, factors in wanted.items():
        expected = [0, 0.5e-3, *(1e-3 * factors)]
        got = rates(tmp_path, scheduler=name)
        assert got == pytest.approx(expected[-len(got) :], abs=1e-6), name
        assert len(got) >= 9


@pytest.mark.parametrize("task", ["classification", "tagging", "translation"])
def test_smoothed_labels_cost_the_certain_more(tmp_path, task):
    """The first loss of the same weights and batch: − (1 − ε) log p − ε mean log p, which exceeds − log p for good guesses."""
    losses = []
    for smoothing in (0.0, 0.3):
        prepared = prepare(ALL[task](tmp_path, label_smoothing=smoothing, dropout=0.0))
        trainer = prepared.trainer()
        trainer.prepare()
        batch = trainer.next_batches()[0][0]
        losses.append(float(trainer.compute_loss(prepared.model.train(), dict(batch)).item()))
        logits = prepared.model.eval()(**batch).logits.data.astype(np.float64)
    labels = np.asarray(batch["labels"])
    log_p = logits - np.log(np.exp(logits).sum(-1, keepdims=True))
    counted = labels >= 0
    right = np.take_along_axis(log_p, np.maximum(labels, 0)[..., None], -1)[..., 0][counted].mean()
    assert losses[0] == pytest.approx(-right, rel=1e-4)
    assert losses[1] == pytest.approx(-0.7 * right - 0.3 * log_p[counted].mean(), rel=1e-4)


def test_qa_has_no_labels_to_smooth(tmp_path):
    with pytest.raises(InputError, match="label_smoothing is for tasks with labels"):
        prepare(answering(tmp_path, label_smoothing=0.1))


@pytest.mark.parametrize("model_type", ["t5", *KINDS])
def test_dropout_and_shape_of_a_new_writer(tmp_path, model_type):
    model = prepare(translation(tmp_path, model_type=model_type, dropout=0.25, **SHAPE)).model
    assert {module.p for module in model.modules() if isinstance(module, Dropout)} == {0.25}
    config = model.config
    assert (config.hidden_size, config.num_hidden_layers, config.num_attention_heads) == (48, 1, 3)
    assert len(model.encoder.blocks) == len(model.decoder.blocks) == 1
    assert model.encoder.blocks[0].feed_forward.up.weight.shape == (20, 48)


def test_dropout_and_shape_of_a_new_encoder(tmp_path):
    config = prepare(classification(tmp_path, dropout=0.25, **SHAPE)).model.config
    assert {name: getattr(config, name) for name in SHAPE} == SHAPE
    assert config.hidden_dropout_prob == config.attention_probs_dropout_prob == 0.25


def test_dropout_of_a_pretrained_model_and_its_own_shape(tmp_path):
    finetune(classification(tmp_path), say=lambda line: None, progress=False)
    pretrained = str(tmp_path / "out" / "model")
    for dropout, wanted in ((0.3, 0.3), (None, 0.1)):
        job = prepare(classification(tmp_path, model=pretrained, dropout=dropout, out=str(tmp_path / "b")))
        assert {module.p for module in job.model.modules() if isinstance(module, Dropout)} == {wanted}
    for name, value in SHAPE.items():
        with pytest.raises(InputError, match=f"{name} is for a new model"):
            prepare(classification(tmp_path, model=pretrained, **{name: value}))


@pytest.mark.parametrize("make", [translation, summarization])
@pytest.mark.parametrize("model_type", KINDS)
def test_a_transformer_from_nothing_opens_again_and_writes_the_same(tmp_path, model_type, make):
    options = make(tmp_path, model_type=model_type, num_hidden_layers=1)
    result = finetune(options, say=lambda line: None, progress=False)
    folder = result.folder / "model"
    model, tokenizer = AutoModelForSeq2SeqLM.from_pretrained(folder), AutoTokenizer.from_pretrained(folder)
    assert type(model) is KINDS[model_type]
    lines = [json.loads(line) for line in (result.folder / "predictions.jsonl").read_text("utf-8").splitlines()]
    written = pipeline(options.task, folder)([line["text"] for line in lines], truncation=True)
    key = "summary_text" if options.task == "summarization" else "translation_text"
    assert [one[key].strip() for one in written] == [line["predicted"] for line in lines]
    one = model.generate(**tokenizer(lines[0]["text"], return_tensors="np"))
    assert tokenizer.batch_decode(one, skip_special_tokens=True)[0].strip() == lines[0]["predicted"]


def test_a_transformer_learns_its_pairs(tmp_path):
    data = write_pairs(tmp_path)
    options = translation(
        tmp_path, data=data, test=data, validation_fraction=0, model_type="transformer", hidden_size=64, max_steps=150,
        learning_rate=3e-3, dropout=0.0, beams=1,
    )  # fmt: skip
    answers = finetune(options, say=lambda line: None, progress=False).judgement.answers
    ends = ("，一", "。一")  # which of the two is chance
    right = [any(one["predicted"] == text[:-2] + end for text in one["expected"] for end in ends) for one in answers]
    assert np.mean(right) > 0.9


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"model_type": "marian"}, "model_type is 'marian'; choose one of t5, transformer, transformer_pre_norm"),
        ({"model_type": "transformer", "model": "some-folder"}, "model_type is for a new model, and some-folder is"),
        ({"hidden_size": 30, "num_attention_heads": 4}, "hidden_size is 30, which 4 heads cannot share evenly"),
        ({"hidden_size": 0}, "hidden_size is 0; it must be at least 1"),
        ({"dropout": 1.0}, "dropout is 1.0; it must be at least 0 and below 1"),
        ({"label_smoothing": -0.1}, "label_smoothing is -0.1"),
        ({"scheduler": "polynomial"}, "scheduler is 'polynomial'; choose one of linear, cosine, constant"),
        ({"model_type": "transformer", "hidden_size": 15, "num_attention_heads": 5}, "must be even"),
    ],
)
def test_wrong_values_are_refused_before_anything_is_written(tmp_path, options, message):
    with pytest.raises(InputError) as error:
        finetune(translation(tmp_path, **options), say=lambda line: None, progress=False)
    assert message in str(error.value)
    assert not (tmp_path / "out").exists()
