"""BERT learns to name hidden words, and whether the second text follows the first.    [F16; Devlin et al. 2018 §3.1]

[CLS] the cat [MASK] on the mat [SEP] it was asleep [SEP]      L = L_words + L_next
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import numpy as np

from minilm.data.collators import (
    DataCollatorForLanguageModeling,
    DataCollatorForWholeWordMask,
    next_sentence_pairs,
)
from minilm.devices import to_host
from minilm.errors import InputError
from minilm.hub import BertConfig, BertForMaskedLM, BertForPreTraining
from minilm.pretraining.documents import paragraphs, sentences
from minilm.pretraining.families import (
    BODIES,
    Family,
    Judged,
    Row,
    blocks,
    frequency_baseline,
    judged_words,
    loss_and_right,
    nothing_in,
)
from minilm.pretraining.options import BertOptions
from minilm.tape import no_grad
from minilm.tensor import Tensor
from minilm.text import BertTokenizer

AROUND = 8  # tokens shown on each side of a hidden one
GUESSES = 3


class Bert(Family):
    """Rows: pairs [CLS] A [SEP] B [SEP] with next_sentence_label; without NSP, [CLS] text [SEP]."""

    options: BertOptions
    tokens_needed = ("cls_token", "sep_token", "mask_token", "pad_token")
    what = "hidden words"

    def documents(self, texts: Sequence[str]) -> list[str]:
        return [document for text in texts for document in paragraphs(text)]

    def train_tokenizer(self, documents: Sequence[str], pieces: int, progress: bool) -> BertTokenizer:
        return BertTokenizer.train(
            documents, pieces, do_lower_case=self.options.lowercase, progress=progress,
            model_max_length=self.options.max_length,
        )  # fmt: skip

    def rows(self, documents: Sequence[str], tokenizer: Any, part: str, encode: Callable[..., list[Any]]) -> list[Row]:
        if self.options.nsp:
            return self.pairs(documents, tokenizer, part, encode)
        cls, sep = tokenizer.cls_token_id, tokenizer.sep_token_id
        texts = blocks(encode(documents), self.options.max_length - 2, 2)
        if not texts:
            raise nothing_in(part, "two tokens")
        return [{"input_ids": np.array([cls, *text, sep], np.int32)} for text in texts]

    def pairs(self, documents: Sequence[str], tokenizer: Any, part: str, encode: Callable[..., list[Any]]) -> list[Row]:
        """Pairs of texts; of the training part drawn several times."""
        o = self.options
        cut = [sentences(document) for document in documents]
        ids = iter(encode([sentence for document in cut for sentence in document]))
        longest = (o.max_length - 3) // 2  # a sentence that is longer counts as several, so that none of it is lost
        texts = []
        for document in cut:
            whole = [next(ids) for _ in document]
            texts.append([one[n : n + longest] for one in whole for n in range(0, len(one), longest)])
        useful = sum(len(text) > 1 for text in texts)
        if len(texts) < 2 or not useful:
            raise InputError(
                f"the {part} part has {len(texts)} documents, {useful} of them with several sentences, and to tell whether a "
                "text follows another takes two such documents: put an empty line between documents, give more text, or "
                "leave that task away with --nsp false"
            )
        generator = np.random.default_rng((o.seed, part == "validation"))
        rows: list[Row] = []
        for _ in range(o.pair_draws if part == "training" else 1):
            for pair in next_sentence_pairs(texts, o.max_length, generator, tokenizer):
                pair.pop("special_tokens_mask")
                rows.append({name: np.asarray(values, np.int32) for name, values in pair.items()})
        return rows

    def model(self, tokenizer: Any, generator: np.random.Generator) -> Any:
        o = self.options
        config = BertConfig(
            vocab_size=len(tokenizer), max_position_embeddings=o.max_length, pad_token_id=tokenizer.pad_token_id,
            **BODIES[o.size],
        )  # fmt: skip
        return (BertForPreTraining if o.nsp else BertForMaskedLM)(config, generator)

    def collator(self, tokenizer: Any, seed: int) -> DataCollatorForLanguageModeling:
        kind = DataCollatorForWholeWordMask if self.options.whole_words else DataCollatorForLanguageModeling
        collator = kind(tokenizer, mlm_probability=self.options.mask_probability, seed=seed)
        if self.options.whole_words and collator._continues is None:
            raise InputError(
                f"the tokenizer {self.options.tokenizer} marks no piece that continues a word, as ## does; leave --whole_words "
                "away"
            )
        return collator

    def compressed(self, predictions: Any, labels: Any) -> tuple[Any, ...]:
        if not self.options.nsp:
            return super().compressed(predictions, labels)
        (words, follows), (hidden, is_next) = predictions[:2], labels
        nsp = loss_and_right(follows, is_next)
        return (*loss_and_right(words, hidden), *nsp)

    def judged(self, predictions: Any, labels: Any) -> dict[str, Judged]:
        if not self.options.nsp:
            return {"mlm": judged_words(predictions, labels)}
        hidden, is_next = labels
        return {
            "mlm": judged_words(predictions[:2], hidden),
            "nsp": Judged(predictions[2][:, None], predictions[3][:, None], np.ones((len(is_next), 1), bool)),
        }

    def baseline(self, training: list[Row], validation_labels: Any, tokenizer: Any) -> dict[str, tuple[float, float]]:
        special = tokenizer.all_special_ids
        ids = [row["input_ids"][~np.isin(row["input_ids"], special)] for row in training]
        if not self.options.nsp:
            return {"mlm": frequency_baseline(ids, validation_labels, len(tokenizer))}
        hidden, is_next = validation_labels
        classes = [np.atleast_1d(row["next_sentence_label"]) for row in training]
        return {
            "mlm": frequency_baseline(ids, hidden, len(tokenizer)),
            "nsp": frequency_baseline(classes, is_next, 2),
        }

    def examples(
        self, model: Any, tokenizer: Any, rows: list[Row], batch: Mapping[str, Any]
    ) -> Iterator[tuple[str, ...]]:
        """The first place of each row where a word is hidden, with its neighbours and the best guesses."""
        with no_grad():
            outputs = model(**batch)
        logits = outputs.prediction_logits if self.options.nsp else outputs.logits
        scores = to_host(logits.data if isinstance(logits, Tensor) else logits)
        for n, (ids, labels) in enumerate(zip(batch["input_ids"], batch["labels"])):
            places = np.flatnonzero((labels != -100) & (ids == tokenizer.mask_token_id))
            if not len(places):
                continue
            place = int(places[0])
            shown = ids[max(0, place - AROUND) : place + AROUND + 1]
            special = {tokenizer.pad_token_id, tokenizer.cls_token_id}
            text = tokenizer.decode([int(i) for i in shown if int(i) not in special])
            best = np.argsort(-scores[n, place])[:GUESSES]
            yield text, self.piece(tokenizer, labels[place]), ", ".join(self.piece(tokenizer, i) for i in best)

    @staticmethod
    def piece(tokenizer: Any, token: Any) -> str:
        return str(tokenizer.convert_ids_to_tokens(int(token)))

    def how_to_use(self, folder: str) -> list[str]:
        return [
            f'pipeline("fill-mask", model={folder!r})',
            f"minilm finetune classification --data FILE --model {folder}",
        ]
