"""Models: GPT (also in Llama's layout), BERT, T5, the encoder-decoder Transformer and Marian, which is its form in files.

ngram is what they must beat. Their Hugging Face classes, with from_pretrained and save_pretrained, are in minilm.hub.
"""

from minilm.models.bert import BertModel
from minilm.models.bert_config import BertConfig
from minilm.models.gpt import GPT, GPTConfig
from minilm.models.ngram import BigramModel
from minilm.models.t5 import T5ForConditionalGeneration, T5Model
from minilm.models.t5_config import T5Config
from minilm.models.transformer import Transformer, TransformerConfig

__all__ = [
    "GPT",
    "BertConfig",
    "BertModel",
    "BigramModel",
    "GPTConfig",
    "T5Config",
    "T5ForConditionalGeneration",
    "T5Model",
    "Transformer",
    "TransformerConfig",
]
