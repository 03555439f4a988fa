"""generate() beside transformers' on tiny random models of each family: the same tokens, greedy and with beams."""

import numpy as np
import pytest

from minilm.generation import generate

torch = pytest.importorskip("torch", reason="PyTorch is not installed")
transformers = pytest.importorskip("transformers", reason="transformers is not installed")

EOS, PAD = 5, 0


@pytest.fixture(autouse=True, scope="module")
def one_thread():
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


def gpt2():
    from minilm.hub.gpt import GPT2LMHeadModel
    from minilm.models.causal_config import GPT2Config

    config = GPT2Config(vocab_size=43, n_positions=64, n_embd=24, n_layer=2, n_head=3, bos_token_id=1, pad_token_id=PAD)
    return GPT2LMHeadModel(config, np.random.default_rng(1))


def llama():
    from minilm.hub.gpt import LlamaForCausalLM
    from minilm.models.causal_config import LlamaConfig

    config = LlamaConfig(
        vocab_size=43, hidden_size=24, intermediate_size=40, num_hidden_layers=2, num_attention_heads=4,
        num_key_value_heads=2, max_position_embeddings=64, bos_token_id=1, pad_token_id=PAD,
    )  # fmt: skip
    return LlamaForCausalLM(config, np.random.default_rng(2))


def t5(**changes):
    from minilm.hub.t5 import T5ForConditionalGeneration
    from minilm.models.t5_config import T5Config

    config = T5Config(
        vocab_size=43, d_model=24, d_kv=6, d_ff=40, num_layers=2, num_heads=4, pad_token_id=PAD,
        decoder_start_token_id=0, **changes,
    )  # fmt: skip
    return T5ForConditionalGeneration(config, np.random.default_rng(3))


def t5_gated():
    return t5(feed_forward_proj="gated-gelu", tie_word_embeddings=False)


CLASSES = {
    gpt2: "GPT2LMHeadModel", llama: "LlamaForCausalLM", t5: "T5ForConditionalGeneration", t5_gated: "T5ForConditionalGeneration"
}  # fmt: skip


@pytest.fixture(scope="module", params=CLASSES, ids=lambda make: make.__name__)
def pair(request, tmp_path_factory):
    """A model that does not say one token for ever, in float64 so that rounding decides nothing; and its twin."""
    folder = tmp_path_factory.mktemp("model")
    model = request.param()
    generator = np.random.default_rng(0)
    # a tied T5 would only repeat its last token, were its blocks not louder than its embeddings
    tied_t5 = hasattr(model, "shared") and model.lm_head is None
    for name, parameter in model.named_parameters():
        if "position" in name:
            parameter.data[...] = generator.normal(0, 1.0, parameter.shape)
        elif parameter.ndim == 2 and "blocks" in name:
            parameter.data[...] = generator.normal(
                0, (3.6 if tied_t5 else 1.8) / parameter.shape[1] ** 0.5, parameter.shape
            )
        elif parameter.ndim == 2:
            parameter.data[...] = generator.normal(0, 0.7 if tied_t5 else 0.5, parameter.shape)
    model.config.eos_token_id = an_end(model.double())
    model.save_pretrained(folder)
    twin = getattr(transformers, CLASSES[request.param]).from_pretrained(folder, dtype=torch.float64).eval()
    twin.generation_config = transformers.GenerationConfig(
        eos_token_id=model.config.eos_token_id,
        pad_token_id=PAD,
        decoder_start_token_id=0 if hasattr(model, "shared") else None,
    )
    return model.eval(), twin


def an_end(model):
    """A token that about half of the texts come upon: then some end early and some do not."""
    ids, mask = prompts(model, 99, rows=40)
    new = generate(model, ids, attention_mask=mask, max_new_tokens=25, eos_token_id=[])[:, -25:]
    share = [(new[:, 2:] == token).any(axis=1).mean() for token in range(43)]
    return int(np.argmin(np.abs(np.array(share) - 0.5)))


