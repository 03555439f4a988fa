"""Tasks without training: a prompt that shows what is wanted, and the model's own probabilities as the answer.

[003 §7.3 and §8.2; Brown et al. 2020]
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from minilm.errors import InputError
from minilm.generation.decoders import decoder_of, is_encoder_decoder
from minilm.metrics import evaluation_mode

TEMPLATE = "Input: {input}\nOutput: {output}"


def few_shot_prompt(
    examples: Sequence[Mapping[str, Any]] | Sequence[tuple[str, str]],
    query: Mapping[str, Any] | str,
    instruction: str = "",
    template: str = TEMPLATE,
    separator: str = "\n\n",
) -> str:
    """Instruction, solved examples, and the query up to where its answer begins; no examples: zero-shot.

    examples: pairs (input, output), or mappings with the template's names. query: the input, or a mapping without "output".
    template: how one example looks; {output} comes last. The text before it, without spaces at its end, ends the prompt.

        few_shot_prompt([("sea", "mer"), ("sun", "soleil")], "bread", "Translate into French.")

    Raises InputError for a template without {output} at its end, or an example that lacks one of the template's names.
    """
    if not template.endswith("{output}") or template.count("{output}") != 1:
        raise InputError(f"the template is {template!r}; it must end with {{output}}, which the model is to write")
    shots = [_filled(template, _named(example), i) for i, example in enumerate(examples)]
    asked = {"input": query} if isinstance(query, str) else dict(query)
    last = _filled(template.removesuffix("{output}"), asked, None).rstrip(" ")
    return separator.join([part for part in (instruction, *shots, last) if part])


def _named(example: Any) -> dict[str, Any]:
    if isinstance(example, Mapping):
        return dict(example)
    if isinstance(example, str) or len(example) != 2:
        raise InputError(f"example {example!r} is no pair (input, output) and no mapping")
    return {"input": example[0], "output": example[1]}


def _filled(template: str, values: dict[str, Any], number: int | None) -> str:
    try:
        return template.format(**values)
    except KeyError as error:
        which = "the query" if number is None else f"example {number}"
        raise InputError(f"{which} has no {error}; the template is {template!r}") from error


def choice_scores(model: Any, prompt_ids: Sequence[int], choices: Sequence[Sequence[int]]) -> np.ndarray:
    """ln P(choice | prompt) for each choice, Σ over its tokens: (n,) float64; the largest is the model's answer.

    prompt_ids: the tokens of the prompt; choices: those of each answer, at least one token each. Divide by the lengths where
    answers of different lengths are to be compared by token. Works for decoder-only and encoder-decoder models.
    Raises InputError for an empty prompt or choice.
    """
    if not len(prompt_ids) or not len(choices) or not all(len(choice) for choice in choices):
        raise InputError("the prompt, and each choice, needs at least one token, and there must be a choice")
    scores = np.zeros(len(choices))
    decoder = decoder_of(model)
    for i, choice in enumerate(choices):
        scores[i] = _log_probability(model, decoder, list(prompt_ids), list(choice))
    return scores


def _log_probability(model: Any, decoder: Any, prompt: list[int], choice: list[int]) -> float:
    """Σ_t ln P(choice_t | prompt, choice_<t), token by token with the cache."""
    ids = np.array([prompt])
    first = np.array([[model.config.decoder_start_token_id]]) if is_encoder_decoder(model) else ids
    total = 0.0
    with evaluation_mode(model):
        state = decoder.start(ids, np.ones_like(ids, bool), first.shape[1] + len(choice), True)
        for token in choice:
            z = decoder.step(first, state)[0].astype(np.float64)
            z -= z.max()
            total += float(z[token] - np.log(np.exp(z).sum()))
            first = np.array([[token]])
    return total
