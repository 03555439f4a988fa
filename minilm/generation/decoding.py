"""generate() with transformers' options: make the batch ready, decode it, give the texts back."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import nullcontext
from dataclasses import dataclass
from typing import Any

import numpy as np

from minilm.errors import InputError
from minilm.generation.beams import beam_search
from minilm.generation.decoders import Seq2SeqDecoder, decoder_of, is_encoder_decoder, position_limit
from minilm.generation.options import GenerationOptions, options_of
from minilm.generation.search import Rules, search
from minilm.generation.stopping import Stopping
from minilm.metrics import evaluation_mode
from minilm.models.outputs import ModelOutput
from minilm.models.seq2seq import as_encoder_output
from minilm.tensor import as_array

START_TOKENS = ("decoder_start_token_id", "bos_token_id")


@dataclass
class GenerateOutput(ModelOutput):
    """What generate(return_dict_in_generate=True) returns.

    sequences: (B · num_return_sequences, T) tokens. sequences_scores: of a beam search, the score of each, (B · r,).
    """

    sequences: np.ndarray | None = None
    sequences_scores: np.ndarray | None = None


@dataclass
class Batch:
    """Prompts that are ready: ids and mask (B, T) of what the model reads, texts (B, T) of what is continued."""

    ids: np.ndarray
    mask: np.ndarray
    texts: np.ndarray
    encoded: Any = None


def prepare(
    model: Any, input_ids: Any, options: GenerationOptions, attention_mask: Any = None, encoder_outputs: Any = None
) -> Batch:
    """Make a rectangle of the prompts and check everything that can be checked before the model runs.

    input_ids: (B, T), (T,), or lists of unequal length, which are padded: on the left where the model continues them, on
    the right where it encodes them. attention_mask: (B, T); unless given, padding is what is pad_token_id, if that is
    not also a token that ends a text. (Where the model encodes them all tokens then count, as in transformers.)
    Raises InputError for prompts, masks and lengths that cannot work.
    """
    encodes = is_encoder_decoder(model)
    encoded = as_encoder_output(encoder_outputs) if encodes else None
    if encoded is not None and input_ids is None:
        assert encoded.last_hidden_state is not None
        ids = np.zeros(encoded.last_hidden_state.shape[:2], np.int64)
        mask = np.ones(ids.shape, bool) if attention_mask is None else as_mask(attention_mask, ids.shape)
    else:
        if input_ids is None:
            if encodes or options.bos_token_id is None:
                raise InputError("there is no prompt; give input_ids, at least one token")
            input_ids = [[options.bos_token_id]]
        ids, mask = rectangle(input_ids, options, left=not encodes)
        vocab_size = model.config.vocab_size
        for token in (int(ids.min()), int(ids.max())):
            if not 0 <= token < vocab_size:
                raise InputError(
                    f"the prompt holds token {token}, but the model has tokens 0 to {vocab_size - 1}; "
                    "encode it with the tokenizer that the model was trained with"
                )
        if attention_mask is not None:
            mask = as_mask(attention_mask, ids.shape)
    if not mask.any(axis=1).all():
        raise InputError("a row of attention_mask is all zeros, so there is nothing to continue; give it a token")
    if encodes:
        return Batch(ids, mask, np.full((len(ids), 1), start_token(options), np.int64), encoded)
    # one prompt is not padded by anybody: should it end with that token, it is meant
    if not mask[:, -1].all() and (attention_mask is not None or len(ids) > 1):
        raise InputError(
            "a row ends with padding (or with pad_token_id), which the model would continue; pad on the left "
            "(padding_side='left'), or give the attention_mask"
        )
    return Batch(ids, mask, ids)


def start_token(options: GenerationOptions) -> int:
    """What a decoder's text begins with."""
    for name in START_TOKENS:
        if getattr(options, name) is not None:
            return int(getattr(options, name))
    raise InputError(
        "an encoder-decoder's text begins with decoder_start_token_id, which is not set; give it to generate()"
    )


def as_mask(attention_mask: Any, shape: tuple[int, ...]) -> np.ndarray:
    """An attention mask as booleans. Raises InputError unless it has the shape of the ids."""
    mask = as_array(attention_mask)
    if mask.shape != shape:
        raise InputError(f"attention_mask has shape {mask.shape}; give {shape}: a 1 or 0 for each token of the prompts")
    return mask.astype(bool)


def rectangle(input_ids: Any, options: GenerationOptions, left: bool) -> tuple[np.ndarray, np.ndarray]:
    """The prompts as (B, T) int64 and where they are no padding, (B, T) bool."""
    rows = input_ids
    several = isinstance(rows, list | tuple) and all(hasattr(row, "__len__") for row in rows)
    if several and len({len(row) for row in rows}) > 1:
        return padded([np.asarray(as_array(row)) for row in rows], options.padding or 0, left)
    ids = np.asarray(as_array(rows))
    if ids.size == 0:
        raise InputError("the prompt is empty, and a language model continues a text; give it at least one token")
    if ids.ndim not in (1, 2) or ids.dtype.kind not in "iu":
        raise InputError(
            f"input_ids have shape {ids.shape} and type {ids.dtype}; give integers (batch, tokens), or lists of them"
        )
    ids = np.atleast_2d(ids).astype(np.int64)
    padding = options.pad_token_id
    if padding is None or padding in options.eos or not left:
        return ids, np.ones(ids.shape, bool)
    return ids, ids != padding


