"""Byte-level BPE, the tokenizer of GPT-2: any text can be encoded, and frequent words are one token.    [000 §3.1]

    text → words (words/gpt2_pattern.py) → UTF-8 bytes → pieces, joined by the merges that training found → ids

Radford et al., "Language models are unsupervised multitask learners", 2019, section 2.2.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from itertools import accumulate, chain, islice
from pathlib import Path
from typing import Any

import numpy as np

from minilm.errors import InputError
from minilm.text import storage
from minilm.text.bpe.checks import check_special_tokens, check_vocabulary
from minilm.text.bpe.encoding import Merger
from minilm.text.bpe.training import count_words, learn_merges
from minilm.text.pipeline.pipeline import Pieces, Pipeline
from minilm.text.pipeline.post_processing import space_counts
from minilm.text.tokenizer import Tokenizer, as_chunks
from minilm.text.unicode.byte_map import ALPHABET, BYTE_TO_CHARACTER, to_bytes, to_printable
from minilm.text.unicode.cleaning import refuse_surrogates
from minilm.text.words.gpt2_pattern import pretokenize, pretokenize_chunks, special_pattern
from minilm.text.words.pre_tokenizers import ByteLevel

VERSION_LINE = "#version: 0.2"  # the first line of merges.txt, as GPT-2 has it
END_OF_TEXT = "<|endoftext|>"  # GPT-2's one special token
CACHE_LIMIT = 4_000_000  # characters in the word cache; about 100 MB at most


class ByteLevelBPETokenizer(Tokenizer):
    """GPT-2's tokenizer, trained here (`train`) or read from GPT-2's files (`load`).

    vocabulary: {token: id}, ids 0 to n-1, the tokens written with one visible character per byte (unicode/byte_map.py); all
    256 bytes must be there. merges: pairs of tokens, in the order in which they were learned.
    special_tokens: whole texts such as "<|endoftext|>" that are never cut; those that are not in the vocabulary get
    the next ids. Their text in what is encoded becomes their id.
    ignore_merges: a whole word that is in the vocabulary is that token, whatever the merges would make of it (Llama 3).

    Raises InputError if vocabulary, merges and special tokens do not fit together.
    """

    CLASS_NAMES = ("GPT2Tokenizer", "GPT2TokenizerFast", "ByteLevelBPETokenizer")  # in tokenizer_config.json

    def __init__(
        self,
        vocabulary: dict[str, int],
        merges: Sequence[tuple[str, str]],
        special_tokens: Sequence[str] = (),
        ignore_merges: bool = False,
    ) -> None:
        vocabulary = dict(vocabulary)
        check_special_tokens(special_tokens)
        for token in special_tokens:
            vocabulary.setdefault(token, len(vocabulary))
        self._tokens = sorted(vocabulary, key=vocabulary.__getitem__)
        self._merges = [(left, right) for left, right in merges]
        self._special = {token: vocabulary[token] for token in special_tokens}
        self.ignore_merges = ignore_merges
        check_vocabulary(vocabulary, self._merges, self._special, ignore_merges)

        self._pieces = [token.encode() if token in self._special else to_bytes(token) for token in self._tokens]
        self._merger = Merger(
            [vocabulary[character] for character in BYTE_TO_CHARACTER],
            [(vocabulary[left], vocabulary[right], vocabulary[left + right]) for left, right in self._merges],
        )
        self._whole: dict[bytes, int] = {}  # the words that are looked up before anything is merged
        if ignore_merges:
            self._whole = {self._pieces[n]: n for token, n in vocabulary.items() if token not in self._special}
        self._special_pattern = special_pattern(self._special)
        self._cache = self._new_cache()
        self._cached_characters = 0
        self._words = Pipeline(self, None, ByteLevel(add_prefix_space=False))  # for encode_offsets

    @classmethod
    def train(
        cls,
        texts: Iterable[str],
        vocab_size: int,
        special_tokens: Sequence[str] = (),
        min_frequency: int = 2,
        progress: bool = False,
    ) -> ByteLevelBPETokenizer:
        """Learn a vocabulary from nothing; `learn_merges` says how.

        texts: pieces of one text (cut anywhere), or one string. vocab_size: tokens wanted, the 256 bytes and the
        special tokens included; a text in which no pair occurs `min_frequency` times any more gives fewer.

        Raises InputError if vocab_size leaves no room for a merge, if min_frequency is below 1, or for empty text.
        """
        check_special_tokens(special_tokens)
        least = 256 + len(special_tokens) + 1
        if vocab_size < least:
            raise InputError(
                f"a byte-level vocabulary of {vocab_size} tokens is too small: 256 bytes, {len(special_tokens)} "
                f"special tokens and at least one merge need {least}; ask for more, for example bpe:8000"
            )
        if min_frequency < 1:
            raise InputError(f"min_frequency {min_frequency} would join pairs that never occur; give 1 or more")
        counts = count_words(as_chunks(texts, progress), special_tokens)
        if not counts:
            raise InputError("there is no text to train a tokenizer on; give it a file that is not empty")
        pieces, merges = learn_merges(counts, vocab_size - len(special_tokens), min_frequency, progress)
        vocabulary = {to_printable(piece): n for n, piece in enumerate(pieces)}
        return cls(vocabulary, [(to_printable(left), to_printable(right)) for left, right in merges], special_tokens)

    @property
    def tokens(self) -> list[str]:
        return self._tokens

    @property
    def merges(self) -> list[tuple[str, str]]:
        """The pairs that are joined, the first learned first."""
        return self._merges

    @property
    def special_tokens(self) -> dict[str, int]:
        """{text: id} of the tokens that are never cut."""
        return self._special

    def token_bytes(self, token_id: int) -> bytes:
        if not 0 <= token_id < self.vocab_size:
            self.check_ids([token_id])  # raises
        return self._pieces[token_id]

    def encode(self, text: str) -> list[int]:
        refuse_surrogates(text)
        return list(self._ids(pretokenize(text, self._special_pattern)))

    def encode_array(self, text: str) -> np.ndarray:
        refuse_surrogates(text)
        return np.fromiter(self._ids(pretokenize(text, self._special_pattern)), self.dtype)

    def encode_offsets(self, text: str, trim_offsets: bool = False) -> tuple[np.ndarray, np.ndarray]:
        """The ids of `text` (n,) and where each token stands in it (n, 2): characters, the end not included.

        Tokens that share a character all reach over it. trim_offsets: leave out the spaces at a token's ends.
        """
        refuse_surrogates(text)
        ids, offsets, start = [np.empty(0, np.int64)], [np.empty((0, 2), np.int64)], 0
        for n, part in enumerate([text] if self._special_pattern is None else self._special_pattern.split(text)):
            if n % 2:  # what the pattern matched
                found, places = np.array([self._special[part]]), np.array([[0, len(part)]])
            else:
                found, places = self._words.encode_offsets(part)
            ids.append(found)
            offsets.append(places + start)
            start += len(part)
        spans = np.concatenate(offsets)
        if trim_offsets:
            spans = space_counts([self._tokens[n] for n in np.concatenate(ids).tolist()]).trim(spans)
        return np.concatenate(ids), spans

    def split(self, words: Sequence[str]) -> list[Pieces]:
        """The pieces of each word, which is none of the special tokens: ids, and the characters that each reaches over."""
        return [self._places(word, ids) for word, ids in zip(words, self._cut(words))]

    @property
    def vocabulary(self) -> dict[str, int]:
        """{token: id}."""
        return {token: n for n, token in enumerate(self._tokens)}

    def encode_chunks(self, chunks: Iterable[str]) -> Iterator[np.ndarray]:
        hold = max(map(len, self._special), default=1) + 1
        for words in pretokenize_chunks(as_chunks(chunks), self._special_pattern, hold):
            yield np.fromiter(self._ids(words), self.dtype)

    def decode(self, ids: Sequence[int] | np.ndarray) -> str:
        pieces = map(self._pieces.__getitem__, self.check_ids(ids).tolist())
        return b"".join(pieces).decode("utf-8", "replace")

    def save(self, folder: str | Path) -> None:
        """Write vocab.json, merges.txt and tokenizer_config.json, which Hugging Face's GPT2Tokenizer reads too."""
        files = {
            "vocab.json": storage.to_json({token: n for n, token in enumerate(self._tokens)}),
            "merges.txt": "\n".join([VERSION_LINE, *map(" ".join, self._merges)]) + "\n",
        }
        # What Hugging Face wants to know; without these lines its GPT2Tokenizer adds an END_OF_TEXT of its own.
        end = END_OF_TEXT if END_OF_TEXT in self._special else None
        names: dict[str, Any] = {"bos_token": end, "eos_token": end, "unk_token": end}
        if self.ignore_merges:
            names["ignore_merges"] = True
        storage.write_folder(folder, self.CLASS_NAMES[0], files, **names, additional_special_tokens=list(self._special))

    @classmethod
    def load(cls, folder: str | Path) -> ByteLevelBPETokenizer:
        """Read vocab.json and merges.txt, with the special tokens that tokenizer_config.json names.

        In a folder of another program, which does not name them there, they are the tokens written as <...>.
        """
        config = storage.read_config(folder, cls.CLASS_NAMES)
        vocabulary = storage.read_vocabulary(folder, config)
        merges = parse_merges(storage.read_file(folder, "merges.txt", config), Path(folder) / "merges.txt")
        special = config.get("additional_special_tokens") if "format_version" in config else None
        if special is None:
            made = {*ALPHABET, *(left + right for left, right in merges)}
            special = [token for token in vocabulary if token not in made and token[:1] + token[-1:] == "<>"]
        if not isinstance(special, list) or not all(isinstance(token, str) for token in special):
            raise InputError(
                f"{Path(folder) / storage.CONFIG} has additional_special_tokens that are no list of texts; mend it"
            )
        if not vocabulary.keys() >= set(special):
            missing = next(token for token in special if token not in vocabulary)
            raise InputError(f"{Path(folder) / 'vocab.json'} lacks the special token {missing!r}; copy it again")
        try:
            return cls(vocabulary, merges, special, config.get("ignore_merges") is True)
        except InputError as error:
            raise InputError(f"the tokenizer in {folder} is damaged: {error}") from None

    def __eq__(self, other: object) -> bool:
        return isinstance(other, ByteLevelBPETokenizer) and (self._tokens, self._merges, self._special) == (
            other._tokens,
            other._merges,
            other._special,
        )

    __hash__ = Tokenizer.__hash__

    def _ids(self, words: list[str]) -> Iterator[int]:
        """The ids of all words in order; a word that the cache does not have is split into pieces first."""
        cache = self._cache  # may be replaced below or by another thread; this call keeps its own
        new = [word for word in dict.fromkeys(words) if word not in cache]
        if new:
            cache.update(zip(new, self._cut(new)))
            self._cached_characters += sum(map(len, new))
            if self._cached_characters > CACHE_LIMIT:
                self._forget_oldest()
        return chain.from_iterable(map(cache.__getitem__, words))

    def _cut(self, words: Sequence[str]) -> list[list[int]]:
        """The ids of each word."""
        if not self._whole:
            return self._merger.split(words)
        whole = [self._whole.get(word.encode()) for word in words]
        rest = iter(self._merger.split([word for word, n in zip(words, whole) if n is None]))
        return [next(rest) if n is None else [n] for n in whole]

    def _places(self, word: str, ids: list[int]) -> Pieces:
        ends = [*accumulate(len(self._pieces[n]) for n in ids)]  # in bytes
        starts = [0, *ends[:-1]]
        if not word.isascii():
            character_of = [n for n, character in enumerate(word) for _ in character.encode()]
            starts = [character_of[n] for n in starts]
            ends = [character_of[n - 1] + 1 for n in ends]
        return ids, starts, ends

    def _new_cache(self) -> dict[str, list[int]]:
        return {token: [n] for token, n in self._special.items()}

    def _forget_oldest(self) -> None:
        """Keep the half of the cache that came last, or nothing if that is too much; frequent words soon come back."""
        kept = dict(islice(self._cache.items(), len(self._cache) // 2, None))
        characters = sum(map(len, kept))
        if characters > CACHE_LIMIT // 2:
            kept, characters = {}, 0
        self._cache = {**kept, **self._new_cache()}
        self._cached_characters = characters


def parse_merges(text: str, path: Path) -> list[tuple[str, str]]:
    """The pairs of merges.txt, one per line. Raises InputError for a line that is no pair."""
    merges = []
    for number, line in enumerate(text.split("\n"), 1):
        line = line.removesuffix("\r")
        if not line or (number == 1 and line.startswith("#version")):
            continue
        pair = line.split(" ")
        if len(pair) != 2 or not all(pair):
            raise InputError(f"line {number} of {path} is {line!r} where two tokens were expected; copy the file again")
        merges.append((pair[0], pair[1]))
    return merges