def prompts(model, seed, padded=True, rows=4, length=9):
    """Prompts with padding on the left (on the right for an encoder), in which PAD and EOS do not occur otherwise."""
    generator = np.random.default_rng(seed)
    ids = generator.integers(6, 43, (rows, length))
    mask = np.ones((rows, length), int)
    if padded:
        for i in range(1, rows):
            n = int(generator.integers(0, length - 2))
            place = slice(length - n, None) if hasattr(model, "shared") else slice(None, n)
            ids[i, place], mask[i, place] = PAD, 0
    return ids, mask


def theirs(twin, ids, mask, **options):
    with torch.no_grad():
        output = twin.generate(torch.from_numpy(ids), attention_mask=torch.from_numpy(mask), **options)
    return output if options.get("return_dict_in_generate") else output.numpy()


GREEDY = {
    "plain": {"max_new_tokens": 30},
    "default length": {},
    "max_length": {"max_length": 15},
    "penalty": {"max_new_tokens": 30, "repetition_penalty": 1.5},
    "n-grams": {"max_new_tokens": 40, "no_repeat_ngram_size": 2},
    "single tokens": {"max_new_tokens": 20, "no_repeat_ngram_size": 1},
    "at least": {"max_new_tokens": 30, "min_new_tokens": 20},
    "at least, by length": {"max_new_tokens": 30, "min_length": 20},
    "several ends": {"max_new_tokens": 30, "eos_token_id": [5, 11, 17]},
    "n-grams of the source": {"max_new_tokens": 30, "encoder_no_repeat_ngram_size": 2},
    "no token of the source": {"max_new_tokens": 20, "encoder_no_repeat_ngram_size": 1},
    "bad words": {"max_new_tokens": 30, "bad_words_ids": [[7], [8], *([a, b] for a in range(9, 43) for b in range(9, 30))]},
    "suppressed": {"max_new_tokens": 30, "suppress_tokens": [*range(6, 25)]},
    "suppressed at first": {"max_new_tokens": 10, "begin_suppress_tokens": [*range(6, 40)]},
    "forced first": {"max_new_tokens": 10, "forced_bos_token_id": 12, "begin_suppress_tokens": [*range(6, 40)]},
    "forced last": {"max_new_tokens": 9, "forced_eos_token_id": 33},
    "one of two forced last": {"max_length": 14, "forced_eos_token_id": [41, 33]},
    "wants to end": {"max_new_tokens": 30, "exponential_decay_length_penalty": (3, 1.15)},
    "all together": {
        "max_new_tokens": 30, "repetition_penalty": 0.8, "no_repeat_ngram_size": 3, "min_new_tokens": 5, "pad_token_id": 3
    },
}  # fmt: skip


@pytest.mark.parametrize("options", GREEDY.values(), ids=GREEDY)
@pytest.mark.parametrize("padded", [False, True], ids=["equal", "padded"])
def test_greedy(pair, padded, options):
    model, twin = pair
    for seed in range(2):
        ids, mask = prompts(model, seed, padded)
        wanted = theirs(twin, ids, mask, **options)
        for use_cache in (True, False)[: 2 - seed]:
            got = generate(model, ids, attention_mask=mask, use_cache=use_cache, **options)
            assert np.array_equal(got, wanted), (seed, use_cache)


