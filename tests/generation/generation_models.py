"""One small model of each family, lively enough to say something, and prompts of unequal length."""

import numpy as np

from minilm.models import GPT, GPTConfig
from minilm.models.causal import GPT2LMHeadModel
from minilm.models.causal_config import GPT2Config
from minilm.models.t5 import T5Config, T5ForConditionalGeneration
from minilm.models.transformer import Transformer, TransformerConfig

V = 23


def lively(model, spread=25.0):
    """Weights large enough that the model does not say one token for ever; float64, so that rounding decides nothing."""
    generator = np.random.default_rng(0)
    for name, parameter in model.named_parameters():
        if parameter.ndim == 2:
            std = 0.8 if name.startswith(("token", "shared", "position")) else 3.0 / parameter.shape[1] ** 0.5
            parameter.data[...] = generator.normal(0, std, parameter.shape)
    return model.double().eval()


def gpt(**changes):
    sizes = {"vocab_size": V, "context_length": 40, "num_layers": 2, "num_heads": 4, "hidden_size": 16}
    return lively(GPT(GPTConfig(**{**sizes, **changes}), np.random.default_rng(0)))


def llama():
    return gpt(positions="rotary", norm="rms_norm", num_kv_heads=2, activation="swiglu")


def t5():
    config = T5Config(vocab_size=V, d_model=16, d_kv=4, d_ff=24, num_layers=2, num_heads=4, dropout_rate=0.0)
    return lively(T5ForConditionalGeneration(config, np.random.default_rng(0)))


def transformer():
    config = TransformerConfig(
        vocab_size=V, max_positions=40, num_encoder_layers=1, num_decoder_layers=2, num_heads=4, hidden_size=16
    )
    return lively(Transformer(config, np.random.default_rng(0)))


def gpt2():
    config = GPT2Config(vocab_size=V, n_positions=40, n_embd=16, n_layer=2, n_head=4, eos_token_id=2)
    return lively(GPT2LMHeadModel(config, np.random.default_rng(0)))


FAMILIES = [gpt, llama, gpt2, t5, transformer]


def written(model, out, prompt_length):
    """The new tokens: behind the prompt, or behind the start token of an encoder-decoder."""
    return out[..., 1 if hasattr(model, "encode") else prompt_length :]


ROWS = [[7, 8, 9], [3, 4, 5, 6, 7, 8, 9, 10], [12], [15, 4, 4, 19, 3]]
