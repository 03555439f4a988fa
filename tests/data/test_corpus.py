"""Corpora by name and by path, and what is said about each kind of file that is none."""

from __future__ import annotations

import os
import subprocess
import sys
import zipfile
from dataclasses import replace
from pathlib import Path

import pytest

import minilm.data.corpus as corpus_module
from minilm.data import CATALOGUE, CorpusText, check_corpus, open_corpus
from minilm.data.builtin import python_source
from minilm.data.corpus import file_pieces
from minilm.data.download import file_sha256
from minilm.errors import InputError


@pytest.fixture
def write(tmp_path):
    def run(data: bytes | str, name: str = "text.txt") -> Path:
        path = tmp_path / name
        path.write_bytes(data if isinstance(data, bytes) else data.encode())
        return path

    return run


def refused(source, *said: str) -> str:
    """Open and read a corpus that does not work; return the message, one sentence with all of `said` in it."""
    with pytest.raises(InputError) as error:
        for _ in open_corpus(source).iter_text():
            pass
    message = str(error.value)
    assert "\n" not in message
    for words in said:
        assert words in message
    return message


# ---------------------------------------------------------------- what works


def test_a_text_file(write):
    path = write(b"\xef\xbb\xbfone two\r\nthree \xc3\xa9\n")
    corpus = open_corpus(path)
    assert corpus.read() == "one two\nthree \u00e9\n"
    assert list(corpus.iter_text(8)) == ["one two\n", "three \u00e9\n"]
    assert (corpus.name, corpus.path, corpus.size) == ("text.txt", path, path.stat().st_size)
    assert str(path) in corpus.description
    assert corpus.licence == "unknown"
    assert open_corpus(str(path)).read() == corpus.read()


def test_the_fingerprint_is_of_the_text_not_of_the_file(write):
    one, two = open_corpus(write("a b\nc", "one")), open_corpus(write("a b\r\nc", "two"))
    assert one.fingerprint() == two.fingerprint() == CorpusText.from_text("a b\nc").fingerprint()
    assert one.fingerprint() != CorpusText.from_text("a b\nd").fingerprint()


def test_the_python_reference():
    corpus = open_corpus("python-reference")
    text = corpus.read()
    assert len(text) > 300_000
    assert 'The "assert" statement' in text
    assert text.index('The "assert" statement') < text.index('The "while" statement')  # topics are in order
    assert corpus.licence == "PSF-2.0"
    assert "".join(corpus.iter_text(1000)) == text


def test_the_python_source():
    corpus = open_corpus("python-source")
    first = next(iter(corpus.iter_text(100_000)))
    assert len(first) == 100_000
    assert "import" in first


def test_the_python_source_leaves_out_tests_and_other_peoples_code(tmp_path):
    for name, text in {
        "b.py": "b = 1",
        "a/c.py": "# -*- coding: latin-1 -*-\nc = 'caf\u00e9'\r\n",
        "z/y.py": "y = 2\n",
        "a/tests/t.py": "no",
        "site-packages/s.py": "no",
        "a/bad.py": b"\xff\xfe\xff",
        "a/note.txt": "no",
        "empty.py": "",
    }.items():
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(text if isinstance(text, bytes) else text.encode("latin-1"))
    assert "".join(python_source(tmp_path)) == "# -*- coding: latin-1 -*-\nc = 'caf\u00e9'\nb = 1\ny = 2\n"
    with pytest.raises(InputError, match=r"no \.py files .*--corpus FILE"):
        list(python_source(tmp_path / "nowhere"))


