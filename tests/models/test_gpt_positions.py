"""GPT's position_ids: where each token stands, for learned and for rotary positions."""

import numpy as np
import pytest

from minilm.errors import InputError
from minilm.models import GPT, GPTConfig

LAYOUTS = [{}, {"positions": "rotary", "norm": "rms_norm", "activation": "swiglu", "num_kv_heads": 1}]


@pytest.fixture(params=LAYOUTS, ids=["learned", "rotary"])
def model(request):
    config = GPTConfig(vocab_size=11, context_length=12, num_layers=2, num_heads=2, hidden_size=8, **request.param)
    model = GPT(config, np.random.default_rng(0)).double().eval()
    for parameter in model.parameters():
        parameter.data *= 5
    return model


IDS = np.array([[1, 2, 3, 4], [5, 6, 7, 8]])


def test_counted_from_zero_they_change_nothing(model):
    plain = model(IDS)[0].data
    for positions in (np.arange(4), np.arange(4)[None], np.tile(np.arange(4), (2, 1))):
        np.testing.assert_allclose(model(IDS, position_ids=positions)[0].data, plain, rtol=1e-12)


def test_each_row_for_itself(model):
    positions = np.array([[0, 1, 2, 3], [4, 6, 7, 11]])
    together = model(IDS, position_ids=positions)[0].data
    for row in range(2):
        alone = model(IDS[row : row + 1], position_ids=positions[row : row + 1])[0].data
        np.testing.assert_allclose(together[row], alone[0], rtol=1e-12)
    assert np.abs(together[1] - model(IDS)[0].data[1]).max() > 1e-3


def test_padding_on_the_left_with_positions_is_the_text_alone(model):
    text = IDS[:1, :3]
    padded, mask, positions = np.array([[9, 1, 2, 3]]), np.array([[0, 1, 1, 1]]), np.array([[0, 0, 1, 2]])
    got = model(padded, attention_mask=mask, position_ids=positions)[0].data[:, 1:]
    np.testing.assert_allclose(got, model(text)[0].data, rtol=1e-12)


@pytest.mark.parametrize("positions", [[[0, 1]], [[0, 1, 2, -1]], [[0, 1, 2, 12]], [[0.0, 1.0, 2.0, 3.0]]], ids=str)
def test_positions_that_do_not_exist(model, positions):
    with pytest.raises(InputError, match="position"):
        model(IDS, position_ids=np.array(positions))