BEAMS = {
    "two": {"num_beams": 2, "max_new_tokens": 20},
    "five": {"num_beams": 5, "max_new_tokens": 25},
    "prefers short": {"num_beams": 4, "max_new_tokens": 25, "length_penalty": 0.0},
    "prefers very short": {"num_beams": 3, "max_new_tokens": 25, "length_penalty": -1.5},
    "prefers long": {"num_beams": 4, "max_new_tokens": 25, "length_penalty": 2.0},
    "early": {"num_beams": 4, "max_new_tokens": 30, "early_stopping": True},
    "never early": {"num_beams": 3, "max_new_tokens": 30, "early_stopping": "never"},
    "never early, long": {"num_beams": 3, "max_new_tokens": 30, "early_stopping": "never", "length_penalty": 1.7},
    "several returned": {"num_beams": 4, "max_new_tokens": 25, "num_return_sequences": 4},
    "rules": {
        "num_beams": 3,
        "max_new_tokens": 25,
        "repetition_penalty": 1.3,
        "no_repeat_ngram_size": 2,
        "min_new_tokens": 6,
    },
    "more rules": {
        "num_beams": 3,
        "max_new_tokens": 20,
        "encoder_no_repeat_ngram_size": 2,
        "suppress_tokens": [7, 8, 9, 10, 11],
        "bad_words_ids": [[a, b] for a in range(9, 30) for b in range(9, 30)],
        "begin_suppress_tokens": [12, 13, 14],
        "forced_eos_token_id": 33,
        "exponential_decay_length_penalty": (5, 1.05),
        "forced_bos_token_id": 15,
    },
    "several ends": {"num_beams": 3, "max_new_tokens": 20, "eos_token_id": [5, 11, 17], "num_return_sequences": 2},
    "short": {"num_beams": 3, "max_length": 12},
}


@pytest.mark.parametrize("options", BEAMS.values(), ids=BEAMS)
def test_beams(pair, options):
    model, twin = pair
    for seed in range(2):
        ids, mask = prompts(model, seed)
        wanted = theirs(twin, ids, mask, return_dict_in_generate=True, output_scores=True, **options)
        for use_cache in (True, False)[: 2 - seed]:
            got = generate(
                model, ids, attention_mask=mask, use_cache=use_cache, return_dict_in_generate=True, **options
            )
            assert np.array_equal(got.sequences, wanted.sequences.numpy()), (seed, use_cache)
            assert np.allclose(got.sequences_scores, wanted.sequences_scores.numpy(), rtol=1e-5, atol=1e-5)


def test_texts_end_and_differ(pair):
    """The models above are worth comparing: some texts end early, some do not, and they do not repeat one token."""
    model, _ = pair
    ids, mask = prompts(model, 0, rows=30)
    out = generate(model, ids, attention_mask=mask, max_new_tokens=30)
    new = out[:, -30:]
    ended = (new == model.config.eos_token_id).any(axis=1)
    assert 3 <= ended.sum() <= 27
    assert np.quantile([len(set(row)) for row in new], 0.8) >= 4


@pytest.mark.parametrize(
    "options",
    [
        {"temperature": 0.7, "top_k": 0}, {"top_k": 7}, {"top_k": 0, "top_p": 0.6}, {"top_k": 0, "min_p": 0.2},
        {"top_k": 0, "typical_p": 0.3}, {"top_k": 0, "typical_p": 0.9}, {"top_k": 0, "epsilon_cutoff": 0.03},
        {"temperature": 1.5, "top_k": 10, "top_p": 0.9, "min_p": 0.05, "repetition_penalty": 1.4},
        {"temperature": 1.5, "top_k": 20, "typical_p": 0.6, "epsilon_cutoff": 0.02, "bad_words_ids": [[3], [4, 5]]},
    ],
    ids=str,
)  # fmt: skip
@pytest.mark.parametrize("beams", [1, 3])
def test_what_is_drawn_from_is_the_same(options, beams, generator):
    """The scores that both hand to the draw, which itself cannot be compared."""
    from minilm.generation import GenerationOptions
    from minilm.generation.search import Rules

    twin = transformers.GPT2LMHeadModel(transformers.GPT2Config(vocab_size=43, n_embd=4, n_layer=1, n_head=1))
    config = transformers.GenerationConfig(do_sample=True, num_beams=beams, eos_token_id=EOS, **options)
    config._eos_token_tensor = torch.tensor([EOS])
    processors = twin._get_logits_processor(config, input_ids_seq_length=4)
    rules = Rules(
        GenerationOptions(do_sample=True, num_beams=beams, eos_token_id=EOS, **options), 4, np.zeros(8, int), 99
    )
    texts = generator.integers(0, 43, (8, 6))
    scores = generator.normal(0, 3, (8, 43))
    wanted = processors(torch.from_numpy(texts), torch.from_numpy(scores)).numpy()
    got = rules(scores, texts)
    assert np.array_equal(np.isinf(got), np.isinf(wanted))
    assert np.allclose(got[np.isfinite(got)], wanted[np.isfinite(wanted)], rtol=1e-6)


