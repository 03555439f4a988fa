"""Corpora by name or path, read as a stream of text."""

from __future__ import annotations

import difflib
import hashlib
import os
import zipfile
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import BinaryIO, cast

from minilm.data.builtin import BUILTIN
from minilm.data.catalogue import CATALOGUE, CorpusEntry
from minilm.data.download import cache_folder, download, file_sha256
from minilm.data.encodings import check_head
from minilm.data.reading import decode_blocks, regroup, tsv_column
from minilm.errors import InputError
from minilm.text.unicode.cleaning import refuse_surrogates


@dataclass(frozen=True)
class CorpusText:
    """A text to learn from: read in chunks, as often as wanted, never held as a whole.

    name, description, licence   what it is
    path                         the file it comes from, or None
    size                         its length in bytes where that is known beforehand; for progress bars
    pieces                       pieces(n) yields the text anew, in pieces of any length, best about n characters
    """

    name: str
    pieces: Callable[[int], Iterable[str]] = field(repr=False)
    description: str = ""
    licence: str = "unknown"
    path: Path | None = None
    size: int | None = None

    @classmethod
    def from_text(cls, text: str, name: str = "text") -> CorpusText:
        """A corpus of a string that is already in memory. Raises InputError for lone surrogates in it."""
        refuse_surrogates(text)
        return cls(name, lambda _: (text,), "a text given as a string", size=len(text.encode()))

    def iter_text(self, chunk_characters: int = 1 << 20) -> Iterator[str]:
        """Yield the text in chunks of `chunk_characters`, the last one maybe shorter.

        They may end inside a word: take `tokenizer.encode_chunks(corpus.iter_text())` for the ids of the text, not
        `encode` of each chunk.
        """
        return regroup(self.pieces(chunk_characters), chunk_characters)

    def read(self) -> str:
        """Return the whole text as one string: for a corpus that fits in memory."""
        return "".join(self.iter_text())

    def fingerprint(self) -> str:
        """sha256 of the text in UTF-8, as 64 hex digits: the same text has the same, whatever file it is in."""
        digest = hashlib.sha256()
        for chunk in self.iter_text():
            digest.update(chunk.encode())
        return digest.hexdigest()


def open_corpus(name_or_path: str | Path, *, progress: bool = True) -> CorpusText:
    """Open a corpus: a text file, or a name of the catalogue.

    Looked for in this order: a file of that path; a catalogue name, whose file is taken from the folder MINILM_DATA,
    from the cache, or downloaded. A catalogue file's checksum is verified every time it is opened.

    Raises InputError, one sentence with what to do, for whatever is wrong with it: an unknown name, a missing path, a
    folder, a file that is empty, unreadable, binary or too uniform to learn from. Bytes that are not UTF-8 are found
    when the stream comes to them.
    """
    corpus = find_corpus(str(name_or_path), progress)
    check_corpus(corpus)
    return corpus


def find_corpus(given: str, progress: bool) -> CorpusText:
    """What `given` means: a file there is read; else a name is looked up; else it is a path that does not work."""
    if not given:
        raise InputError("no corpus was named; give the path of a text file or a name that `minilm corpora` lists")
    path, entry = Path(given).expanduser(), CATALOGUE.get(given)
    if entry is not None and not path.is_file():
        return open_entry(entry, progress)
    return open_file(path, given)


def check_corpus(corpus: CorpusText) -> None:
    """Raise InputError if the text is empty or has one distinct character only: there is nothing to learn in it.

    Stops reading at the second distinct character, so it costs nothing on a real text.
    """
    first = ""
    for chunk in corpus.iter_text():
        first = first or chunk[0]
        if chunk.count(first) != len(chunk):
            return
    if not first:
        raise InputError(f"the corpus {corpus.name} is empty; give a text with at least two different characters")
    raise InputError(
        f"the corpus {corpus.name} consists of the one character {first!r} only, so there is nothing to predict;"
        " give a text with at least two different characters"
    )


