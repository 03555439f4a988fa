"""The encoder-decoder Transformer: it learns to reverse, sees what it may see, and can be decoded with a cache."""

import math

import numpy as np
import pytest

from minilm.errors import InputError
from minilm.models.transformer import Transformer, TransformerConfig
from minilm.optim import AdamW
from minilm.tape import no_grad

PAD, START, END = 0, 1, 2
TINY = {
    "vocab_size": 13, "max_positions": 12, "num_encoder_layers": 2, "num_decoder_layers": 2, "num_heads": 2, "hidden_size": 16,
    "dropout": 0.0,
}  # fmt: skip
LAYOUTS = {
    "post-norm": {},
    "pre-norm": {"norm_first": True, "activation": "gelu"},
    "own tables": {"share_embeddings": False, "num_encoder_layers": 1},
}


def make_model(**changes):
    return Transformer(TransformerConfig(**{**TINY, **changes}), np.random.default_rng(0))


def reversal(generator, rows, longest=7):
    """Sources of unequal length, padded, and their reversals with END behind."""
    ids, labels = np.full((rows, longest), PAD), np.full((rows, longest + 1), -100)
    for i, n in enumerate(generator.integers(3, longest + 1, rows)):
        ids[i, :n] = generator.integers(3, 13, n)
        labels[i, : n + 1] = [*ids[i, :n][::-1], END]
    return ids, labels


@pytest.mark.slow
@pytest.mark.parametrize("norm_first", [False, True], ids=["post-norm", "pre-norm"])
def test_it_learns_to_reverse(norm_first):
    """Sequences of 3 to 7 tokens out of 10; judged on ones it has not seen, decoded token by token."""
    generator = np.random.default_rng(1)
    config = TransformerConfig(
        vocab_size=13, max_positions=12, num_encoder_layers=1, num_decoder_layers=1, num_heads=4, hidden_size=64,
        intermediate_size=96, dropout=0.0, norm_first=norm_first, label_smoothing=0.05,
    )  # fmt: skip
    model = Transformer(config, generator)
    optimizer = AdamW(model.parameters(), lr=3e-3, betas=(0.9, 0.98), weight_decay=0.0)
    steps = 500
    for step in range(steps):
        optimizer.param_groups[0]["lr"] = 4e-3 * min(1, (step + 1) / 50) * (1 - step / steps)
        ids, labels = reversal(generator, 48)
        loss = model(ids, attention_mask=ids != PAD, labels=labels).loss
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    model.eval()
    ids, labels = reversal(generator, 100)
    written = np.full((100, 1), START)
    with no_grad():
        encoded = model.encode(ids, ids != PAD)
        for _ in range(8):
            logits = model(attention_mask=ids != PAD, encoder_outputs=encoded, decoder_input_ids=written).logits.data
            written = np.concatenate([written, logits[:, -1:].argmax(-1)], axis=1)
    right = ((written[:, 1:] == labels) | (labels == -100)).all(axis=1)
    assert right.mean() >= 0.9


@pytest.mark.parametrize("changes", LAYOUTS.values(), ids=LAYOUTS)
def test_padding_future_and_cache(changes, generator):
    model = make_model(**changes).double().eval()
    ids, target = generator.integers(3, 13, (2, 6)), generator.integers(3, 13, (2, 5))
    mask = np.ones_like(ids)
    mask[1, 4:] = 0
    whole = model(ids, attention_mask=mask, decoder_input_ids=target).logits.data
    short = model(ids[1:, :4], decoder_input_ids=target[1:]).logits.data
    assert np.allclose(whole[1:], short, atol=1e-12)
    changed = target.copy()
    changed[:, 3] = 3 + (changed[:, 3] - 2) % 10
    after = model(ids, attention_mask=mask, decoder_input_ids=changed).logits.data
    assert np.array_equal(whole[:, :3], after[:, :3])
    assert not np.allclose(whole[:, 3:], after[:, 3:])
    cache, pieces = None, []
    with no_grad():
        for t in range(5):
            output = model(
                ids, attention_mask=mask, decoder_input_ids=target[:, t : t + 1], past_key_values=cache, use_cache=True
            )
            cache = output.past_key_values
            pieces.append(output.logits.data)
    assert np.allclose(np.concatenate(pieces, axis=1), whole, atol=1e-12)