def test_a_file_comes_before_a_name_and_a_folder_does_not(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    Path("python-reference").write_text("my own text")
    assert open_corpus("python-reference").read() == "my own text"
    Path("python-reference").unlink()
    Path("python-reference").mkdir()
    assert len(open_corpus("python-reference").read()) > 300_000


def test_a_zip_is_read_as_a_stream(tmp_path):
    path = tmp_path / "text8.zip"
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("text8", "anarchism originated " * 1000)
    pieces = file_pieces(CATALOGUE["text8"], path)
    assert "".join(pieces(999)) == "anarchism originated " * 1000
    with pytest.raises(InputError, match="no zip archive with text8 in it"):
        list(file_pieces(replace(CATALOGUE["text8"], reader="zip:text8"), Path(__file__))(999))


# ---------------------------------------------------------------- the catalogue


def test_catalogue_entries_are_complete():
    for name, entry in CATALOGUE.items():
        assert entry.name == name == name.lower()
        assert entry.description
        assert entry.source
        assert entry.licence
        if entry.reader == "builtin":
            assert entry.url is entry.filename is entry.sha256 is None
            continue
        assert entry.reader.partition(":")[0] in ("plain", "tsv", "zip")
        assert entry.filename == Path(entry.filename).name
        assert len(bytes.fromhex(entry.sha256)) == 32
        assert entry.size > 0


def test_the_real_files_are_the_catalogues(real_data):
    tried = 0
    for entry in CATALOGUE.values():
        if entry.filename and (real_data / entry.filename).exists():
            assert (real_data / entry.filename).stat().st_size == entry.size
            assert file_sha256(real_data / entry.filename) == entry.sha256
            tried += 1
    if not tried:
        pytest.skip("MINILM_DATA has none of the catalogue's files")


@pytest.mark.parametrize(
    ("name", "characters", "line"),
    [
        ("tinyshakespeare", 1_115_394, "First Citizen:"),
        ("tang-quatrains", 430_826, "四時運灰琯，一夕變冬春。送寒餘雪盡，迎歲早梅新。"),
        ("movie-reviews", 1_195_511, "Effective but too tepid biopic"),
        ("tatoeba-english", 885_057, "Run."),
        ("tatoeba-chinese", 310_864, "住手！"),
    ],
)
def test_the_real_texts(real_data, name, characters, line):
    if not (real_data / CATALOGUE[name].filename).exists():
        pytest.skip(f"MINILM_DATA has no {CATALOGUE[name].filename}")
    text = open_corpus(name).read()
    assert len(text) == characters
    assert line in text.split("\n")
    assert "\t" not in text or name == "tinyshakespeare"


@pytest.fixture
def served(server, monkeypatch):
    """The catalogue with one entry, whose file the test's server has."""
    entry = replace(
        CATALOGUE["tinyshakespeare"],
        url=server.url,
        size=len(server.content),
        sha256=__import__("hashlib").sha256(server.content).hexdigest(),
    )
    monkeypatch.setitem(corpus_module.CATALOGUE, "tinyshakespeare", entry)
    return entry


def test_a_named_corpus_is_downloaded_once(served, server, tmp_path):
    for _ in range(2):
        assert open_corpus("tinyshakespeare", progress=False).read().encode() == server.content
    assert len(server.ranges) == 1
    assert (tmp_path / "cache" / "corpora" / "tinyshakespeare.txt").is_file()


def test_a_damaged_cache_mends_itself(served, server, tmp_path):
    open_corpus("tinyshakespeare", progress=False)
    (tmp_path / "cache" / "corpora" / "tinyshakespeare.txt").write_text("damaged")
    assert open_corpus("tinyshakespeare", progress=False).read().encode() == server.content
    assert len(server.ranges) == 2


def test_minilm_data_comes_before_the_network(served, server, tmp_path, monkeypatch):
    folder = tmp_path / "data"
    folder.mkdir()
    monkeypatch.setenv("MINILM_DATA", str(folder))
    (folder / "tinyshakespeare.txt").write_bytes(server.content)
    assert open_corpus("tinyshakespeare").read().encode() == server.content
    assert server.ranges == []
    (folder / "tinyshakespeare.txt").unlink()
    assert open_corpus("tinyshakespeare", progress=False).read().encode() == server.content
    assert len(server.ranges) == 1


def test_a_wrong_file_in_minilm_data_is_said_and_left_alone(served, server, tmp_path, monkeypatch):
    monkeypatch.setenv("MINILM_DATA", str(tmp_path))
    path = tmp_path / "tinyshakespeare.txt"
    path.write_text("not Shakespeare")
    refused("tinyshakespeare", str(path), served.sha256, file_sha256(path), "replace or remove it")
    assert path.read_text() == "not Shakespeare"
    assert server.ranges == []


def test_minilm_data_that_is_no_folder(monkeypatch, tmp_path):
    monkeypatch.setenv("MINILM_DATA", str(tmp_path / "gone"))
    refused("tinyshakespeare", "MINILM_DATA", "gone", "create it, or unset")
    assert open_corpus("python-reference")  # which needs no file


def test_a_corpus_without_an_address_says_which_file_goes_where(monkeypatch, tmp_path):
    entry = CATALOGUE["tang-quatrains"]
    refused(
        "tang-quatrains", entry.filename, entry.sha256, "chinese-poetry", "set the environment variable MINILM_DATA"
    )
    monkeypatch.setenv("MINILM_DATA", str(tmp_path))
    refused("tang-quatrains", f"into {tmp_path}")


# ---------------------------------------------------------------- what does not work


def test_an_unknown_name_gets_a_guess_and_the_list():
    refused("tinyshakespear", "did you mean tinyshakespeare?", "python-source", "path of a text file")
    refused("Tiny_Shakespeare", "did you mean tinyshakespeare?")
    assert "did you mean" not in refused("xyzzy", "no corpus and no file named 'xyzzy'", "python-reference")


def test_a_missing_path(tmp_path):
    refused(tmp_path / "gone.txt", "no file", "gone.txt", "check the path", "python-reference")
    refused("gone.txt", "no file 'gone.txt'", str(Path.cwd()))
    refused("a\0b", "no file named")
    refused("x" * 5000 + ".txt", "check the path")


def test_a_folder(tmp_path):
    refused(tmp_path, "is a folder", f"cat {tmp_path}/*.txt > corpus.txt")


def test_an_empty_file(write):
    refused(write(""), "is empty", "give a file with text in it")
    refused(write(b"\xef\xbb\xbf"), "is empty")


def test_one_distinct_character(write):
    refused(write("a" * 1000), "the one character 'a' only", "at least two different characters")
    refused(write("\n"), r"'\n'")
    open_corpus(write("a" * 1000 + "b"))
    with pytest.raises(InputError, match="is empty"):
        check_corpus(CorpusText.from_text(""))


def test_a_real_corpus_is_not_read_through_for_that():
    read = []

    def pieces(n):
        for number in range(100):
            read.append(number)
            yield "word " * n

    check_corpus(CorpusText("long", pieces))
    assert len(read) <= 2


def test_a_binary_file(write):
    refused(write(b"\x89PNG\r\n\x1a\n\0\0\0\rIHDR" + bytes(range(256)) * 9), "no text file", "NUL byte at byte 8")
    refused(write(b"\x01\x02\x03\x04hello"), "no text file", "4 control characters", "plain text file in UTF-8")
    refused(write(b"good text " * 200_000 + b"\0" + b" more"), "NUL byte at byte 2,000,000")
    open_corpus(write("\x1b[1mbold\x1b[0m\ttext\x0c\n" * 3))


@pytest.mark.parametrize("encoding", ["utf-16", "utf-16-le", "utf-16-be", "utf-32"])
def test_utf16_and_utf32(write, encoding):
    path = write("A text of some words.\nAnd a second line.\n".encode(encoding))
    label = encoding.upper().replace("-LE", "LE").replace("-BE", "BE")
    refused(path, "not UTF-8", f"looks like {label};", f"iconv -f {label} -t UTF-8 {path} > utf8.txt")


@pytest.mark.parametrize(
    ("text", "encoding", "label", "offset", "line"),
    [
        ("one\ntwo\nun caf\u00e9 noir\n" * 3, "latin-1", "LATIN1", 14, 3),
        ("one\n\u201ctwo\u201d and more text\n", "cp1252", "CP1252", 4, 2),
        ("one\n四時運灰琯，一夕變冬春。\n", "gb18030", "GB18030", 4, 2),
    ],
)
def test_other_encodings_say_where_and_how_to_convert(write, text, encoding, label, offset, line):
    path = write(text.encode(encoding), "my text.txt")
    command = f"iconv -f {label} -t UTF-8 '{path}' > utf8.txt"
    refused(path, "is not UTF-8", f"byte {offset} (line {line})", f"looks like {label};", command)


@pytest.mark.skipif(sys.platform == "win32", reason="a shell command line")
def test_the_advised_command_works(write, tmp_path):
    text = "one\ntwo\nun caf\u00e9 noir\n"
    message = refused(write(text.encode("latin-1"), "my text.txt"), "iconv")
    try:
        subprocess.run(message.partition("first: ")[2], shell=True, check=True, cwd=tmp_path, capture_output=True)
    except subprocess.CalledProcessError as error:
        pytest.skip(f"no iconv here: {error.stderr.decode()}")
    assert open_corpus(tmp_path / "utf8.txt").read() == text


def test_a_bad_byte_late_in_a_long_file(write):
    good = "a line of text\n" * 100_000
    path = write(good.encode() + b"caf\xe9 \n" + good.encode())
    refused(path, "byte 1,500,003 (line 100,001)", "LATIN1")


def test_damaged_utf8_is_told_from_another_encoding(write):
    path = write("un caf\u00e9\n".encode() + b"bad \xff byte\n")
    message = refused(path, "byte 13 (line 2)", f"iconv -c -f UTF-8 -t UTF-8 {path} > clean.txt")
    assert "looks like" not in message
    refused(write("caf\u00e9 caf\u00e9".encode()[:-1]), "byte 9 (line 1)")  # cut inside the last character


def test_a_file_without_permission(write, monkeypatch):
    path = write("secret text")
    if os.geteuid() == 0:  # root reads everything: let the system call fail as it would for others
        real = open

        def deny(name, *arguments, **keywords):
            if name == path:
                raise PermissionError(13, "Permission denied", str(name))
            return real(name, *arguments, **keywords)

        monkeypatch.setattr("builtins.open", deny)
    else:
        path.chmod(0)
    refused(path, "cannot read", "Permission denied", f"chmod u+r {path}")


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="no named pipes here")
def test_a_pipe(tmp_path):
    os.mkfifo(tmp_path / "pipe")
    refused(tmp_path / "pipe", "no ordinary file", "save its text in a file")


def test_no_name_at_all():
    with pytest.raises(InputError, match=r"no corpus was named.*minilm corpora"):
        open_corpus("")
