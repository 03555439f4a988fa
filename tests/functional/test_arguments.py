"""What a person can get wrong, and the sentence they get: what was wrong, with numbers, and what fits."""

from __future__ import annotations

import numpy as np
import pytest

from minilm import Tensor
from minilm import functional as F

X = Tensor(np.ones((2, 3)))
Q = np.ones((1, 4, 2, 8))

BAD = [
    (lambda: F.matmul(X, X), ValueError, r"\(2, 3\) and \(2, 3\).*3 and 2 differ"),
    (lambda: F.matmul(X, 2.0), ValueError, r"multiply by a number with \*"),
    (lambda: F.linear(X, Tensor(np.ones((5, 4)))), ValueError, r"x \(2, 3\) has other features.*\(5, 4\) expects, 4"),
    (
        lambda: F.linear(X, Tensor(np.ones((5, 3))), Tensor(np.ones(4))),
        ValueError,
        r"bias has shape \(4,\).* wants \(5,\)",
    ),
    (lambda: F.linear(X, Tensor(np.ones(3))), ValueError, r"weight \(out, in\); got one of shape \(3,\)"),
    (lambda: F.linear(X, X, activation="gelo"), ValueError, "'gelo'; it is None or one of 'gelu', 'gelu_tanh'"),
    (lambda: F.linear(X, X, residual=X), ValueError, r"residual has shape \(2, 3\); .* result \(2, 2\)"),
    (lambda: F.layer_norm(X, Tensor(np.ones(2))), ValueError, r"weight has shape \(2,\); x \(2, 3\) has 3 features"),
    (lambda: F.layer_norm(X, eps=-1.0), ValueError, "eps is -1.0; it must not be negative"),
    (lambda: F.layer_norm(Tensor(1.0)), ValueError, r"features in the last axis; x of shape \(\) has none"),
    (lambda: F.layer_norm(X, Tensor(np.ones(3)), Tensor(np.ones(1))), ValueError, r"bias has shape \(1,\)"),
    (lambda: F.rms_norm(X, Tensor(np.ones((1, 3)))), ValueError, "weight has shape"),
    (lambda: F.embedding([0.5], X), TypeError, "integer ids, not float64"),
    (lambda: F.embedding([0, 2], X), IndexError, "ids run from 0 to 2, but the table has rows 0 to 1"),
    (lambda: F.embedding([-1], X), IndexError, "from -1"),
    (lambda: F.dropout(X, 1.5), ValueError, "1.5 is not between 0 and 1"),
    (lambda: F.dropout(X, -0.1), ValueError, "not between"),
    (lambda: F.gelu(X, approximate="erf"), ValueError, "'erf'; it is 'none' .* or 'tanh'"),
    (lambda: F.silu_mul(X, X[:1]), ValueError, r"gate \(2, 3\) and up \(1, 3\) must have one shape"),
    (lambda: F.bias_residual_dropout(X, None, X[:1]), ValueError, r"residual \(1, 3\) .* shape of x, \(2, 3\)"),
    (lambda: F.bias_residual_dropout(X, Tensor(np.ones(2))), ValueError, r"bias has shape \(2,\); x .* 3 features"),
    (lambda: F.bias_residual_dropout(X, p=1.5), ValueError, "1.5 is not between 0 and 1"),
    (lambda: F.bias_residual_dropout(X, p=float("nan")), ValueError, "nan is not between"),
    (lambda: F.var(Tensor([1.0])), ValueError, "use correction=0"),
    (lambda: F.split(X, [1, 1], dim=-1), ValueError, r"\[1, 1\] do not add up to the 3"),
    (lambda: F.gather(X, 0, np.array([0])), ValueError, "2 axes like x, not 1"),
    (lambda: F.rotary_angles(np.arange(3), 5), ValueError, "head_dim is 5; use an even"),
    (lambda: F.cross_entropy(X, np.array([0, 3])), IndexError, "a target 3; the classes are 0 to 2, and -100 marks"),
    (lambda: F.cross_entropy(X, np.array([0, -1])), IndexError, "a target -1"),
    (lambda: F.cross_entropy(X, np.array([True, False])), TypeError, "array of integers, not bool"),
    (lambda: F.cross_entropy(X, np.array([0, 1]), label_smoothing=1.5), ValueError, "1.5 is not between 0 and 1"),
    (lambda: F.cross_entropy(X, np.array([0])), ValueError, r"shape \(1,\).*want targets of \(2,\)"),
    (lambda: F.cross_entropy(X, np.ones(2)), ValueError, r"want targets of \(2, 3\)"),
    (lambda: F.cross_entropy(X, np.array([0, 1]), reduction="avg"), ValueError, "it is one of 'mean', 'sum', 'none'"),
    (lambda: F.cross_entropy(X, np.ones((2, 3)), reduction="avg"), ValueError, "'mean', 'sum', 'none'"),
    (lambda: F.cross_entropy(X, Tensor(np.ones((2, 3)), requires_grad=True)), ValueError, "detach()"),
    (lambda: F.scaled_dot_product_attention(X, X, X), ValueError, "batch, heads, positions, head_dim"),
    (lambda: F.self_attention(X, 1), ValueError, r"wants \(batch, positions, 3 · head_dim\)"),
    (lambda: F.self_attention(np.ones((1, 2, 10)), 2, 1), ValueError, "for 2 query and 1 key heads"),
    (lambda: F.attention_composed(Q, Q[:, :, :1], Q), ValueError, "must agree"),
    (lambda: F.scaled_dot_product_attention(Q, Q[..., :4], Q), ValueError, "head_dim must agree"),
    (
        lambda: F.scaled_dot_product_attention(Q, Q[:, :3], Q[:, :3]),
        ValueError,
        "4 query heads cannot share 3 key heads",
    ),
    (lambda: F.attention_composed(Q, Q[:, :0], Q[:, :0]), ValueError, "cannot share 0"),
    (
        lambda: F.scaled_dot_product_attention(Q, Q, Q, key_padding_mask=np.ones((1, 3))),
        ValueError,
        r"key_padding_mask has shape \(1, 3\); it needs one entry for each key .* \(1, 2\)",
    ),
    (
        lambda: F.scaled_dot_product_attention(Q, Q, Q, attn_mask=np.ones((3, 4, 2, 2))),
        ValueError,
        r"\(3, 4, 2, 2\), which does not broadcast to .*\(1, 4, 2, 2\)",
    ),
    (lambda: F.scaled_dot_product_attention(Q, Q, Q, dropout_p=1.5), ValueError, "dropout 1.5 is no probability"),
    (lambda: F.rotary(np.ones((4, 3)), np.ones((4, 1)), np.ones((4, 1))), ValueError, "even number of features"),
    (lambda: F.rotary(np.ones((4, 2)), np.ones((1, 1)), np.ones((1, 1))), ValueError, r"shape \(4, 1\), not \(1, 1\)"),
]


