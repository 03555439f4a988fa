"""What the documents have wrong: each of their formulas as it stands there, and numbers that show where it fails."""

from __future__ import annotations

from minilm.formulas.entry import Formula, Letter, Text
from minilm.formulas.families.attention import KEYS, QUERIES, VALUES
from minilm.formulas.families.counter_examples import (
    ENTRY,
    block_example,
    compare_block,
    compare_decoder,
    compare_normalized_twice,
    compare_one_number,
    compare_positions,
    compare_values_first,
    compare_weights,
    compare_without_context,
    decoder_example,
    normalized_twice_example,
    one_number_example,
    positions_example,
    values_first_example,
    weights_example,
    without_context_example,
)
from minilm.formulas.families.layers import HIDDEN

FORMULAS = (
    Formula(
        "unscaled-weights",
        Text("weights without √d_k", "没有除以 √d_k 的权重"),
        "a_ij = exp(q_i·k_j) / Σ_j exp(q_i·k_j)",
        r"a_{ij} = \frac{\exp(q_i \cdot k_j)}{\sum_{j'} \exp(q_i \cdot k_{j'})}",
        Text(
            "The scores have the variance d_k. With wide queries and keys one weight is nearly 1, the others nearly 0, and the "
            "gradient through softmax vanishes.",
            "分数的方差是 d_k。维数一高，一个权重接近 1，其余接近 0，softmax 处的梯度就消失了。",
        ),
        (Letter("q_i, k_j", "(d_k,)", Text("a query and a key", "一个查询和一个键")),),
        weights_example,
        (
            "tests/formulas/test_formula_examples.py::test_the_documents_version_differs",
            "tests/properties/test_mutants.py::test_mutant_is_caught",
        ),
        (("F4", "004 §3.1"),),
        (),
        "attention-weights",
        compare_weights,
    ),
    Formula(
        "positions-multiplied",
        Text("positions multiplied instead of added", "位置编码写成相乘"),
        "word_embedding(w) = Embedding(w) · PositionalEncoding(p)",
        r"\mathrm{word\_embedding}(w) = \mathrm{Embedding}(w) \cdot \mathrm{PositionalEncoding}(p)",
        Text(
            "Where a sine is 0 a product erases what the word said; two different words become the same. The Transformer adds.",
            "正弦为 0 的地方，相乘会抹掉词的内容，不同的词变成一样的。Transformer 用的是相加。",
        ),
        (
            Letter("x", "(n,)", Text("the word's embedding", "词嵌入")),
            Letter("PE", "(T, n)", Text("the sinusoids", "正弦编码")),
        ),
        positions_example,
        (
            "tests/formulas/test_formula_examples.py::test_the_documents_version_differs",
            "tests/models/test_transformer.py::test_what_goes_into_the_first_block",
            "tests/models/test_bert.py::test_the_embeddings_are_added_and_normalized",
        ),
        (("F6", "002 §4.2"),),
        (),
        "sinusoidal-positions",
        compare_positions,
    ),
    Formula(
        "block-side-by-side",
        Text("an encoder block with its parts side by side", "编码器块写成两项并排相加"),
        "H = LayerNorm(X + SelfAttention(X)) + LayerNorm(X + SelfAttention(X))",
        r"H = \mathrm{LayerNorm}(X + \mathrm{SelfAttention}(X))"
        "\n"
        r"  + \mathrm{LayerNorm}(X + \mathrm{SelfAttention}(X))",
        Text(
            "Twice the same term, and no feed-forward network. The sub-layers follow one another, and the second is the "
            "feed-forward network.",
            "两项一模一样，也没有前馈网络。正确的写法是两个子层依次相接，第二个是前馈网络。",
        ),
        (HIDDEN,),
        block_example,
        (
            "tests/formulas/test_formula_examples.py::test_the_documents_version_differs",
            "tests/models/test_bert.py::test_a_block_by_its_formula",
        ),
        (("F8", "003 §4.1.2"),),
        (),
        "block",
        compare_block,
    ),
    Formula(
        "decoder-side-by-side",
        Text("a decoder block with its parts side by side", "解码器块写成两项并排相加"),
        "Y = LayerNorm(X + SelfAttention(X)) + LayerNorm(X + Encoder(X))",
        r"Y = \mathrm{LayerNorm}(X + \mathrm{SelfAttention}(X))"
        "\n"
        r"  + \mathrm{LayerNorm}(X + \mathrm{Encoder}(X))",
        Text(
            "The encoder is applied to the decoder's own input, so the source sentence is never read. Cross-attention "
            "takes its "
            "keys and values from what the encoder made of the source; the sub-layers stand in sequence, then comes the "
            "feed-forward network.",
            "这里把编码器用在解码器自己的输入上，源句根本没有读到。交叉注意力的键和值应取自编码器对源句的输出；各子层依次相接，最后是前馈网络。",
        ),
        (HIDDEN,),
        decoder_example,
        (
            "tests/formulas/test_formula_examples.py::test_the_documents_version_differs",
            "tests/nn/test_transformer_block.py::test_three_sub_layers_in_sequence",
        ),
        (("F9", "003 §4.1.3"),),
        (),
        "decoder-block",
        compare_decoder,
    ),
    Formula(
        "values-first",
        Text("attention with the last product the wrong way round", "最后一步乘反了的注意力"),
        "S = Q Kᵀ;  W = softmax(S);  H = V W",
        r"S = Q K^\top;\quad W = \mathrm{softmax}(S);\quad H = V W",
        Text(
            "√d_k is lost, and V W has no meaning: W has a row per query and a column per key, so it stands on "
            "the left, H = W V.",
            "漏了 √d_k，而且 V W 没有意义：W 的行对应查询、列对应键，应放在左边，H = W V。",
        ),
        (QUERIES, KEYS, VALUES),
        values_first_example,
        (
            "tests/formulas/test_formula_examples.py::test_the_documents_version_differs",
            "tests/kernels/test_reference_attention.py::test_attention_in_einsum",
        ),
        (("F10", "003 §4.2.1"),),
        (),
        "attention",
        compare_values_first,
    ),
    Formula(
        "normalized-twice",
        Text("an encoder block that normalizes twice", "归一化两次的编码器块"),
        "X′ = SelfAttention(X);  X″ = X + X′;  X‴ = LayerNorm(X″);  H = LayerNorm(X‴)",
        r"X' = \mathrm{SelfAttention}(X);\; X'' = X + X'"
        "\n"
        r"   X''' = \mathrm{LayerNorm}(X'');\; H = \mathrm{LayerNorm}(X''')",
        Text(
            'Its last step is said to be "attention again" and is a second norm, which changes nothing but for ε. The '
            "feed-forward sub-layer is missing.",
            "最后一步文字上说“再做一次注意力”，写出来却是第二次归一化，除 ε 的影响外毫无作用。缺了前馈子层。",
        ),
        (ENTRY,),
        normalized_twice_example,
        (
            "tests/formulas/test_formula_examples.py::test_the_documents_version_differs",
            "tests/nn/test_layers.py::test_transformer_block",
        ),
        (("F11", "003 §4.2.2"),),
        (),
        "block",
        compare_normalized_twice,
    ),
    Formula(
        "decoder-without-context",
        Text("a decoder block that never reads the encoder", "从不读编码器的解码器块"),
        "X′ = SelfAttention(X);  X″ = X + X′;  X‴ = LayerNorm(X″);  H = LayerNorm(X‴)",
        r"X' = \mathrm{SelfAttention}(X);\; X'' = X + X'"
        "\n"
        r"   X''' = \mathrm{LayerNorm}(X'');\; H = \mathrm{LayerNorm}(X''')",
        Text(
            'An "encoder attention" is named and never formed: no formula reads the encoder\'s output. It is a sub-layer of '
            "its "
            "own, between self-attention and feed-forward.",
            "文中提到“编码器注意力”，却没有写出来：没有一个式子读编码器的输出。它应是自注意力与前馈网络之间的一个独立子层。",
        ),
        (ENTRY, Letter("C", "(S, d)", Text("the encoder's output", "编码器的输出"))),
        without_context_example,
        (
            "tests/formulas/test_formula_examples.py::test_the_documents_version_differs",
            "tests/nn/test_transformer_block.py::test_three_sub_layers_in_sequence",
        ),
        (("F12", "003 §4.2.3"),),
        (),
        "decoder-block",
        compare_without_context,
    ),
    Formula(
        "softmax-of-one-number",
        Text("the worked example with the softmax of one number", "算例中对单个数取 softmax"),
        "X = [x₁, x₂, x₃],  X′ = Σ_i softmax(x_i x_iᵀ/√d_k) X",
        r"X' = \sum_i \mathrm{softmax}\!\left(\frac{x_i x_i^\top}{\sqrt{d_k}}\right) X",
        Text(
            "x_i x_iᵀ is one number and its softmax is 1, so X′ = 3 X whatever the words are. Row i needs softmax(x_i "
            "Xᵀ/√d_k) X.",
            "x_i x_iᵀ 是一个数，它的 softmax 是 1，所以不管是什么词，X′ 都等于 3 X。第 i 行应是 softmax(x_i Xᵀ/√d_k) X。",
        ),
        (ENTRY,),
        one_number_example,
        (
            "tests/formulas/test_formula_examples.py::test_the_documents_version_differs",
            "tests/formulas/test_formula_examples.py::test_the_numbers_of_the_worked_examples",
        ),
        (("F13", "003 §4.3"),),
        (),
        "self-attention",
        compare_one_number,
    ),
)
