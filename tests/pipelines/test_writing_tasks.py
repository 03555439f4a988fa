"""text-generation, summarization and translation: keys, nesting, options, prefixes and limits."""

import itertools

import numpy as np
import pipeline_models as models
import pytest

from minilm import InputError, pipeline
from minilm.generation import TextStreamer

GREEDY = {"do_sample": False, "max_new_tokens": 6}


@pytest.fixture
def pipe(writer, letters):
    return pipeline("text-generation", writer, letters, **GREEDY)


def test_text_and_what_follows(pipe, writer, letters):
    ids = letters("the cat")["input_ids"]
    want = writer.generate(np.array([ids]), max_new_tokens=6)[0]
    new = letters.decode(want[len(ids) :], skip_special_tokens=True)
    assert pipe("the cat") == [{"generated_text": "the cat" + new}]
    assert pipe("the cat", return_full_text=False) == [{"generated_text": new}]
    assert pipe("the cat", return_tensors=True) == [{"generated_token_ids": want.tolist()}]
    assert pipe(["the cat", "Ann"]) == [pipe("the cat"), pipe("Ann")]


def test_several_texts_for_a_prompt(pipe):
    found = pipe("the cat", num_beams=3, num_return_sequences=2)
    assert len(found) == 2
    assert found[0] != found[1]
    assert [len(texts) for texts in pipe(["the cat", "Ann"], num_beams=3, num_return_sequences=2, batch_size=2)] == [
        2,
        2,
    ]


def test_draws_come_from_the_generator_that_is_given(writer, letters):
    pipe = pipeline("text-generation", writer, letters)
    texts = [pipe("the cat", generator=np.random.default_rng(seed))[0]["generated_text"] for seed in (1, 1, 2)]
    assert texts[0] == texts[1] != texts[2]
    several = pipe("the", num_return_sequences=3, max_new_tokens=8, generator=np.random.default_rng(1))
    assert len({one["generated_text"] for one in several}) > 1


def test_without_options_as_much_is_written_as_fits(writer, letters):
    ids = pipeline("text-generation", writer, letters, do_sample=False, return_tensors=True)("the cat")
    assert len(ids[0]["generated_token_ids"]) == models.LENGTH
    for length in (10, 15):
        found = pipeline("text-generation", writer, letters, do_sample=False, max_length=length, return_tensors=True)(
            "the cat"
        )
        assert len(found[0]["generated_token_ids"]) == length


def test_the_folders_options_go_before_the_tasks_and_after_the_callers(letters):
    model = models.gpt2(eos_token_id=None)
    model.generation_config = {"do_sample": False, "max_new_tokens": 3}
    pipe = pipeline("text-generation", model, letters, return_tensors=True)
    assert len(pipe("a")[0]["generated_token_ids"]) == 4
    assert len(pipe("a", max_new_tokens=5)[0]["generated_token_ids"]) == 6
    assert len(pipe("a", max_length=3)[0]["generated_token_ids"]) == 3


