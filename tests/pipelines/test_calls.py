"""What is the same for all tasks: one text, lists, generators, batches, and texts that cannot be read."""

import itertools

import numpy as np
import pytest

from minilm import InputError, pipeline

TEXTS = ["Ann lives in New York.", "the [MASK] cat", "", "床前明月光 [MASK]", "naïve 😀 can't wait", "the end"]


def close(got, want):
    """The same but for rounding."""
    if isinstance(want, float):
        assert got == pytest.approx(want, rel=1e-4, abs=1e-6)
    elif isinstance(want, dict):
        assert list(got) == list(want)
        for key in want:
            close(got[key], want[key])
    elif isinstance(want, list):
        assert len(got) == len(want)
        for one, other in zip(got, want):
            close(one, other)
    else:
        assert got == want


def each(masked, classifier, tagger, answerer, writer, translator, words, letters, pieces):
    """(pipeline, texts) of every task."""
    masks = [text for text in TEXTS if "[MASK]" in text]
    questions = [{"question": "who is it?", "context": text * 5} for text in TEXTS if text]
    greedy = {"do_sample": False, "max_new_tokens": 4}
    return [
        (pipeline("fill-mask", masked, words), masks),
        (pipeline("text-classification", classifier, words), TEXTS),
        (pipeline("token-classification", tagger, words, ignore_labels=[]), TEXTS),
        (pipeline("ner", tagger, words, aggregation_strategy="max"), TEXTS),
        (pipeline("question-answering", answerer, words, max_seq_len=30, doc_stride=6), questions),
        (pipeline("feature-extraction", masked, words), TEXTS),
        (pipeline("text-generation", writer, letters, **greedy), TEXTS),
        (pipeline("text-generation", writer, letters, do_sample=False, max_length=30), TEXTS[1:2] + TEXTS[5:]),
        (pipeline("text-generation", writer, letters, do_sample=False, return_tensors=True), TEXTS),
        (pipeline("text2text-generation", translator, pieces, **greedy, num_beams=2), TEXTS),
        (pipeline("feature-extraction", translator, pieces), TEXTS),
    ]


@pytest.fixture
def all_tasks(masked, classifier, tagger, answerer, writer, translator, words, letters, pieces):
    return each(masked, classifier, tagger, answerer, writer, translator, words, letters, pieces)


def test_a_batch_gives_what_the_texts_give_one_by_one(all_tasks):
    for pipe, texts in all_tasks:
        want = pipe(texts)
        for size in (2, 3, 16):
            close(pipe(texts, batch_size=size), want)


def test_a_generator_gives_what_the_list_gives_and_is_read_as_answers_are_asked_for(all_tasks):
    for pipe, texts in all_tasks:
        if pipe.task == "text2text-generation":
            continue  # whose lists are flat where one text is written for each
        taken = []

        def source(texts=texts, taken=taken):
            for text in texts:
                taken.append(text)
                yield text

        answers = pipe(source())
        assert taken == []
        first = next(answers)
        assert len(taken) == 1
        close([first, *answers], pipe(texts))


def test_a_tuple_is_a_list(classifier, words):
    pipe = pipeline("text-classification", classifier, words)
    assert pipe(("Ann", "the cat")) == pipe(["Ann", "the cat"])


def test_endless_input(classifier, words):
    pipe = pipeline("text-classification", classifier, words, batch_size=3)
    found = list(itertools.islice(pipe(itertools.cycle(["Ann", "the cat"])), 5))
    close(found[4], found[0])


def test_batch_size_of_the_pipeline_and_of_a_call(masked, words):
    sizes = []

    class Counting(type(masked)):
        def forward(self, input_ids, *args, **kwargs):
            sizes.append(len(input_ids))
            return super().forward(input_ids, *args, **kwargs)

    counting = Counting(masked.config)
    pipe = pipeline("fill-mask", counting, words, batch_size=2)
    pipe(["the [MASK]"] * 5)
    assert sizes == [2, 2, 1]
    sizes.clear()
    pipe(["the [MASK]"] * 5, batch_size=4, num_workers=2)
    assert sizes == [4, 1]


