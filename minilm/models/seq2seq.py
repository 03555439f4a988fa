"""What all encoder-decoder models share: encode the source once, decode the target from it, score the next token.

    encodings = Encoder(source),  logits = Head(Decoder(shifted target, encodings))    [F7; 002 §4.2]

The decoder's input is the target, one place to the right: position t sees the tokens before t and is to say token t.
"""

from __future__ import annotations

from typing import Any

from minilm import functional as F
from minilm.errors import InputError
from minilm.models.cache import DecoderCache
from minilm.models.outputs import BaseModelOutput, Seq2SeqLMOutput, Seq2SeqModelOutput
from minilm.nn import Module, ModuleList
from minilm.nn.transformer import run_blocks
from minilm.tensor import Array, Tensor, as_array
from minilm_kernels import array_namespace
from minilm_kernels.conditions import values_count


class Stack(Module):
    """An encoder or a decoder: embeddings, blocks, an end.

        x_0 = embed(ids),   x_i = block_i(x_(i−1)),   last_hidden_state = finish(x_n)

    A subclass sets is_decoder and blocks, and writes embed(), and finish() and bias() where it needs them.
    """

    is_decoder: bool
    blocks: ModuleList

    def embed(self, input_ids: Any, start: int) -> Tensor:
        """(B, T) → (B, T, hidden); the first token stands at position `start`."""
        raise TypeError(f"{type(self).__name__} has no embed(); write one that gives (B, T, hidden)")

    def bias(self, length: int, start: int) -> Tensor | None:
        """What is added to the scores of all blocks, (1, H, length, start + length); None for nothing."""
        return None

    def finish(self, x: Tensor) -> Tensor:
        """What becomes of the last block's output."""
        return x

    def forward(
        self,
        input_ids: Any,
        attention_mask: Any = None,
        encoder_hidden_states: Any = None,
        encoder_attention_mask: Any = None,
        past_key_values: DecoderCache | None = None,
        output_hidden_states: bool = False,
        output_attentions: bool = False,
    ) -> BaseModelOutput:
        """input_ids: (B, T), the tokens behind those in the cache, if there is one.  Returns last_hidden_state (B, T, hidden).

        hidden_states: the embedding, what each block but the last gives, and last_hidden_state.
        """
        cache = past_key_values
        start = 0 if cache is None else cache.length
        x = self.embed(input_ids, start)
        options: dict[str, Any] = {"causal": self.is_decoder, "attention_mask": attention_mask}
        if self.is_decoder:
            options |= {"context": encoder_hidden_states, "context_mask": encoder_attention_mask}
        made = run_blocks(
            self.blocks, x, None if cache is None else cache.layers(), output_hidden_states, output_attentions,
            bias=self.bias(x.shape[1], start), **options,
        )  # fmt: skip
        y = self.finish(made.x)
        return BaseModelOutput(
            last_hidden_state=y,
            past_key_values=cache,
            hidden_states=None if made.hidden_states is None else (*made.hidden_states, y),
            attentions=made.attentions,
            cross_attentions=made.cross_attentions,
        )