@pytest.mark.parametrize(("call", "error", "message"), BAD)
def test_bad_input(call, error, message):
    with pytest.raises(error, match=message):
        call()


QUIET = {
    "unsqueeze beyond the axes": lambda: F.unsqueeze(X, 7),
    "permute beyond the axes": lambda: F.permute(X, 0, 3),
    "permute with one axis missing": lambda: F.permute(X, 0),
    "permute with a repeated axis": lambda: F.permute(X, 1, 1),
    "split beyond the axes": lambda: F.split(X, 1, dim=5),
    "gather beyond the axes": lambda: F.gather(X, 2, np.zeros((2, 3), int)),
    "rotary with odd features": lambda: F.rotary(np.ones((4, 3)), np.ones((4, 1)), np.ones((4, 1))),
    "rotary with too few positions": lambda: F.rotary(np.ones((4, 2)), np.ones((1, 1)), np.ones((1, 1))),
    "an integer 0/1 mask added to the scores": lambda: F.scaled_dot_product_attention(
        Q, Q, Q, attn_mask=np.eye(2, dtype=int)
    ),
    "a mask with more axes than the scores": lambda: F.attention_composed(Q, Q, Q, attn_mask=np.ones((3, 4, 2, 2))),
    "a negative padding_idx": lambda: F.embedding([0], X, padding_idx=-5),
}


@pytest.mark.parametrize("name", QUIET)
def test_what_cannot_be_meant_is_not_computed(name):
    with pytest.raises((ValueError, IndexError, TypeError)):
        QUIET[name]()