@pytest.mark.parametrize("changes", LAYOUTS.values(), ids=LAYOUTS)
def test_every_parameter_gets_a_gradient(changes, generator):
    model = make_model(**changes)
    ids, labels = reversal(generator, 4)
    model(ids, attention_mask=ids != PAD, labels=labels).loss.backward()
    for name, parameter in model.named_parameters():
        # the bias of the keys adds the same to all scores of a query, which softmax does not notice
        assert parameter.grad is not None, name
        assert np.abs(parameter.grad).max() > 0, name


def test_sources_and_targets_stand_at_their_places(generator):
    """Attention alone has no order: without the positions, a permuted source would give the same."""
    model = make_model().eval()
    ids, target = np.array([[3, 4, 5, 6]]), np.array([[START, 7]])
    first = model(ids, decoder_input_ids=target).logits.data
    assert np.abs(first - model(ids[:, ::-1], decoder_input_ids=target).logits.data).max() > 1e-3


def test_embeddings_are_as_large_as_the_positions_and_shared_three_ways():
    model = make_model(hidden_size=64, vocab_size=500)
    assert model.encoder.embedding is model.decoder.embedding is model.shared
    assert model.head is None
    spread = (model.shared.weight.data * math.sqrt(64)).std()
    assert 0.9 < spread < 1.1
    assert 0.5 < model.encoder.positions.table.std() < 1.0
    own = make_model(share_embeddings=False)
    assert len({id(own.encoder.embedding.weight), id(own.decoder.embedding.weight), id(own.head.weight)}) == 3


def test_what_goes_into_the_first_block():
    """√hidden · E[id] + PE, the sum and not the product of [F6; 002 §4.2]."""
    model = make_model().double().eval()
    ids = np.array([[3, 7, 3]])
    state = model.encode(ids, output_hidden_states=True).hidden_states[0].data
    t, i = np.arange(3)[:, None], np.arange(8)
    angle = t / 10000 ** (2 * i / 16)
    assert np.allclose(state[0, :, 0::2], 4 * model.shared.weight.data[ids[0], 0::2] + np.sin(angle))
    assert np.allclose(state[0, :, 1::2], 4 * model.shared.weight.data[ids[0], 1::2] + np.cos(angle))


def test_label_smoothing_is_for_training_only(generator):
    model = make_model(label_smoothing=0.2)
    ids, labels = generator.integers(3, 13, (2, 6)), generator.integers(3, 13, (2, 4))
    trained = model(ids, labels=labels)
    log_probabilities = trained.logits.data - np.log(np.exp(trained.logits.data).sum(-1, keepdims=True))
    plain = -np.take_along_axis(log_probabilities, labels[..., None], -1).mean()
    smoothed = 0.8 * plain - 0.2 * log_probabilities.mean()
    assert trained.loss.item() == pytest.approx(smoothed, rel=1e-5)
    assert model.eval()(ids, labels=labels).loss.item() == pytest.approx(plain, rel=1e-5)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"hidden_size": 15}, "hidden_size is 15; sinusoidal positions come in pairs"),
        ({"num_heads": 3}, "hidden_size 16 is not a multiple of num_heads 3"),
        ({"label_smoothing": 1.0}, "label_smoothing is 1.0"),
        ({"activation": "maxout"}, "activation is 'maxout'; choose one of relu"),
        ({"eos_token_id": 13}, "the vocabulary has tokens 0 to 12"),
        ({"num_decoder_layers": 0}, "num_decoder_layers is 0"),
    ],
)
def test_a_configuration_that_cannot_work(changes, message):
    with pytest.raises(InputError, match=message):
        make_model(**changes)


def test_a_text_longer_than_the_positions():
    with pytest.raises(ValueError, match="knows only 12 positions"):
        make_model()(np.full((1, 13), 3), labels=np.array([[3]]))


def test_a_configuration_goes_through_its_dictionary():
    config = TransformerConfig(**TINY)
    assert TransformerConfig.from_dict(config.to_dict()) == config
    with pytest.raises(InputError, match="unknown TransformerConfig option"):
        TransformerConfig.from_dict({"depth": 3})