class Seq2SeqModel(Module):
    """Encoder and decoder without a head.

    A subclass sets self.config, self.encoder and self.decoder, two Stacks. self.decoder.blocks have `attention` layers,
    after which the cache is cut.
    """

    config: Any
    encoder: Module
    decoder: Any

    def encode(self, input_ids: Any, attention_mask: Any = None, **options: Any) -> BaseModelOutput:
        """The encoder's output alone: last_hidden_state (B, S, hidden), one vector per token."""
        return self.encoder(input_ids, attention_mask, **options)

    def new_cache(self, batch_size: int, max_length: int, context_length: int) -> DecoderCache:
        """An empty cache for the decoder: room for `max_length` tokens, and for the encoder's `context_length`."""
        attention = self.decoder.blocks[0].attention
        dtype = attention.output.weight.dtype
        return DecoderCache(
            len(self.decoder.blocks),
            batch_size,
            attention.num_kv_heads,
            attention.head_dim,
            max_length,
            context_length,
            dtype,
        )

    def forward(
        self,
        input_ids: Any = None,
        attention_mask: Any = None,
        decoder_input_ids: Any = None,
        decoder_attention_mask: Any = None,
        encoder_outputs: Any = None,
        past_key_values: DecoderCache | None = None,
        use_cache: bool = False,
        output_hidden_states: bool = False,
        output_attentions: bool = False,
    ) -> Any:
        """last_hidden_state: (B, T, hidden) of the decoder.

        input_ids (B, S) and attention_mask (B, S), 1 where a token may be looked at; or encoder_outputs, which encode()
        gave. decoder_input_ids: (B, T); with past_key_values only the tokens that are not in it. decoder_attention_mask:
        for all tokens, also those in past_key_values.
        use_cache: return past_key_values for the next call; no gradient flows through them.
        Raises InputError if the encoder's or the decoder's input is missing, empty, outside the vocabulary, or of another
        shape than its mask.
        """
        return self.run(
            input_ids, attention_mask, decoder_input_ids, decoder_attention_mask, encoder_outputs, past_key_values,
            use_cache, output_hidden_states, output_attentions,
        )  # fmt: skip

    def run(
        self,
        input_ids: Any,
        attention_mask: Any,
        decoder_input_ids: Any,
        decoder_attention_mask: Any,
        encoder_outputs: Any,
        past_key_values: DecoderCache | None,
        use_cache: bool,
        output_hidden_states: bool,
        output_attentions: bool,
    ) -> Seq2SeqModelOutput:
        """What forward() says, for models with and without a head."""
        if decoder_input_ids is None:
            raise InputError("the decoder has no input; give decoder_input_ids (or labels, to a model with a head)")
        vocab_size = self.config.vocab_size
        cached = past_key_values.length if past_key_values is not None else 0
        if input_ids is not None:
            check_ids("input_ids", input_ids, vocab_size, attention_mask)
        check_ids("decoder_input_ids", decoder_input_ids, vocab_size, decoder_attention_mask, cached)
        asked = {"output_hidden_states": output_hidden_states, "output_attentions": output_attentions}
        encoded = as_encoder_output(encoder_outputs)
        if encoded is None:
            if input_ids is None:
                raise InputError("the encoder has no input; give input_ids, or encoder_outputs that encode() gave")
            encoded = self.encode(input_ids, attention_mask, **asked)  # [eq:encoder-decoder]
        context = encoded.last_hidden_state
        assert context is not None  # as_encoder_output refuses an output without it
        if use_cache and past_key_values is None:
            past_key_values = self.new_cache(context.shape[0], as_array(decoder_input_ids).shape[1], context.shape[1])
        decoded = self.decoder(  # [eq:encoder-decoder]
            decoder_input_ids, decoder_attention_mask, context, attention_mask, past_key_values, **asked
        )
        return Seq2SeqModelOutput(
            last_hidden_state=decoded.last_hidden_state,
            past_key_values=decoded.past_key_values,
            decoder_hidden_states=decoded.hidden_states,
            decoder_attentions=decoded.attentions,
            cross_attentions=decoded.cross_attentions,
            encoder_last_hidden_state=context,
            encoder_hidden_states=encoded.hidden_states,
            encoder_attentions=encoded.attentions,
        )

    def extra_repr(self) -> str:
        return f"{self.num_parameters():,} parameters"


