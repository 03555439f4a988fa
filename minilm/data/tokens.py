"""A corpus as token ids on disk: written once as a stream, then memory-mapped, however large it is.

`tokens-KEY.npy` is an ordinary NumPy file, one row of uint16 (uint32 for vocabularies above 65,536). Beside it
`tokens-KEY.json` says what it was made from. KEY comes from the fingerprints of text and tokenizer, so a changed text
or tokenizer has another file name, and a stale file is never picked up. A crash while writing leaves no such file.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, BinaryIO

import numpy as np

from minilm.data.corpus import CorpusText
from minilm.errors import InputError
from minilm.files import atomic_path, write_text
from minilm.optional import require
from minilm.text import Tokenizer

FORMAT_VERSION = 1


def tokenizer_fingerprint(tokenizer: Tokenizer) -> str:
    """sha256 over the names and contents of the files that the tokenizer saves: the same tokenizer has the same."""
    digest = hashlib.sha256()
    with TemporaryDirectory() as folder:
        tokenizer.save(folder)
        for path in sorted(Path(folder).rglob("*")):
            if path.is_file():
                digest.update(f"{path.relative_to(folder).as_posix()}\0{path.stat().st_size}\0".encode())
                digest.update(path.read_bytes())
    return digest.hexdigest()


@dataclass(frozen=True)
class TokenFile:
    """A row of token ids on disk, with what it was made from.

    tokens: (n,) uint16 or uint32, memory-mapped and read-only. corpus, tokenizer: fingerprints.
    """

    path: Path
    tokens: np.memmap
    corpus: str
    tokenizer: str

    @classmethod
    def open(cls, path: str | Path) -> TokenFile:
        """Map a token file. Raises InputError if it, or its JSON, is missing, damaged or of another version."""
        path = Path(path)
        again = f"remove {path} and run again to write it anew"
        try:
            about = json.loads(path.with_suffix(".json").read_text(encoding="utf-8"))
            version, count = about["format_version"], about["count"]
            corpus, tokenizer = about["corpus"], about["tokenizer"]
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise InputError(f"cannot read {path.with_suffix('.json')} ({error!r}); {again}") from error
        if version != FORMAT_VERSION:
            raise InputError(
                f"{path} has format version {version}, this minilm reads {FORMAT_VERSION}; use the minilm that"
                f" wrote it, or {again}"
            )
        try:
            tokens = np.load(path, mmap_mode="r", allow_pickle=False)
        except (OSError, ValueError) as error:
            raise InputError(f"cannot map {path} ({error}); {again}") from error
        if not isinstance(tokens, np.memmap) or tokens.shape != (count,) or tokens.dtype.kind != "u":
            raise InputError(f"{path} does not hold the {count} tokens that it should; {again}")
        return cls(path, tokens, corpus, tokenizer)

    @classmethod
    def write(
        cls,
        path: str | Path,
        corpus: CorpusText,
        tokenizer: Tokenizer,
        *,
        progress: bool = True,
        chunk_characters: int = 1 << 20,
        expect: str | None = None,
    ) -> TokenFile:
        """Encode a corpus chunk by chunk into `path` and map it. Memory: a few chunks, whatever the corpus' length.

        expect: the corpus' fingerprint, if it is known already; other text than that is refused.

        Raises InputError for text that cannot be read or encoded, and for a full disk; then no file is left.
        """
        path = Path(path)
        dtype = np.dtype("<u2" if tokenizer.vocab_size <= 1 << 16 else "<u4")
        digest, count = hashlib.sha256(), 0
        tqdm = require("tqdm", "showing progress").tqdm
        bar = tqdm(
            total=corpus.size,
            unit="B",
            unit_scale=True,
            desc=f"encoding {corpus.name}",
            delay=1.0,
            disable=None if progress else True,
            leave=False,
        )
        with bar, atomic_path(path) as temporary, open(temporary, "wb") as stream:
            data_start = write_header(stream, dtype, 0)
            for ids in tokenizer.encode_chunks(watched(corpus.iter_text(chunk_characters), digest, bar)):
                stream.write(ids.astype(dtype, copy=False).tobytes())
                count += len(ids)
            if count == 0:
                raise InputError(f"the corpus {corpus.name} has no tokens; give a longer text")
            stream.seek(0)
            if write_header(stream, dtype, count) != data_start:
                raise RuntimeError(f"NumPy {np.__version__} gave headers of different lengths for 0 and {count}")
            if expect not in (None, digest.hexdigest()):
                raise InputError(f"the corpus {corpus.name} changed while it was read; run again when it stays still")
            path.with_suffix(".json").unlink(missing_ok=True)  # better none for a moment than a wrong one
        about = {
            "format_version": FORMAT_VERSION,
            "count": count,
            "dtype": dtype.name,
            "name": corpus.name,
            "corpus": digest.hexdigest(),
            "tokenizer": tokenizer_fingerprint(tokenizer),
        }
        write_text(path.with_suffix(".json"), json.dumps(about, indent=2) + "\n")
        return cls.open(path)


def watched(chunks: Iterable[str], digest: Any, bar: Any) -> Iterator[str]:
    """Pass the chunks on; take their bytes into the digest and their number into the progress bar."""
    for chunk in chunks:
        data = chunk.encode()
        digest.update(data)
        bar.update(len(data))
        yield chunk


def write_header(stream: BinaryIO, dtype: np.dtype, count: int) -> int:
    """Write the header of a one-dimensional .npy file and return its length.

    NumPy pads a header so that the first axis may grow: written first for 0 tokens and at the end for as many as came,
    it has the same length.
    """
    header = {"descr": np.lib.format.dtype_to_descr(dtype), "fortran_order": False, "shape": (count,)}
    np.lib.format.write_array_header_1_0(stream, header)
    return stream.tell()


def prepare_tokens(
    corpus: CorpusText,
    tokenizer: Tokenizer,
    folder: str | Path,
    validation_fraction: float = 0.1,
    progress: bool = True,
) -> tuple[np.ndarray, np.ndarray]:
    """Encode a corpus into `folder`, or find it encoded there, and return (training, validation) tokens.

    Both are memory-mapped slices of one file: the first n - n_val tokens and the last n_val, where training gets
    ⌊n (1 - validation_fraction)⌋ as in nanoGPT. The order of the text is kept, so validation is text never seen.

    The text is read through once to compare fingerprints, also when the file is there.
    """
    if not 0 <= validation_fraction < 1:
        raise InputError(f"validation_fraction is {validation_fraction}; give one from 0 to below 1, such as 0.1")
    text, vocabulary = corpus.fingerprint(), tokenizer_fingerprint(tokenizer)
    key = hashlib.sha256(f"{FORMAT_VERSION} {text} {vocabulary}".encode()).hexdigest()[:16]
    path = Path(folder) / f"tokens-{key}.npy"
    file = open_if_fresh(path, text, vocabulary)
    if file is None:
        file = TokenFile.write(path, corpus, tokenizer, progress=progress, expect=text)
    cut = int(len(file.tokens) * (1 - validation_fraction))
    return file.tokens[:cut], file.tokens[cut:]


def open_if_fresh(path: Path, corpus: str, tokenizer: str) -> TokenFile | None:
    """The token file at `path` if it is whole and made from just this text and tokenizer, else None: write it anew."""
    if not path.exists():
        return None
    try:
        file = TokenFile.open(path)
    except InputError:
        return None
    return file if (file.corpus, file.tokenizer) == (corpus, tokenizer) else None
