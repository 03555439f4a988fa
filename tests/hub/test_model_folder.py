"""Where a model is looked for: a folder, the cache on this machine, a download that is not tried where it may not be."""

import sys
import types

import pytest

from minilm import folders
from minilm.errors import InputError
from minilm.folders import TOKENIZER_FILES, cache_folder, find_folder

COMMIT = "0123456789abcdef0123456789abcdef01234567"


@pytest.fixture
def cache(tmp_path, monkeypatch):
    """An empty cache, and a machine that may not download."""
    monkeypatch.setenv("HF_HOME", str(tmp_path / "home"))
    for name in ("HF_HUB_CACHE", "HUGGINGFACE_HUB_CACHE"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    return tmp_path / "home" / "hub"


def fill(cache, name="models--owner--net", commit=COMMIT, revision="main", files=("config.json", "model.safetensors")):
    snapshot = cache / name / "snapshots" / commit
    snapshot.mkdir(parents=True)
    (cache / name / "refs").mkdir(exist_ok=True)
    (cache / name / "refs" / revision).write_text(commit)
    for file in files:
        (snapshot / file).write_text("{}")
    return snapshot


def test_a_folder_is_itself(tmp_path, cache):
    assert find_folder(tmp_path) == tmp_path
    assert find_folder(str(tmp_path)) == tmp_path


def test_a_folder_comes_before_the_cache(tmp_path, cache, monkeypatch):
    fill(cache)
    (tmp_path / "owner" / "net").mkdir(parents=True)
    monkeypatch.chdir(tmp_path)
    assert find_folder("owner/net").resolve() == (tmp_path / "owner" / "net").resolve()


def test_a_name_in_the_cache(cache):
    snapshot = fill(cache)
    other = fill(cache, commit="f" * 40, revision="v2")
    assert find_folder("owner/net") == snapshot
    assert find_folder("owner/net", revision="v2") == other
    assert find_folder("owner/net", revision=COMMIT) == snapshot
    plain = fill(cache, "models--gpt2")
    assert find_folder("gpt2") == plain


def test_the_cache_may_lie_elsewhere(tmp_path, cache, monkeypatch):
    snapshot = fill(tmp_path / "elsewhere")
    with pytest.raises(InputError):
        find_folder("owner/net")
    monkeypatch.setenv("HF_HUB_CACHE", str(tmp_path / "elsewhere"))
    assert find_folder("owner/net") == snapshot


@pytest.mark.parametrize(
    ("environment", "end"),
    [
        ({"HF_HUB_CACHE": "/a"}, "/a"),
        ({"HUGGINGFACE_HUB_CACHE": "/b"}, "/b"),
        ({"HF_HOME": "/c"}, "/c/hub"),
        ({"XDG_CACHE_HOME": "/d"}, "/d/huggingface/hub"),
        ({}, ".cache/huggingface/hub"),
    ],
)
def test_the_variables_of_huggingface_hub(environment, end):
    assert cache_folder(environment).as_posix().endswith(end)


def test_what_is_wanted_must_be_there(cache):
    snapshot = fill(cache, files=("config.json", "tokenizer.json"))
    assert find_folder("owner/net", TOKENIZER_FILES) == snapshot
    with pytest.raises(InputError, match="in the Hugging Face cache without its model files"):
        find_folder("owner/net")


def test_nothing_is_downloaded_where_it_may_not_be(cache, monkeypatch):
    calls = []
    fake = types.SimpleNamespace(snapshot_download=lambda *a, **k: calls.append(a), __spec__=types.SimpleNamespace())
    monkeypatch.setitem(sys.modules, "huggingface_hub", fake)
    with pytest.raises(InputError, match=r"not in the Hugging Face cache .* downloads are switched off"):
        find_folder("owner/net")
    monkeypatch.delenv("HF_HUB_OFFLINE")
    with pytest.raises(InputError, match="downloads are switched off"):
        find_folder("owner/net", local_files_only=True)
    assert not calls


def test_a_download(cache, tmp_path, monkeypatch):
    calls = []

    def snapshot_download(name, **options):
        calls.append((name, options))
        return str(tmp_path)

    fake = types.SimpleNamespace(snapshot_download=snapshot_download, __spec__=types.SimpleNamespace())
    monkeypatch.setitem(sys.modules, "huggingface_hub", fake)
    monkeypatch.delenv("HF_HUB_OFFLINE")
    assert find_folder("owner/net", revision="v3") == tmp_path
    [(name, options)] = calls
    assert (name, options["revision"]) == ("owner/net", "v3")
    assert not any("bin" in pattern or pattern == "*" for pattern in options["allow_patterns"])


def test_a_download_that_fails_is_one_sentence(cache, monkeypatch):
    def snapshot_download(name, **options):
        raise RuntimeError("404 Client Error\n\n(Request ID: 1)")

    fake = types.SimpleNamespace(snapshot_download=snapshot_download, __spec__=types.SimpleNamespace())
    monkeypatch.setitem(sys.modules, "huggingface_hub", fake)
    monkeypatch.delenv("HF_HUB_OFFLINE")
    with pytest.raises(InputError, match=r"downloading it failed .RuntimeError: 404 Client Error") as caught:
        find_folder("owner/net")
    assert "\n" not in str(caught.value)


def test_without_huggingface_hub(cache, monkeypatch):
    monkeypatch.delenv("HF_HUB_OFFLINE")
    monkeypatch.setattr(folders.importlib.util, "find_spec", lambda name: None)
    with pytest.raises(InputError, match="pip install huggingface_hub"):
        find_folder("owner/net")


@pytest.mark.parametrize("name", ["./missing", "/no/such/place", "a/b/c", "", "owner/../x", "..", "~nobody/x", "C:\\x"])
def test_what_is_no_name_is_not_looked_for(cache, name, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    if name in ("", ".."):
        name = name + "?"
    with pytest.raises(InputError, match="there is no folder"):
        find_folder(name)


def test_a_file_is_no_folder(cache, tmp_path):
    (tmp_path / "config.json").write_text("{}")
    with pytest.raises(InputError, match="is a file; give the folder"):
        find_folder(tmp_path / "config.json")


@pytest.mark.parametrize("content", ["..", "../../..", "a/b", "", "x\ny"])
def test_a_reference_that_points_out_of_the_cache(cache, content):
    fill(cache)
    (cache / "models--owner--net" / "refs" / "main").write_text(content)
    with pytest.raises(InputError, match="not in the Hugging Face cache"):
        find_folder("owner/net")
