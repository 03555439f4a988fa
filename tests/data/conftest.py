"""Fixtures: a file server, a clean environment, a byte-for-byte tokenizer, and the real data where they are."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import pytest
from file_server import FileServer

REAL_DATA = os.environ.get("MINILM_DATA")


@pytest.fixture(autouse=True)
def clean_environment(monkeypatch, tmp_path):
    """No test reads or writes the user's cache, and none talks to a proxy."""
    monkeypatch.setenv("MINILM_CACHE", str(tmp_path / "cache"))
    monkeypatch.delenv("MINILM_DATA", raising=False)
    for name in ("http_proxy", "HTTP_PROXY", "all_proxy", "ALL_PROXY"):
        monkeypatch.delenv(name, raising=False)


@pytest.fixture
def server():
    content = np.random.default_rng(7).integers(32, 127, 400_000, dtype=np.uint8).tobytes()
    file_server = FileServer(content)
    yield file_server
    file_server.close()


@pytest.fixture
def real_data(monkeypatch) -> Path:
    if not REAL_DATA:
        pytest.skip("MINILM_DATA is unset: it names the folder with the real data files")
    monkeypatch.setenv("MINILM_DATA", REAL_DATA)
    return Path(REAL_DATA)


class CodePointTokenizer:
    """The simplest tokenizer there is: a character's id is its code point. Counts what it encoded."""

    def __init__(self, vocab_size: int = 1 << 16):
        self.vocab_size = vocab_size
        self.encoded_characters = 0

    def encode(self, text: str) -> list[int]:
        return self.encode_array(text).tolist()

    def encode_array(self, text: str) -> np.ndarray:
        self.encoded_characters += len(text)
        ids = np.frombuffer(text.encode("utf-32-le"), np.uint32)
        return ids.astype(np.uint16) if self.vocab_size <= 1 << 16 else ids

    def encode_chunks(self, chunks):
        return map(self.encode_array, chunks)

    def decode(self, ids) -> str:
        return "".join(map(chr, ids))

    def save(self, folder) -> None:
        (Path(folder) / "tokenizer.json").write_text(f'{{"vocab_size": {self.vocab_size}}}')


@pytest.fixture
def tokenizer() -> CodePointTokenizer:
    return CodePointTokenizer()


@pytest.fixture
def wide_tokenizer() -> CodePointTokenizer:
    return CodePointTokenizer(0x110000)
