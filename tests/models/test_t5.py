"""T5 by its own laws: distances, not positions; causal; padding is invisible; the cache changes nothing."""

import numpy as np
import pytest

from minilm.errors import InputError
from minilm.models.seq2seq import shift_right
from minilm.models.t5 import T5Config, T5ForConditionalGeneration, T5Model
from minilm.models.t5_positions import RelativePositionBias, relative_position_bucket
from minilm.tape import no_grad

TINY = {
    "vocab_size": 29,
    "d_model": 18,
    "d_kv": 5,
    "d_ff": 22,
    "num_layers": 2,
    "num_decoder_layers": 3,
    "num_heads": 2,
}
LAYOUTS = {"plain": {}, "gated": {"feed_forward_proj": "gated-gelu", "tie_word_embeddings": False}}


def make_model(own_class=T5ForConditionalGeneration, **changes):
    model = own_class(T5Config(**{**TINY, "dropout_rate": 0.0, **changes}), np.random.default_rng(0)).double()
    model.encoder.position_bias.table.weight.data *= 5
    model.decoder.position_bias.table.weight.data *= 5
    return model


@pytest.fixture(params=LAYOUTS.values(), ids=LAYOUTS)
def model(request):
    return make_model(**request.param)


def test_buckets_by_hand():
    # 8 buckets, backwards: 0 1 2 3 alone; then 4 + ⌊log(r/4)/log(16/4) · 4⌋ for r = 4 … 16
    distances = -np.array([0, 1, 2, 3, 4, 5, 6, 8, 11, 12, 15, 16, 500])
    assert relative_position_bucket(distances, False, 8, 16).tolist() == [0, 1, 2, 3, 4, 4, 5, 6, 6, 7, 7, 7, 7]
    assert relative_position_bucket(np.array([1, 7]), False, 8, 16).tolist() == [0, 0]  # the future is not seen anyway
    # both ways: 4 buckets each
    both = relative_position_bucket(np.array([-100, -2, -1, 0, 1, 2, 100]), True, 8, 16)
    assert both.tolist() == [3, 2, 1, 0, 5, 6, 7]


def test_the_bias_depends_on_the_distance_alone(generator):
    bias = RelativePositionBias(3, 8, 20, bidirectional=True, generator=generator)
    table = bias(9, 9).data  # (1, 3, 9, 9)
    assert table.shape == (1, 3, 9, 9)
    assert np.array_equal(table[:, :, 1:, 1:], table[:, :, :-1, :-1])
    assert np.array_equal(bias(2, 9, start=5).data, table[:, :, 5:7])
    assert not np.array_equal(table[0, 0, 0, 1], table[0, 0, 1, 0])  # left is not right


def test_padding_on_either_side_changes_nothing(model, generator):
    """Positions are relative, so a source may stand anywhere in its row."""
    ids = generator.integers(2, 29, (1, 6))
    labels = generator.integers(2, 29, (1, 4))
    alone = model(ids, labels=labels)
    for left, right in ((0, 3), (3, 0), (2, 2)):
        padded = np.pad(ids, ((0, 0), (left, right)))
        mask = np.pad(np.ones_like(ids), ((0, 0), (left, right)))
        together = model(padded, attention_mask=mask, labels=labels)
        assert np.allclose(together.logits.data, alone.logits.data, atol=1e-12)


def test_the_decoder_does_not_see_the_future_but_all_of_the_source(model, generator):
    ids, target = generator.integers(2, 29, (2, 6)), generator.integers(2, 29, (2, 5))
    before = model(ids, decoder_input_ids=target).logits.data
    changed = target.copy()
    changed[:, 3] += 1 - 2 * (changed[:, 3] > 20)
    after = model(ids, decoder_input_ids=changed).logits.data
    assert np.array_equal(before[:, :3], after[:, :3])
    assert not np.allclose(before[:, 3:], after[:, 3:])
    ids[:, -1] = 1
    assert (np.abs(model(ids, decoder_input_ids=target).logits.data - before).max(axis=(1, 2)) > 1e-6).all()


def test_the_cache_changes_nothing(model, generator):
    ids, target = generator.integers(2, 29, (2, 6)), generator.integers(2, 29, (2, 7))
    mask = np.ones_like(ids)
    mask[1, 4:] = 0
    whole = model(ids, attention_mask=mask, decoder_input_ids=target).logits.data
    with no_grad():
        encoded = model.encode(ids, mask)
        cache, pieces = None, []
        for part in (target[:, :3], target[:, 3:4], target[:, 4:5], target[:, 5:]):  # more room is needed on the way
            output = model(
                attention_mask=mask,
                encoder_outputs=encoded,
                decoder_input_ids=part,
                past_key_values=cache,
                use_cache=True,
            )
            cache = output.past_key_values
            pieces.append(output.logits.data)
    assert np.allclose(np.concatenate(pieces, axis=1), whole, atol=1e-12)
    assert cache.length == 7


def test_encoder_outputs_may_be_given_in_three_ways(model, generator):
    ids, target = generator.integers(2, 29, (2, 6)), generator.integers(2, 29, (2, 3))
    wanted = model(ids, decoder_input_ids=target).logits.data
    encoded = model.encode(ids)
    for given in (encoded, (encoded.last_hidden_state,), encoded.last_hidden_state, encoded.last_hidden_state.data):
        assert np.array_equal(model(encoder_outputs=given, decoder_input_ids=target).logits.data, wanted)


