"""T5 learns to write the stretches that were cut out of a text.    [T5 §3.1.4]

inputs  Thank you <extra_id_0> me to your party <extra_id_1> week </s>
labels  <extra_id_0> for inviting <extra_id_1> last </s>
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import numpy as np

from minilm.data.collators import DataCollatorForSpanCorruption
from minilm.errors import InputError
from minilm.hub import T5Config, T5ForConditionalGeneration
from minilm.pretraining.documents import paragraphs
from minilm.pretraining.families import (
    Family,
    Judged,
    Row,
    blocks,
    frequency_baseline,
    judged_words,
    nothing_in,
)
from minilm.pretraining.options import T5Options
from minilm.text import T5Tokenizer
from minilm.text.unigram.training import train_unigram

BODIES = {
    "tiny": {"d_model": 128, "d_kv": 32, "num_heads": 4, "d_ff": 256, "num_layers": 2},
    "small": {"d_model": 256, "d_kv": 64, "num_heads": 4, "d_ff": 512, "num_layers": 4},
    "base": {"d_model": 512, "d_kv": 64, "num_heads": 8, "d_ff": 1024, "num_layers": 8},
}
PIECE_BEFORE = "▁"  # Unigram's mark where a word begins
SPECIAL = ("<pad>", "</s>", "<unk>")
LEAST = 8  # tokens of a last row
SHOWN = 40  # tokens of an example
MOST_COUNTED = 2000  # rows by which the baseline counts


class T5(Family):
    """Rows: max_length tokens of the text, wherever documents end."""

    options: T5Options
    tokens_needed = ("pad_token", "eos_token", "unk_token")
    what = "tokens of the stretches cut out"

    def documents(self, texts: Sequence[str]) -> list[str]:
        return [document for text in texts for document in paragraphs(text)]

    def train_tokenizer(self, documents: Sequence[str], pieces: int, progress: bool) -> T5Tokenizer:
        """Unigram pieces of the text as it stands, so that the decoder can write what the text has, wide commas too."""
        o = self.options
        room = pieces - len(SPECIAL) - o.sentinels
        if room < 1:
            raise InputError(
                f"a tokenizer of {pieces} pieces has no room beside {o.sentinels} sentinels; ask for more, such as "
                f"--tokenizer unigram:8000, or for fewer --sentinels"
            )
        words = Counter(PIECE_BEFORE + word for document in documents for word in document.split())
        learnt = train_unigram(words, room, exclude=SPECIAL)
        vocabulary = [*((token, 0.0) for token in SPECIAL), *learnt]
        return T5Tokenizer(vocabulary, None, extra_ids=o.sentinels, model_max_length=o.max_length)

    def check_tokenizer(self, tokenizer: Any, name: str) -> None:
        super().check_tokenizer(tokenizer, name)
        ids = self.sentinel_ids(tokenizer)
        wanted = self.options.sentinels
        if None in ids or ids != list(range(ids[0], ids[0] - wanted, -1)):
            raise InputError(
                f"the tokenizer {name} lacks the tokens <extra_id_0> to <extra_id_{wanted - 1}>, with ids counted down, that "
                "stand for the stretches; give one that has them, fewer --sentinels, or train one: --tokenizer unigram:8000"
            )

    def sentinel_ids(self, tokenizer: Any) -> list[Any]:
        vocabulary = tokenizer.get_vocab()
        return [vocabulary.get(f"<extra_id_{n}>") for n in range(self.options.sentinels)]

    def rows(self, documents: Sequence[str], tokenizer: Any, part: str, encode: Callable[..., list[Any]]) -> list[Row]:
        texts = blocks(encode(documents), self.options.max_length, LEAST)
        if not texts:
            raise nothing_in(part, f"{LEAST} tokens")
        return [{"input_ids": text} for text in texts]

    def model(self, tokenizer: Any, generator: np.random.Generator) -> T5ForConditionalGeneration:
        config = T5Config(
            vocab_size=len(tokenizer), feed_forward_proj="gated-gelu", pad_token_id=tokenizer.pad_token_id,
            eos_token_id=tokenizer.eos_token_id, decoder_start_token_id=tokenizer.pad_token_id,
            **BODIES[self.options.size],
        )  # fmt: skip
        model = T5ForConditionalGeneration(config, generator)
        tokens = ("pad_token_id", "eos_token_id", "decoder_start_token_id")
        model.generation_config = {name: getattr(config, name) for name in tokens}
        return model

    def collator(self, tokenizer: Any, seed: int) -> DataCollatorForSpanCorruption:
        o = self.options
        return DataCollatorForSpanCorruption(
            tokenizer, o.noise_density, o.mean_span, seed=seed, sentinel_start_id=self.sentinel_ids(tokenizer)[0],
            sentinels=o.sentinels,
        )  # fmt: skip

    def judged(self, predictions: Any, labels: Any) -> dict[str, Judged]:
        return {"span": judged_words(predictions, labels)}

    def baseline(self, training: list[Row], validation_labels: Any, tokenizer: Any) -> dict[str, tuple[float, float]]:
        collate = self.collator(tokenizer, self.options.seed)
        labels = [collate([row])["labels"][0] for row in training[:MOST_COUNTED]]
        return {"span": frequency_baseline(labels, validation_labels, len(tokenizer))}

    def examples(
        self, model: Any, tokenizer: Any, rows: list[Row], batch: Mapping[str, Any]
    ) -> Iterator[tuple[str, ...]]:
        for ids, mask, labels in zip(batch["input_ids"], batch["attention_mask"], batch["labels"]):
            inputs, wanted = ids[mask == 1], labels[labels != -100]
            written = model.generate(inputs[None], max_new_tokens=len(wanted))[0][1:]
            yield tuple(tokenizer.decode([int(i) for i in one][:SHOWN]) for one in (inputs, wanted, written))

    def how_to_use(self, folder: str) -> list[str]:
        return [
            f"AutoModelForSeq2SeqLM.from_pretrained({folder!r})",
            f"minilm finetune summarization --data FILE --model {folder}",
        ]
