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
    (lambda: F.linear(X, Tensor(np.ones((5, 4)))), ValueError, r"x has \(3,\) features.*expects \(4,\)"),
    (lambda: F.layer_norm(X, Tensor(np.ones(2))), ValueError, r"weight has shape \(2,\), but x has 3"),
    (lambda: F.layer_norm(X, Tensor(np.ones(3)), Tensor(np.ones(1))), ValueError, r"bias has shape \(1,\)"),
    (lambda: F.rms_norm(X, Tensor(np.ones((1, 3)))), ValueError, "weight has shape"),
    (lambda: F.embedding([0.5], X), TypeError, "integer ids, not float64"),
    (lambda: F.embedding([0, 2], X), IndexError, "ids run from 0 to 2, but the table has rows 0 to 1"),
    (lambda: F.embedding([-1], X), IndexError, "from -1"),
    (lambda: F.dropout(X, 1.5), ValueError, "1.5 is not between 0 and 1"),
    (lambda: F.dropout(X, -0.1), ValueError, "not between"),
    (lambda: F.gelu(X, approximate="erf"), ValueError, "'erf'; gelu knows 'none' .* and 'tanh'"),
    (lambda: F.var(Tensor([1.0])), ValueError, "use correction=0"),
    (lambda: F.split(X, [1, 1], dim=-1), ValueError, r"\[1, 1\] do not add up to the 3"),
    (lambda: F.gather(X, 0, np.array([0])), ValueError, "2 axes like x, not 1"),
    (lambda: F.rotary_angles(np.arange(3), 5), ValueError, "head_dim is 5; use an even"),
    (lambda: F.cross_entropy(X, np.array([0, 3])), IndexError, "from 0 to 3, but there are classes 0 to 2"),
    (lambda: F.cross_entropy(X, np.array([0, -1])), IndexError, "from -1"),
    (lambda: F.cross_entropy(X, np.array([0])), ValueError, r"shape \(1,\).*want targets of \(2,\)"),
    (lambda: F.cross_entropy(X, np.ones(2)), ValueError, r"want targets of \(2, 3\)"),
    (lambda: F.cross_entropy(X, np.array([0, 1]), reduction="avg"), ValueError, "'mean', 'sum', 'none'"),
    (lambda: F.cross_entropy(X, Tensor(np.ones((2, 3)), requires_grad=True)), ValueError, "detach()"),
    (lambda: F.scaled_dot_product_attention(X, X, X), ValueError, "batch, heads, positions, head_dim"),
    (lambda: F.attention_composed(Q, Q[:, :, :1], Q), ValueError, "must agree"),
    (lambda: F.scaled_dot_product_attention(Q, Q[..., :4], Q), ValueError, "head_dim must agree"),
    (
        lambda: F.scaled_dot_product_attention(Q, Q[:, :3], Q[:, :3]),
        ValueError,
        "4 query heads cannot share 3 key heads",
    ),
    (lambda: F.attention_composed(Q, Q[:, :0], Q[:, :0]), ValueError, "cannot share 0"),
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