def test_stop_and_prefix(pipe, letters):
    whole = pipe("the cat", max_new_tokens=20, return_full_text=False)[0]["generated_text"]
    stop = whole[len(whole) // 2 :][:2]
    for name in ("stop", "stop_sequence", "stop_strings"):
        cut = pipe("the cat", max_new_tokens=20, return_full_text=False, **{name: stop})[0]["generated_text"]
        assert stop in cut
        assert whole.startswith(cut)
        assert len(cut) < len(whole)
    with_prefix = pipe("cat", prefix="the ")[0]["generated_text"]
    assert "the " + with_prefix == pipe("the cat")[0]["generated_text"]


def test_max_length_counts_the_prompt_and_not_the_prefix(writer, letters):
    pipe = pipeline("text-generation", writer, letters, do_sample=False, max_length=12, return_tensors=True)
    assert len(pipe("cat")[0]["generated_token_ids"]) == 12
    before = len(letters("the end ")["input_ids"])
    assert len(pipe("cat", prefix="the end ")[0]["generated_token_ids"]) == 12 + before


def test_a_text_that_ends_by_itself_in_a_batch(letters):
    model = models.gpt2()
    pipe = pipeline("text-generation", model, letters, do_sample=False, max_new_tokens=30)
    texts = ["the cat", "Ann", "near", "The end of"]
    want = pipe(texts)
    lengths = [len(pipe(text, return_tensors=True)[0]["generated_token_ids"]) for text in texts]
    assert len(set(lengths)) > 1
    assert pipe(texts, batch_size=4) == want


def test_an_empty_prompt_begins_at_the_beginning(pipe, writer, letters):
    want = writer.generate(np.array([[letters.bos_token_id]]), max_new_tokens=6)[0]
    assert pipe("", return_tensors=True) == [{"generated_token_ids": want.tolist()}]
    assert pipe("", skip_special_tokens=False)[0]["generated_text"] == letters.decode(want)
    assert pipe("") == [{"generated_text": letters.decode(want, skip_special_tokens=True)}]
    without = models.gpt2(bos_token_id=None)
    with pytest.raises(InputError, match="the text is empty"):
        pipeline("text-generation", without, letters)("")


def test_a_prompt_that_leaves_no_room(pipe, letters):
    long = "the cat is near " * 20
    with pytest.raises(InputError, match=r"tokens, but the model knows 48 positions"):
        pipe(["the", long])
    nearly = letters.decode(letters(long)["input_ids"][:45])
    with pytest.raises(InputError, match="has 45 tokens and 6 more may follow, but the model knows 48 positions"):
        pipe(["the", nearly])
    hole = pipe(long, handle_long_generation="hole", return_tensors=True)[0]["generated_token_ids"]
    assert hole[:42] == letters(long)["input_ids"][-42:]
    with pytest.raises(InputError, match="handle_long_generation is 'cut'"):
        pipe(long, handle_long_generation="cut")
    with pytest.raises(InputError, match="50 new tokens do not fit"):
        pipe(long, handle_long_generation="hole", max_new_tokens=50)


def test_options_as_one_argument(pipe):
    want = pipe("the cat", num_beams=3, max_new_tokens=4)
    assert pipe("the cat", generation_config={"num_beams": 3, "max_new_tokens": 9}, max_new_tokens=4) == want
    with pytest.raises(InputError, match="has no parameter 'num_beam'; did you mean num_beams"):
        pipe("the cat", generation_config={"num_beam": 3})


def test_chats(pipe, letters):
    pytest.importorskip("jinja2", reason="jinja2, which renders chat templates, is not installed")
    chat = [{"role": "user", "content": "the cat"}]
    with pytest.raises(InputError, match="this tokenizer has no chat template"):
        pipe(chat)
    letters.chat_template = "{% for m in messages %}{{ m.content }}{% endfor %}{{ ' Ann' if add_generation_prompt }}"
    try:
        new = pipe("the cat Ann", return_full_text=False)[0]["generated_text"]
        answered = [{"generated_text": [*chat, {"role": "assistant", "content": new}]}]
        assert pipe(chat) == answered
        assert pipe([chat, chat], batch_size=2) == [answered, answered]
        assert pipe(chat, return_full_text=False) == [{"generated_text": new}]
        begun = [*chat, {"role": "assistant", "content": " Ann"}]
        assert pipe(begun) == [{"generated_text": [chat[0], {"role": "assistant", "content": " Ann" + new}]}]
        assert pipe(chat, tokenizer_encode_kwargs={"chat_template": "the"})[0] != answered[0]
        with pytest.raises(InputError, match="this is one message; a chat is a list"):
            pipe(chat[0])
    finally:
        letters.chat_template = None


def test_what_excludes_each_other(pipe):
    for options in (
        {"return_full_text": True, "return_tensors": True},
        {"return_full_text": True, "return_text": True},
    ):
        with pytest.raises(InputError, match="exclude each other"):
            pipe("a", **options)
    with pytest.raises(InputError, match="num_return_sequences must be 1"):
        pipe("a", num_return_sequences=2)


def test_a_text_is_streamed(pipe, letters):
    shown = []
    pipe("the cat", streamer=TextStreamer(letters, write=shown.append, skip_special_tokens=True))
    assert "".join(shown) == pipe("the cat")[0]["generated_text"]


# encoder-decoder

BEAMS = {"max_new_tokens": 5, "num_beams": 2}


@pytest.fixture
def with_tasks():
    model = models.t5()
    model.config.extra = {
        "task_specific_params": {
            "summarization": {"prefix": "summarize: ", "num_beams": 1, "max_length": 4, "unknown": 3},
            "translation_en_to_zh": {"prefix": "translate English to Chinese: ", "num_beams": 3},
        }
    }
    return model


@pytest.mark.parametrize(
    ("task", "name"),
    [("summarization", "summary"), ("translation", "translation"), ("translation_xx_to_yy", "translation"),
     ("text2text-generation", "generated")],
)  # fmt: skip
def test_keys_and_nesting(task, name, translator, pieces):
    pipe = pipeline(task, translator, pieces, **BEAMS)
    want = translator.generate(np.array([pieces("the cat")["input_ids"]]), **BEAMS)[0]
    text = {f"{name}_text": pieces.decode(want, skip_special_tokens=True)}
    assert pipe("the cat") == [text]
    assert pipe(["the cat", "Ann"]) == [text, *pipe("Ann")]
    assert next(pipe(iter(["the cat"]))) == [text]
    np.testing.assert_array_equal(pipe("the cat", return_tensors=True)[0][f"{name}_token_ids"], want)
    several = pipe(["the cat", "Ann"], num_return_sequences=2)
    assert [len(texts) for texts in several] == [2, 2]
    assert several[0][0] == text


def asked(pipe, text, **options):
    """The tokens that a pipeline's model reads."""
    window = pipe.preprocess(text, pipe.settle(options))[0]
    return pipe.tokenizer.decode(window.inputs["input_ids"], skip_special_tokens=True)


def test_what_config_json_says_for_the_task(with_tasks, pieces, translator):
    summary = pipeline("summarization", with_tasks, pieces)
    assert asked(summary, "the cat") == "summarize: the cat"
    options = summary.settle({})["options"]
    assert (options["num_beams"], options["max_length"]) == (1, 4)
    assert "max_new_tokens" not in options
    assert summary.settle({"num_beams": 5})["options"]["num_beams"] == 5
    plain = pipeline("summarization", translator, pieces, num_beams=1, max_length=4)
    assert summary("the cat") == plain("summarize: the cat")
    assert asked(pipeline("translation_en_to_zh", with_tasks, pieces), "one") == "translate English to Chinese: one"
    assert asked(pipeline("translation_zh_to_en", with_tasks, pieces), "one") == "one"
    assert asked(pipeline("summarization", with_tasks, pieces, prefix=""), "one") == "one"
    both = pipeline("translation_zh_to_en", with_tasks, pieces, src_lang="en", tgt_lang="zh")
    assert asked(both, "one") == "translate English to Chinese: one"
    with pytest.warns(UserWarning, match="translation_en_to_zh is taken"):
        found = pipeline("translation", with_tasks, pieces)
    with pytest.warns(UserWarning, match="translation_en_to_zh is taken"):
        assert asked(found, "one") == "translate English to Chinese: one"


def test_it_survives_saving(with_tasks, pieces, tmp_path):
    models.saved(tmp_path, with_tasks, pieces)
    assert asked(pipeline("summarization", tmp_path), "the cat") == "summarize: the cat"


def test_defaults_of_the_task(translator, pieces):
    options = pipeline("summarization", translator, pieces).settle({})["options"]
    assert options == {"max_new_tokens": 256, "num_beams": 4}


def test_damaged_task_specific_params(with_tasks, pieces):
    for damaged in (3, {"summarization": 3}, {"summarization": {"prefix": 3}}, None):
        with_tasks.config.extra = {"task_specific_params": damaged}
        assert asked(pipeline("summarization", with_tasks, pieces), "one") == "one"


def test_an_endless_source_is_translated_as_it_comes(translator, pieces):
    pipe = pipeline("translation", translator, pieces, **BEAMS)
    found = list(itertools.islice(pipe(itertools.repeat("the cat")), 3))
    assert found == [pipe("the cat")] * 3
