"""Greedy decoding beside Hugging Face transformers: the same weights must give the same tokens."""

import numpy as np
import pytest

from minilm.bench.decode import decode, enliven, transformers_twin
from minilm.errors import InputError
from minilm.generation import GenerationConfig, generate
from minilm.models import GPT, GPTConfig

torch = pytest.importorskip("torch", reason="PyTorch is not installed")
pytest.importorskip("transformers", reason="transformers is not installed")

TINY = {"vocab_size": 61, "context_length": 48, "num_layers": 3, "num_heads": 4, "hidden_size": 32}


@pytest.fixture(autouse=True, scope="module")
def one_thread():
    """Tiny models: a second thread would only wait for the first, on a busy machine for long."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


@pytest.fixture(params=[{}, {"bias": True, "activation": "gelu_tanh"}, {"intermediate_size": 48}], ids=str)
def model(request, generator):
    model = GPT(GPTConfig(**{**TINY, **request.param}), generator)
    enliven(model)
    for parameter in model.parameters():
        if parameter.ndim == 1:  # norms and biases that do something
            parameter.data += generator.normal(0, 0.05, parameter.shape).astype(np.float32)
    return model


@pytest.mark.parametrize("penalty", [1.0, 1.3])
def test_greedy_tokens_are_those_of_transformers(model, generator, penalty):
    twin = transformers_twin(model)
    prompts = generator.integers(0, 61, (4, 6))
    ours = generate(model, prompts, GenerationConfig(40, temperature=0, repetition_penalty=penalty))
    start = torch.from_numpy(prompts)
    with torch.no_grad():
        theirs = twin.generate(
            start, attention_mask=torch.ones_like(start), max_new_tokens=40, do_sample=False, pad_token_id=0,
            repetition_penalty=penalty,
        ).numpy()  # fmt: skip
    assert np.array_equal(ours, theirs)
    assert len(np.unique(ours[:, 6:])) > 4  # else it would prove little


def test_the_logits_are_those_of_transformers(model, generator):
    ids = generator.integers(0, 61, (2, 48))
    with torch.no_grad():
        theirs = transformers_twin(model)(torch.from_numpy(ids)).logits.numpy()
    ours = model.eval()(ids)[0].data
    assert np.abs(ours - theirs).max() < 1e-4 * np.abs(theirs).max()


def test_top_p_and_top_k_keep_what_those_of_transformers_keep(generator):
    from transformers.generation.logits_process import TopKLogitsWarper, TopPLogitsWarper

    from minilm.generation import keep_top_k, keep_top_p

    logits = generator.normal(0, 3, (20, 50))
    theirs = torch.from_numpy(logits)
    for k in (1, 7, 49, 50):
        assert np.array_equal(keep_top_k(logits, k), TopKLogitsWarper(k)(None, theirs).numpy())
    for p in (0.05, 0.5, 0.9, 0.999):
        assert np.array_equal(keep_top_p(logits, p), TopPLogitsWarper(p)(None, theirs).numpy())


def test_the_benchmark_compares_and_prints(capsys):
    results = decode(["char"], tokens=3, repeats=2, threads=1, pause=0)
    assert results["char"]["agree"]
    assert set(results["char"]["ratio"]) == {"generate()", "bare loop"}
    assert all(len(seconds) == 2 for seconds in results["char"]["seconds"].values())
    assert "tokens per second" in capsys.readouterr().out


def test_the_benchmark_refuses_more_tokens_than_the_context_holds():
    with pytest.raises(InputError, match="room for 248 tokens"):
        decode(["char"], tokens=249)


def test_a_layout_that_gpt2_does_not_have_has_no_twin():
    with pytest.raises(InputError, match="another layout"):
        transformers_twin(GPT(GPTConfig.llama(vocab_size=5)))
