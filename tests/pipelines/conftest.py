"""One small model of each kind, made once."""

import pipeline_models as models
import pytest


@pytest.fixture(scope="session")
def masked():
    return models.bert("BertForMaskedLM")


@pytest.fixture(scope="session")
def classifier():
    return models.bert("BertForSequenceClassification", id2label={0: "NEG", 1: "POS", 2: "MEH"})


@pytest.fixture(scope="session")
def tagger():
    return models.bert("BertForTokenClassification", id2label=models.LABELS)


@pytest.fixture(scope="session")
def answerer():
    return models.bert("BertForQuestionAnswering")


@pytest.fixture(scope="session")
def writer():
    return models.gpt2(eos_token_id=None)


@pytest.fixture(scope="session")
def translator():
    return models.t5()


@pytest.fixture(scope="session")
def words():
    return models.bert_tokenizer()


@pytest.fixture(scope="session")
def pieces():
    return models.t5_tokenizer()


@pytest.fixture
def letters():
    return models.gpt2_tokenizer()
