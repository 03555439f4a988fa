"""The corpora that minilm knows by name: where each comes from, its licence and its checksum.

Nothing of them is part of minilm. Two come with every CPython and need no download; the others are fetched from the
address given here, or read from the folder that the environment variable MINILM_DATA names. Their sha256 says that the
file is the very one the numbers in README and lessons were measured on.
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class CorpusEntry:
    """One named corpus.

    name         what `--corpus` takes
    description  one line for a list
    source       where the text comes from, in words
    licence      the terms of the text
    language     ISO 639-1 code, or "code" for program text
    kind         prose, drama, verse, reviews, sentences, abstracts, reference or code
    reader       how to get the text: "plain", "tsv:N" (column N, the first is 1), "zip:MEMBER" or "builtin"
    filename     the file's name in MINILM_DATA and in the cache; None for a builtin corpus
    url          a stable address of exactly this file, or None: then the file has to be put into MINILM_DATA
    sha256, size checksum (64 hex digits) and length in bytes of that file
    """

    name: str
    description: str
    source: str
    licence: str
    language: str
    kind: str
    reader: str = "plain"
    filename: str | None = None
    url: str | None = None
    sha256: str | None = None
    size: int | None = None


ENTRIES = (
    CorpusEntry(
        name="python-reference",
        description="the Python Language Reference, as the running Python's help() shows it (0.5 MB)",
        source="module pydoc_data.topics of the running CPython",
        licence="PSF-2.0",
        language="en",
        kind="reference",
        reader="builtin",
    ),
    CorpusEntry(
        name="python-source",
        description="the source code of the running Python's standard library, without its tests (about 12 MB)",
        source="the .py files of the running CPython's standard library",
        licence="PSF-2.0",
        language="code",
        kind="code",
        reader="builtin",
    ),
    CorpusEntry(
        name="tinyshakespeare",
        description="40,000 lines of Shakespeare's plays, the field's small standard corpus (1.1 MB)",
        source="github.com/karpathy/char-rnn, data/tinyshakespeare/input.txt",
        licence="public domain",
        language="en",
        kind="drama",
        filename="tinyshakespeare.txt",
        url="https://raw.githubusercontent.com/karpathy/char-rnn/master/data/tinyshakespeare/input.txt",
        sha256="86c4e6aa9db7c042ec79f339dcb96d42b0075e16b8fc2e86bf0ca57e2dc565ed",
        size=1_115_394,
    ),
    CorpusEntry(
        name="text8",
        description="English Wikipedia of 2006 as lower-case letters and spaces, 100 million characters (31 MB zip)",
        source="Matt Mahoney, mattmahoney.net/dc/textdata.html",
        licence="CC BY-SA 3.0 and GFDL (Wikipedia)",
        language="en",
        kind="prose",
        reader="zip:text8",
        filename="text8.zip",
        url="http://mattmahoney.net/dc/text8.zip",  # plain http: the checksum is what vouches for the content
        sha256="a6640522afe85d1963ad56c05b0ede0a0c000dddc9671758a6cc09b7a38e5232",
        size=31_344_016,
    ),
    CorpusEntry(
        name="tang-quatrains",
        description="13,954 Tang dynasty quatrains in traditional script, one a line (1.7 MB)",
        source="chinese-poetry 2.0.1, as a table: title, author, poem",
        licence="public domain (poems), MIT (collection)",
        language="zh",
        kind="verse",
        reader="tsv:3",
        filename="tang_quatrains_trad.tsv",
        sha256="822b3c9f5e5b87c3fd702e2d77476d32c79e62bc040e85004314fc7ae9bf0b40",
        size=1_659_024,
    ),
    CorpusEntry(
        name="movie-reviews",
        description="10,605 sentences from film reviews, one a line (1.3 MB)",
        source="vaderSentiment 3.3.2 (Hutto and Gilbert, ICWSM 2014), as a table: rating, text",
        licence="MIT",
        language="en",
        kind="reviews",
        reader="tsv:2",
        filename="movie_sentiment.tsv",
        sha256="c342404d72291c6b77a14fb559b973f07d1261c5e7464f615b8040fa2faf6e3d",
        size=1_254_048,
    ),
    CorpusEntry(
        name="tatoeba-english",
        description="everyday English sentences, one a line (from a 4.2 MB table)",
        source="tatoeba.org, English-Chinese pairs as a table: English, Chinese, attribution",
        licence="CC BY 2.0 FR, attribution in the table's third column",
        language="en",
        kind="sentences",
        reader="tsv:1",
        filename="tatoeba_en_zh.tsv",
        sha256="9da1af87e3e61650aa38595e60baef3a4e3a18ed239a7ef4a764c0a87c7ddeff",
        size=4_151_351,
    ),
    CorpusEntry(
        name="tatoeba-chinese",
        description="everyday Chinese sentences in simplified script, one a line (from a 4.2 MB table)",
        source="tatoeba.org, English-Chinese pairs as a table: English, Chinese, attribution",
        licence="CC BY 2.0 FR, attribution in the table's third column",
        language="zh",
        kind="sentences",
        reader="tsv:2",
        filename="tatoeba_en_zh.tsv",
        sha256="9da1af87e3e61650aa38595e60baef3a4e3a18ed239a7ef4a764c0a87c7ddeff",
        size=4_151_351,
    ),
    CorpusEntry(
        name="paper-abstracts",
        description="3,226 abstracts of machine-learning papers, one a line (from a 4.2 MB table)",
        source="github.com/allenai/scitldr, SciTLDR-A as a table: abstract, summary, title",
        licence="Apache-2.0",
        language="en",
        kind="abstracts",
        reader="tsv:1",
        filename="scitldr_a.tsv",
        sha256="5e6a4f0a1d80691d8e1f660ae373725de9f1fb13ee5e391f4807655fff867e5c",
        size=4_200_112,
    ),
)

CATALOGUE: dict[str, CorpusEntry] = {entry.name: entry for entry in ENTRIES}