class Seq2SeqLM(Seq2SeqModel):
    """Encoder and decoder with a head that scores every token of the vocabulary: a subclass writes score()."""

    label_smoothing: float = 0.0

    def score(self, h: Tensor) -> Tensor:
        """(B, T, hidden) → logits (B, T, vocabulary)."""
        raise TypeError(f"{type(self).__name__} has no score(); write one that gives logits")

    def forward(  # type: ignore[override]  # labels stand where transformers has them
        self,
        input_ids: Any = None,
        attention_mask: Any = None,
        decoder_input_ids: Any = None,
        decoder_attention_mask: Any = None,
        encoder_outputs: Any = None,
        past_key_values: DecoderCache | None = None,
        labels: Any = None,
        use_cache: bool = False,
        output_hidden_states: bool = False,
        output_attentions: bool = False,
    ) -> Seq2SeqLMOutput:
        """logits: (B, T, vocabulary); with labels (B, T) also the mean loss in nats per label that is not −100.

        labels alone are enough: the decoder's input is then the labels, one place to the right. Otherwise as Seq2SeqModel.
        """
        if labels is not None:
            check_ids("labels", labels, self.config.vocab_size, ignored=-100)
        if labels is not None and decoder_input_ids is None:
            decoder_input_ids = shift_right(labels, self.config.decoder_start_token_id, self.config.pad_token_id)
        output = self.run(
            input_ids, attention_mask, decoder_input_ids, decoder_attention_mask, encoder_outputs, past_key_values,
            use_cache, output_hidden_states, output_attentions,
        )  # fmt: skip
        assert output.last_hidden_state is not None
        logits = self.score(output.last_hidden_state)  # [eq:encoder-decoder]
        loss = None
        if labels is not None:
            # the smoothing is for training; what is measured is the plain loss
            smoothing = self.label_smoothing if self.training else 0.0
            loss = F.cross_entropy(logits, labels, label_smoothing=smoothing)
        fields = {name: value for name, value in output.items() if name != "last_hidden_state"}
        return Seq2SeqLMOutput(loss=loss, logits=logits, **fields)


def check_ids(
    name: str, ids: Any, vocab_size: int, mask: Any = None, cached: int = 0, ignored: int | None = None
) -> None:
    """Raise InputError unless ids are integers (B, T), not empty, in [0, vocab_size) or `ignored`, and their mask fits.

    cached: how many tokens stand before them in a cache; the mask is for these too.
    """
    ids = as_array(ids)
    if ids.ndim != 2 or ids.size == 0 or ids.dtype.kind not in "iu":
        raise InputError(
            f"{name} have shape {ids.shape} and type {ids.dtype}; give integers (batch, tokens), at least one of each"
        )
    counted = ids[:0] if not values_count(ids) else ids if ignored is None else ids[ids != ignored]
    if counted.size and not 0 <= int(counted.min()) <= int(counted.max()) < vocab_size:
        raise InputError(
            f"{name} run from {int(counted.min())} to {int(counted.max())}, but the model has tokens 0 to {vocab_size - 1}; "
            "encode the text with the model's own tokenizer"
        )
    expected = (ids.shape[0], cached + ids.shape[1])
    if mask is not None and as_array(mask).shape != expected:
        raise InputError(
            f"the mask of {name} has shape {as_array(mask).shape}; give {expected}: a 1 or 0 for each token"
        )


def shift_right(labels: Any, start_token_id: int, pad_token_id: int) -> Array:
    """The decoder's input: the start token, then all labels but the last; −100 becomes padding.    [eq:shift-right] [F7]"""
    labels = as_array(labels)
    xp = array_namespace(labels)
    shifted = xp.full_like(labels, start_token_id)
    shifted[:, 1:] = labels[:, :-1]
    return xp.where(shifted == -100, pad_token_id, shifted)


def as_encoder_output(value: Any) -> BaseModelOutput | None:
    """What a caller gives as encoder_outputs: a BaseModelOutput, a tuple that begins with the last states, or those alone."""
    if value is None or isinstance(value, BaseModelOutput):
        if value is not None and value.last_hidden_state is None:
            raise InputError("encoder_outputs has no last_hidden_state; give what encode() gave")
        return value
    if isinstance(value, tuple | list):
        fields = [*value, None, None][:3]
        return BaseModelOutput(last_hidden_state=fields[0], hidden_states=fields[1], attentions=fields[2])
    return BaseModelOutput(last_hidden_state=value if isinstance(value, Tensor) else Tensor(value))