def open_file(path: Path, given: str) -> CorpusText:
    """A plain text file as a corpus."""
    try:
        exists, is_folder, is_file = path.exists(), path.is_dir(), path.is_file()
        size = path.stat().st_size if exists else 0
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or error
        raise InputError(f"cannot open {given!r}: {reason}; check the path") from error
    if is_folder:
        raise InputError(
            f"{path} is a folder; give one text file, for example made with: cat {path}/*.txt > corpus.txt"
        )
    if not exists:
        raise missing(given)
    if not is_file:
        raise InputError(
            f"{path} is no ordinary file, and a corpus is read more than once; save its text in a file first"
        )
    open_binary = partial(open_plain, path)
    check_head(open_binary, str(path))
    return CorpusText(
        name=path.name,
        pieces=partial(decode_blocks, open_binary, str(path)),
        description=f"the text file {path}",
        path=path,
        size=size,
    )


def missing(given: str) -> InputError:
    """The error for something that is neither a file nor a name: guesses which of the two was meant."""
    if any(separator in given for separator in ("/", "\\", ".")):
        return InputError(
            f"there is no file {given!r} (looked for it from {Path.cwd()}); check the path, or give one of the names"
            f" {', '.join(CATALOGUE)}"
        )
    close = difflib.get_close_matches(given.lower().replace("_", "-"), CATALOGUE, n=2)
    hint = f"did you mean {' or '.join(close)}? " if close else ""
    return InputError(
        f"there is no corpus and no file named {given!r}: {hint}give the path of a text file, or one of the names"
        f" {', '.join(CATALOGUE)}"
    )


def open_entry(entry: CorpusEntry, progress: bool) -> CorpusText:
    """A catalogue corpus, its file found or fetched."""
    if entry.reader == "builtin":
        text = BUILTIN[entry.name]
        return CorpusText(entry.name, lambda _: text(), entry.description, entry.licence)
    path = find_file(entry, progress)
    size = entry.size if entry.reader == "plain" else None  # a column, or what a zip holds, is of another length
    return CorpusText(entry.name, file_pieces(entry, path), entry.description, entry.licence, path, size)


def file_pieces(entry: CorpusEntry, path: Path) -> Callable[[int], Iterable[str]]:
    """The reader that an entry names, over its file."""
    kind, _, argument = entry.reader.partition(":")
    open_binary = partial(open_zip_member, path, argument) if kind == "zip" else partial(open_plain, path)
    decode = partial(decode_blocks, open_binary, str(path))
    if kind == "tsv":
        return lambda block_bytes: tsv_column(decode(block_bytes), int(argument), str(path))
    return decode


def open_plain(path: Path) -> BinaryIO:
    return open(path, "rb")


def open_zip_member(path: Path, member: str) -> BinaryIO:
    """A file inside a zip archive, unpacked as it is read."""
    try:
        return cast(BinaryIO, zipfile.ZipFile(path).open(member))
    except (zipfile.BadZipFile, KeyError) as error:
        raise InputError(f"{path} is no zip archive with {member} in it ({error}); remove it and run again") from error


def find_file(entry: CorpusEntry, progress: bool) -> Path:
    """The path of an entry's file: from MINILM_DATA, else from the cache, else downloaded into the cache."""
    if entry.filename is None or entry.sha256 is None:
        raise ValueError(f"catalogue entry {entry.name} has reader {entry.reader!r}: give it a filename and a sha256")
    folder = data_folder()
    if folder is not None and (folder / entry.filename).exists():
        path = folder / entry.filename
        found = file_sha256(path)
        if found != entry.sha256:
            raise InputError(
                f"{path} is not the file that the corpus {entry.name} is made of (its sha256 is {found}, expected"
                f" {entry.sha256}); replace or remove it, or give its path to read it as it is"
            )
        return path
    if entry.url is None:
        where = (
            "a folder and set the environment variable MINILM_DATA to that folder" if folder is None else str(folder)
        )
        raise InputError(
            f"the corpus {entry.name} has no address to download it from: put its file {entry.filename} (from"
            f" {entry.source}; sha256 {entry.sha256}) into {where}"
        )
    cached = cache_folder() / "corpora" / entry.filename
    return download(entry.url, cached, sha256=entry.sha256, size=entry.size, progress=progress)


def data_folder() -> Path | None:
    """The folder that MINILM_DATA names, where corpus files lie that somebody fetched already; None if it is unset."""
    name = os.environ.get("MINILM_DATA")
    if not name:
        return None
    folder = Path(name).expanduser()
    if not folder.is_dir():
        raise InputError(
            f"the environment variable MINILM_DATA names {folder}, which is no folder; create it, or unset MINILM_DATA"
        )
    return folder
