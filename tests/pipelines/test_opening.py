"""pipeline(): which task, model and tokenizer it finds, and what it says where one is missing."""

import numpy as np
import pipeline_models as models
import pytest

from minilm import InputError, pipeline
from minilm.pipelines import MODULES, Pipeline


@pytest.fixture(scope="module")
def folder(tmp_path_factory, classifier, words):
    return models.saved(tmp_path_factory.mktemp("classifier"), classifier, words)


def test_a_folder_is_model_and_tokenizer(folder, classifier, words):
    from_folder = pipeline("text-classification", model=folder)
    assert from_folder("the cat") == pipeline("text-classification", classifier, words)("the cat")
    assert pipeline("text-classification", str(folder), tokenizer=str(folder))("the cat") == from_folder("the cat")


def test_the_other_names_of_a_task(folder, tagger, words, translator, pieces):
    assert pipeline("sentiment-analysis", folder)("the cat") == pipeline("text-classification", folder)("the cat")
    assert pipeline("ner", tagger, words)("Ann") == pipeline("token-classification", tagger, words)("Ann")
    found = pipeline("translation_en_to_zh", translator, pieces, max_new_tokens=2)("the end")
    assert list(found[0]) == ["translation_text"]


def test_the_task_is_told_from_the_model(folder, masked, writer, translator, tagger, answerer, words):
    assert pipeline(model=folder).task == "text-classification"
    for model, task in (
        (masked, "fill-mask"), (writer, "text-generation"), (translator, "text2text-generation"),
        (tagger, "token-classification"), (answerer, "question-answering"), (models.bert("BertModel"), "feature-extraction"),
    ):  # fmt: skip
        assert pipeline(model=model, tokenizer=words).task == task
    with pytest.raises(InputError, match="does not say what it is for; give task="):
        pipeline(model=models.bert("BertForNextSentencePrediction"), tokenizer=words)


def test_an_unknown_task_lists_those_that_there_are(folder):
    with pytest.raises(
        InputError, match=r"no task 'sentiment'; minilm has feature-extraction, fill-mask, .* ner, transl"
    ):
        pipeline("sentiment", model=folder)


def test_a_model_of_the_wrong_kind(folder, masked, words, tmp_path, writer, letters):
    with pytest.raises(
        InputError, match="fill-mask needs a model with another head than GPT2LMHeadModel has; give one of B"
    ):
        pipeline("fill-mask", writer, letters)
    models.saved(tmp_path, writer, letters)
    with pytest.raises(InputError, match="holds a gpt2 model, which cannot do question-answering; use one of BertForQ"):
        pipeline("question-answering", tmp_path)
    with pytest.raises(InputError, match="model is a dict; give a folder"):
        pipeline("fill-mask", {}, words)


def test_what_is_missing(masked, tmp_path):
    with pytest.raises(InputError, match="needs a model; give model="):
        pipeline("fill-mask")
    with pytest.raises(InputError, match="give tokenizer= as well"):
        pipeline("fill-mask", masked)
    with pytest.raises(InputError, match="there is no folder no/such/place"):
        pipeline("fill-mask", "no/such/place")
    masked.save_pretrained(tmp_path)
    with pytest.raises(InputError, match="tokenizer"):
        pipeline("fill-mask", tmp_path)


def test_a_device_that_there_is_not(folder):
    with pytest.raises(InputError, match="there is no device 'tpu'; choose 'cpu' or 'cuda'"):
        pipeline("text-classification", folder, device="tpu")
    with pytest.raises(InputError, match="there is no device 3; choose 'cpu' or 'cuda'"):
        pipeline("text-classification", folder, device=3)
    exact = pipeline("text-classification", folder, device="cpu", dtype="float64")
    assert {parameter.dtype for parameter in exact.model.parameters()} == {np.dtype(np.float64)}


def test_unknown_parameters(folder, writer, letters):
    with pytest.raises(InputError, match=r"text-classification has no parameter 'topk'; did you mean top_k\?"):
        pipeline("text-classification", folder, topk=3)
    with pytest.raises(InputError, match="no parameter 'colour'; it has top_k"):
        pipeline("text-classification", folder)("the cat", colour=1)
    with pytest.raises(InputError, match=r"no parameter 'max_tokens'; did you mean max_new_tokens\?"):
        pipeline("text-generation", writer, letters, max_tokens=3)
    with pytest.raises(InputError, match="temperature is -1"):
        pipeline("text-generation", writer, letters, temperature=-1)


def test_it_is_saved_and_opened_again(classifier, words, tmp_path):
    pipe = pipeline("text-classification", classifier, words)
    pipe.save_pretrained(tmp_path)
    assert pipeline("text-classification", tmp_path)("Ann") == pipe("Ann")
    assert "BertForSequenceClassification" in repr(pipe)


def test_every_name_of_the_room_exists():
    from minilm import pipelines

    for name in MODULES:
        assert callable(getattr(pipelines, name))
        assert name in dir(pipelines)
    assert issubclass(pipelines.FillMaskPipeline, Pipeline)
    with pytest.raises(AttributeError):
        pipelines.Nothing  # noqa: B018