@pytest.mark.parametrize("size", [0, -1, 1.5, "2", True])
def test_a_batch_size_that_is_none(classifier, words, size):
    with pytest.raises(InputError, match=r"batch_size is .*; give a whole number from 1"):
        pipeline("text-classification", classifier, words, batch_size=size)


def test_the_model_is_in_evaluation_mode_only_while_it_is_asked(words):
    import pipeline_models as models

    model = models.bert("BertForSequenceClassification", hidden_dropout_prob=0.5).train()
    pipe = pipeline("text-classification", model, words)
    assert pipe("the cat") == pipe("the cat")
    assert model.training
    assert all(parameter.grad is None for parameter in model.parameters())


def test_an_empty_list(all_tasks):
    for pipe, _ in all_tasks:
        with pytest.raises(InputError, match="the list is empty; give at least one text"):
            pipe([])
        assert list(pipe(iter([]))) == []


def test_no_text(all_tasks):
    for pipe, _ in all_tasks:
        for wrong in (3, None, [3], np.float32(1)):
            with pytest.raises(InputError):
                pipe(wrong)


def test_a_long_text_is_refused_before_the_model_runs_or_cut_where_that_is_asked_for(classifier, masked, words):
    called = []

    class Recorded(type(classifier)):
        def forward(self, *args, **kwargs):
            called.append(1)
            return super().forward(*args, **kwargs)

    pipe = pipeline("text-classification", Recorded(classifier.config), words)
    with pytest.raises(
        InputError, match=r"'the the .* has 102 tokens, but the model knows 48 positions; give truncation="
    ):
        pipe(["short", "the " * 100])
    assert not called
    assert pipe("the " * 100, truncation=True) == pipe("the " * 46)
    features = pipeline("feature-extraction", masked, words)
    assert np.shape(features("the " * 100, truncation=True)) == (1, 48, len(words))
    masks = pipeline("fill-mask", masked, words)
    assert len(masks("[MASK] " + "the " * 100, tokenizer_kwargs={"truncation": True})) == 5
    with pytest.raises(InputError, match=r'give tokenizer_kwargs=\{"truncation": True\}'):
        masks("[MASK] " + "the " * 100)


def test_truncation_without_a_length_in_the_tokenizer_goes_to_the_models_positions(classifier, words):
    free = type(words).train("the cat " * 9, 60)
    assert free.model_max_length > 10**20
    pipe = pipeline("text-classification", classifier, free, truncation=True)
    assert pipe("the " * 100)[0]["score"] > 0


def test_a_tokenizer_of_another_model(words):
    import pipeline_models as models

    small = models.bert("BertForSequenceClassification", vocab_size=20)
    with pytest.raises(InputError, match="but the model has 0 to 19; use the tokenizer that belongs to the model"):
        pipeline("text-classification", small, words)("Ann lives in New York")


def test_a_batch_without_a_padding_token(letters):
    import pipeline_models as models

    model = models.gpt2("GPT2ForSequenceClassification", num_labels=2)
    with pytest.raises(InputError, match="no padding token, which a batch needs; name one"):
        pipeline("text-classification", model, letters, batch_size=2)
    assert len(pipeline("text-classification", model, letters)(["a", "the cat"])) == 2
    with pytest.raises(InputError, match="the text is empty, and this model needs at least one token"):
        pipeline("text-classification", model, letters)("")


def test_left_padding(masked, words):
    import pipeline_models as models

    left = models.BertTokenizer.train(models.SAMPLE, 220, model_max_length=48, padding_side="left")
    pipe = pipeline("feature-extraction", models.gpt2(), models.gpt2_tokenizer())
    want = pipe(["Ann", "the cat is near"])
    pipe.tokenizer.pad_token, pipe.tokenizer.padding_side = pipe.tokenizer.eos_token, "left"
    assert [np.shape(one) for one in pipe(["Ann", "the cat is near"], batch_size=2)] == [np.shape(one) for one in want]
    answers = pipeline("question-answering", models.bert("BertForQuestionAnswering"), left)
    found = answers(question="who is it?", context="Ann lives in New York.")
    assert found["answer"] == "Ann lives in New York."[found["start"] : found["end"]] != ""
