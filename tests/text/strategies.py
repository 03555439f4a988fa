"""Texts for the tokenizers' tests: any Unicode, and mixtures that provoke the corners of GPT-2's pattern."""

from hypothesis import strategies as st

CORNERS = [
    *["'s", "'t", "'re", "'ve", "'m", "'ll", "'d", "'S", "'r", "'", "''", "’s"],
    *[" ", "  ", "\t", "\n", "\r\n", "\n\n", "\xa0", "\u2003", "\u3000", "\x85", "\x1c", "\x1f", "\u200b", "\u180e"],
    *["a", "the", "É", "e\u0301", "ß", "的", "床前明月光", "ひらがな", "한국어", "\U00020000", "ª", "ǅ"],
    *["1", "42", "²", "½", "Ⅷ", "٣", "一", "\U0001d7d8"],
    *[
        "!",
        "...",
        "_",
        "-",
        "<|endoftext|>",
        "<|end",
        "😀",
        "👩‍👩‍👧",
        "🇩🇪",
        "\x00",
        "\x7f",
        "\ufeff",
        "\ufffd",
        "\U0010ffff",
    ],
    *["\ua7cb", "\u1c89", "\U000323af", "\U00010d40"],  # letters and a number that came after Unicode 14
]
TEXTS = st.one_of(st.text(), st.lists(st.sampled_from(CORNERS)).map("".join))
