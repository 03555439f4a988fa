"""From a list of examples to a batch of arrays: padding, masking, spans, pairs, labels. Names as in transformers.

collate = DataCollatorForLanguageModeling(tokenizer, mlm_probability=0.15, generator=generator)
batch = collate([{"input_ids": [101, 7592, 102]}, {"input_ids": [101, 102]}])  # input_ids, attention_mask, labels: (2, 3)
"""

from minilm.data.collators.answers import answer_positions, answer_span
from minilm.data.collators.masking import DataCollatorForLanguageModeling, DataCollatorForWholeWordMask
from minilm.data.collators.packing import pack_sequences
from minilm.data.collators.padding import IGNORED, DataCollatorWithPadding, default_data_collator, pad_rows
from minilm.data.collators.pairs import next_sentence_pairs
from minilm.data.collators.seq2seq import DataCollatorForSeq2Seq, shift_tokens_right
from minilm.data.collators.spans import DataCollatorForSpanCorruption, corrupt_spans, noise_mask, restore_spans
from minilm.data.collators.tagging import DataCollatorForTokenClassification, align_labels

# what `from minilm import ...` finds here, too
MODULES = dict.fromkeys(
    (
        "DataCollatorForLanguageModeling", "DataCollatorForSeq2Seq", "DataCollatorForTokenClassification",
        "DataCollatorForWholeWordMask", "DataCollatorWithPadding", "default_data_collator",
    ),
    __name__,
)  # fmt: skip

__all__ = [
    "IGNORED",
    "MODULES",
    "DataCollatorForLanguageModeling",
    "DataCollatorForSeq2Seq",
    "DataCollatorForSpanCorruption",
    "DataCollatorForTokenClassification",
    "DataCollatorForWholeWordMask",
    "DataCollatorWithPadding",
    "align_labels",
    "answer_positions",
    "answer_span",
    "corrupt_spans",
    "default_data_collator",
    "next_sentence_pairs",
    "noise_mask",
    "pack_sequences",
    "pad_rows",
    "restore_spans",
    "shift_tokens_right",
]
