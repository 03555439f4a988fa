"""Prompts with examples, and answers chosen by the model's probabilities."""

import numpy as np
import pytest

from minilm.errors import InputError
from minilm.generation import choice_scores, few_shot_prompt
from minilm.models import GPT, GPTConfig
from minilm.models.transformer import Transformer, TransformerConfig


def test_examples_and_query():
    prompt = few_shot_prompt([("sea", "mer"), ("sun", "soleil")], "bread", "Translate into French.")
    assert prompt == (
        "Translate into French.\n\nInput: sea\nOutput: mer\n\nInput: sun\nOutput: soleil\n\nInput: bread\nOutput:"
    )


def test_zero_shot_and_templates_of_ones_own():
    assert few_shot_prompt([], "x") == "Input: x\nOutput:"
    prompt = few_shot_prompt(
        [{"review": "fine", "stars": 4, "output": "good"}],
        {"review": "dull", "stars": 1},
        template="{review} ({stars})\n=> {output}",
        separator="\n---\n",
    )
    assert prompt == "fine (4)\n=> good\n---\ndull (1)\n=>"


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: few_shot_prompt([], "x", template="{output}: {input}"), "must end with {output}"),
        (lambda: few_shot_prompt([{"input": "a"}], "x"), "example 0 has no 'output'"),
        (lambda: few_shot_prompt([], {"text": "a"}), "the query has no 'input'"),
        (lambda: few_shot_prompt(["abc"], "x"), "is no pair"),
    ],
)
def test_errors(call, message):
    with pytest.raises(InputError, match=message):
        call()


def test_scores_of_choices_are_the_models(generator):
    model = GPT(
        GPTConfig(vocab_size=11, context_length=16, num_layers=1, num_heads=2, hidden_size=8), generator
    ).double()
    prompt, choices = [3, 4, 5], [[1], [2, 6, 7], [9, 9]]
    scores = choice_scores(model, prompt, choices)
    for score, choice in zip(scores, choices):
        logits = model(np.array([[*prompt, *choice[:-1]]]))[0].data[0, 2:]
        log_p = logits - np.log(np.exp(logits).sum(-1, keepdims=True))
        assert score == pytest.approx(log_p[np.arange(len(choice)), choice].sum())
    with pytest.raises(InputError, match="at least one token"):
        choice_scores(model, prompt, [[1], []])


def test_scores_of_choices_of_an_encoder_decoder(generator):
    config = TransformerConfig(
        vocab_size=11, max_positions=9, num_encoder_layers=1, num_decoder_layers=1, num_heads=2, hidden_size=8
    )
    model = Transformer(config, generator).double().eval()
    score = choice_scores(model, [3, 4], [[5, 2]])[0]
    loss = model(np.array([[3, 4]]), labels=np.array([[5, 2]])).loss.item()
    assert score == pytest.approx(-2 * loss)