def test_minilms_own_gpt_with_padding(generator):
    """GPT is no Hugging Face class; left padding must work there too, with every kind of positions."""
    from minilm.models import GPT, GPTConfig

    for layout in ({}, {"positions": "rotary", "norm": "rms_norm", "activation": "swiglu", "num_kv_heads": 2}):
        model = GPT(
            GPTConfig(vocab_size=43, context_length=40, num_layers=2, num_heads=4, hidden_size=24, **layout), generator
        )
        for parameter in model.parameters():
            if parameter.ndim == 2:
                parameter.data *= 25
        model.double()
        rows = [generator.integers(6, 43, n).tolist() for n in (3, 9, 5)]
        for options in ({}, {"num_beams": 3, "eos_token_id": EOS}, {"repetition_penalty": 1.5}):
            together = generate(model, rows, max_new_tokens=12, pad_token_id=PAD, **options)
            for row, prompt in zip(together, rows):
                alone = generate(model, prompt, max_new_tokens=12, pad_token_id=PAD, **options)
                ours = row[9 - len(prompt) :]
                n = min(len(ours), len(alone))
                assert np.array_equal(ours[:n], alone[:n])


@pytest.mark.parametrize("beams", [1, 3])
def test_stop_strings(beams):
    """A byte-level tokenizer with pieces of several letters: stop strings end texts in the same places."""
    tokenizers = pytest.importorskip("tokenizers", reason="tokenizers is not installed")
    model = llama().double().eval()
    for name, parameter in model.named_parameters():
        if parameter.ndim == 2:
            parameter.data *= 30 if "blocks" in name else 20
    pieces = [a + b for a in "abcdef" for b in ("", "x", "yz", "abc", "é", "ab ")] + list("xyz é") + ["-", "+"]
    vocabulary = {piece: i for i, piece in enumerate(pieces)}
    assert len(vocabulary) == 43
    fast = transformers.PreTrainedTokenizerFast(
        tokenizer_object=tokenizers.Tokenizer(tokenizers.models.BPE(vocabulary, [], unk_token="-")), unk_token="-"
    )
    fast.backend_tokenizer.decoder = tokenizers.decoders.Fuse()
    config = transformers.LlamaConfig(
        vocab_size=43, hidden_size=24, intermediate_size=40, num_hidden_layers=2, num_attention_heads=4,
        num_key_value_heads=2, max_position_embeddings=64, rms_norm_eps=model.config.rms_norm_eps,
    )  # fmt: skip
    twin = transformers.LlamaForCausalLM(config).double().eval()
    named = dict(model.mapping(model.config).to_file(model.state_dict().items(), is_base=False))
    twin.load_state_dict({name: torch.from_numpy(np.ascontiguousarray(array)) for name, array in named.items()})

    class Pieces:
        def decode(self, ids):
            return "".join(pieces[i] for i in ids)

    stopped = 0
    for seed in range(12):
        ids = np.random.default_rng(seed).integers(0, 43, (3, 5))
        options = {"max_new_tokens": 20, "num_beams": beams, "pad_token_id": 42, "eos_token_id": 41}
        mask = np.ones_like(ids)
        free = Pieces().decode(generate(model, ids, attention_mask=mask, **options)[0, 5:])
        stops = [free[6:8], "zx", free[11:14]]
        with torch.no_grad():
            wanted = twin.generate(
                torch.from_numpy(ids), attention_mask=torch.from_numpy(mask), stop_strings=stops,
                tokenizer=fast, **options,
            ).numpy()  # fmt: skip
        got = generate(model, ids, stop_strings=stops, tokenizer=Pieces(), attention_mask=mask, **options)
        assert np.array_equal(got, wanted), seed
        stopped += (got[:, -1] == 42).sum() + (got.shape[1] < 25)
    assert stopped > 5