def test_labels_are_shifted_inside(model, generator):
    ids, labels = generator.integers(2, 29, (2, 6)), np.array([[5, 6, 1], [7, 1, -100]])
    assert shift_right(labels, 3, 0).tolist() == [[3, 5, 6], [3, 7, 1]]
    assert shift_right(np.array([[-100, 4]]), 3, 9).tolist() == [[3, 9]]
    output = model(ids, labels=labels)
    explicit = model(ids, decoder_input_ids=shift_right(labels, 0, 0))
    assert np.array_equal(output.logits.data, explicit.logits.data)
    losses = -np.log(np.exp(explicit.logits.data) / np.exp(explicit.logits.data).sum(-1, keepdims=True))
    counted = [losses[0, 0, 5], losses[0, 1, 6], losses[0, 2, 1], losses[1, 0, 7], losses[1, 1, 1]]
    assert output.loss.item() == pytest.approx(np.mean(counted), rel=1e-9)


def test_fields_are_there_when_asked_for(model, generator):
    ids, labels = generator.integers(2, 29, (2, 6)), generator.integers(2, 29, (2, 4))
    plain = model(ids, labels=labels)
    assert plain.keys() == ["loss", "logits", "encoder_last_hidden_state"]
    full = model(ids, labels=labels, output_hidden_states=True, output_attentions=True)
    assert [len(full[name]) for name in ("encoder_hidden_states", "decoder_hidden_states")] == [3, 4]
    assert full.cross_attentions[0].shape == (2, 2, 4, 6)
    assert np.allclose(full.decoder_attentions[2].data.sum(-1), 1)
    assert np.array_equal(full.logits.data, plain.logits.data)


def test_a_tied_head_adds_no_parameters():
    names = [dict(make_model(tie_word_embeddings=tie).named_parameters()) for tie in (True, False)]
    assert set(names[1]) - set(names[0]) == {"lm_head.weight"}
    base = make_model(T5Model)
    assert set(dict(base.named_parameters())) == set(names[0])
    assert base(np.array([[3, 4]]), decoder_input_ids=np.array([[0]])).last_hidden_state.shape == (1, 1, 18)


def test_the_same_generator_gives_the_same_model_and_the_same_drops(generator):
    ids, labels = generator.integers(2, 29, (2, 6)), generator.integers(2, 29, (2, 4))
    losses = []
    for seed in (1, 1, 2):
        model = T5ForConditionalGeneration(T5Config(**TINY, dropout_rate=0.3), np.random.default_rng(seed))
        losses.append((model(ids, labels=labels).loss.item(), model(ids, labels=labels).loss.item()))
    assert losses[0] == losses[1] != losses[2]
    assert losses[0][0] != losses[0][1]  # other drops each time


def test_it_learns_a_batch(generator):
    from minilm.optim import AdamW

    model = T5ForConditionalGeneration(T5Config(**TINY, dropout_rate=0.0), generator)
    ids, labels = generator.integers(2, 29, (4, 6)), generator.integers(2, 29, (4, 5))
    optimizer = AdamW(model.parameters(), lr=1e-2)
    losses = []
    for _ in range(60):
        loss = model(ids, labels=labels).loss
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    assert losses[-1] < 0.1 < 2 < losses[0]


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"d_model": 0}, "d_model is 0; it must be at least 1"),
        ({"num_decoder_layers": 0}, "num_decoder_layers is 0"),
        ({"dropout_rate": 1.0}, "dropout_rate is 1.0"),
        ({"layer_norm_epsilon": 0.0}, "layer_norm_epsilon is 0.0"),
        ({"feed_forward_proj": "gated-tanh"}, "feed_forward_proj is 'gated-tanh'; choose relu, gated-gelu"),
        ({"relative_attention_num_buckets": 2}, "must be at least 4"),
        ({"relative_attention_max_distance": 16}, "must be above 16"),
        ({"pad_token_id": 29}, "the vocabulary has tokens 0 to 28"),
    ],
)
def test_a_configuration_that_cannot_work(changes, message):
    with pytest.raises(InputError, match=message):
        T5Model(T5Config(**{**TINY, **changes}))


def test_calls_that_cannot_work(model):
    ids = np.array([[2, 3]])
    with pytest.raises(InputError, match="the decoder has no input"):
        model(ids)
    with pytest.raises(InputError, match="the encoder has no input"):
        model(decoder_input_ids=ids)
    with pytest.raises(InputError, match=r"labels have shape \(1, 0\)"):
        model(ids, labels=np.zeros((1, 0), int))
    with pytest.raises(InputError, match=r"input_ids have shape \(0, 2\)"):
        model(ids[:0], decoder_input_ids=ids)
    with pytest.raises(InputError, match="input_ids run from 29 to 29, but the model has tokens 0 to 28"):
        model(np.array([[29]]), labels=ids)
    with pytest.raises(InputError, match="labels run from -1 to 4"):
        model(ids, labels=np.array([[4, -1, -100]]))
    with pytest.raises(InputError, match=r"the mask of input_ids has shape \(1, 3\); give \(1, 2\)"):
        model(ids, attention_mask=np.ones((1, 3)), labels=ids)
    with pytest.raises(InputError, match=r"decoder_input_ids have shape \(2,\) and type float64"):
        model(ids, decoder_input_ids=np.ones(2))
    with pytest.raises(InputError, match="unknown T5Config option"):
        T5Config.from_dict({"d_mode": 3})


def test_a_configuration_goes_through_its_dictionary():
    config = T5Config(**TINY, feed_forward_proj="gated-gelu", tie_word_embeddings=False)
    assert T5Config.from_dict(config.to_dict()) == config
    assert not config.scale_decoder_outputs
    assert T5Config().scale_decoder_outputs
    assert T5Config(num_layers=4).num_decoder_layers == 4