def padded(rows: list[np.ndarray], padding: int, left: bool) -> tuple[np.ndarray, np.ndarray]:
    """Rows of unequal length as one array, and where they stand in it."""
    longest = max(len(row) for row in rows)
    ids, mask = np.full((len(rows), longest), padding, np.int64), np.zeros((len(rows), longest), bool)
    for i, row in enumerate(rows):
        if row.ndim != 1 or row.dtype.kind not in "iu" or row.size == 0:
            raise InputError(f"prompt {i} has shape {row.shape} and type {row.dtype}; give at least one integer token")
        place = slice(longest - len(row), None) if left else slice(None, len(row))
        ids[i, place], mask[i, place] = row, True
    return ids, mask


def length_limit(model: Any, options: GenerationOptions, batch: Batch) -> int:
    """How long the texts may become. Raises InputError for more than the model has positions for."""
    start = batch.texts.shape[1]
    limit = options.length_limit(start)
    known = position_limit(model)
    if known is None:
        return limit
    padding = 0 if batch.encoded is not None or is_encoder_decoder(model) else int((~batch.mask).sum(axis=1).min())
    room = known + padding  # padding takes no position
    if options.max_new_tokens is None and options.max_length is None:
        limit = min(limit, room)
    if limit > room or start >= room:
        raise InputError(
            f"the texts may become {limit - padding} tokens long, {start - padding} of them given, but the model knows {known} "
            "positions; shorten the prompt or give a smaller max_new_tokens"
        )
    return limit


class Run:
    """One call of generate(), checked and ready: the model has not been asked anything yet."""

    def __init__(
        self,
        model: Any,
        input_ids: Any,
        options: GenerationOptions,
        generator: np.random.Generator | None = None,
        attention_mask: Any = None,
        encoder_outputs: Any = None,
        tokenizer: Any = None,
    ):
        self.options = options
        self.batch = prepare(model, input_ids, options, attention_mask, encoder_outputs)
        self.copies = options.num_beams if options.num_beams > 1 else options.num_return_sequences
        self.stopping = Stopping(options, length_limit(model, options, self.batch), tokenizer)
        self.decoder: Any = decoder_of(model)
        self.generator = generator or np.random.default_rng()
        self.inference = evaluation_mode(model) if hasattr(model, "modules") else nullcontext()
        encodes = is_encoder_decoder(model)
        unseen = np.zeros(len(self.batch.ids), np.int64) if encodes else self.batch.mask.argmax(axis=1)
        self.rules = Rules(
            options, self.batch.texts.shape[1], unseen.repeat(self.copies), self.stopping.max_length,
            None if input_ids is None else self.batch.ids.repeat(self.copies, axis=0),
        )  # fmt: skip

    def first_step(self) -> tuple[Any, np.ndarray]:
        """The decoder's state and the logits of the first token, for copies of each prompt: (B · copies, V)."""
        batch, room, use_cache = self.batch, self.stopping.max_length, self.options.use_cache
        with self.inference:
            if batch.encoded is not None and isinstance(self.decoder, Seq2SeqDecoder):
                mask = None if batch.mask.all() else batch.mask
                state = self.decoder.start_encoded(batch.encoded.last_hidden_state, mask, room, use_cache)
            else:
                state = self.decoder.start(batch.ids, batch.mask, room, use_cache)
            logits = self.decoder.step(batch.texts, state)
            if self.copies > 1:
                rows = np.arange(len(logits)).repeat(self.copies)
                self.decoder.reorder(state, rows)
                logits = logits[rows]
        return state, logits

    def steps(self) -> Iterator[np.ndarray]:
        """The next token of every text, (B · copies,), as soon as it is there; not for beam search."""
        state, logits = self.first_step()
        texts = self.batch.texts.repeat(self.copies, axis=0)
        yield from search(
            self.decoder, state, logits, texts, self.options, self.rules, self.stopping, self.generator, self.inference
        )

    def finish(self, streamer: Any = None) -> GenerateOutput:
        """All texts. streamer: is given the prompt and each token by put(), and end() at last."""
        texts = self.batch.texts
        if self.options.num_beams > 1:
            state, logits = self.first_step()
            found, scores = beam_search(
                self.decoder,
                state,
                logits,
                texts,
                self.options,
                self.rules,
                self.stopping,
                self.generator,
                self.inference,
            )
            return GenerateOutput(found, scores)
        if streamer is not None:
            streamer.put(texts)
        new = []
        for tokens in self.steps():
            new.append(tokens)
            if streamer is not None:
                streamer.put(tokens)
        if streamer is not None:
            streamer.end()
        return GenerateOutput(np.concatenate([texts.repeat(self.copies, axis=0), np.stack(new, axis=1)], axis=1))


def generate_by_name(
    model: Any,
    input_ids: Any,
    generator: np.random.Generator | None = None,
    *,
    attention_mask: Any = None,
    encoder_outputs: Any = None,
    tokenizer: Any = None,
    streamer: Any = None,
    **options: Any,
) -> Any:
    """generate() with transformers' options; see there. generation_config: options, of which those given by name go first."""
    given = options.pop("generation_config", None)
    if given is not None:
        options = {**options_of(given), **options}
    chosen = GenerationOptions.for_model(model, **options)
    run = Run(model, input_ids, chosen, generator, attention_mask, encoder_outputs, tokenizer)
    if streamer is not None and (len(run.batch.ids) > 1 or run.copies > 1):
        raise InputError("a streamer shows one text as it is written; give one prompt, one text and no beams")
    output = run.finish(streamer)
    if chosen.return_dict_in_generate:
        return output
    assert output.sequences is not None
    single = len(output.sequences) == 1 and input_ids is not None and np.ndim(input_ids) == 1
    return output.sequences[0] if single else output.sequences
