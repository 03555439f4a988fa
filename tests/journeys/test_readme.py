"""What the README tells a person to type: its Python runs as it stands, its commands exist, its extras and links too."""

import ast
import re
import shlex
import subprocess
import sys
import textwrap
from itertools import pairwise
from pathlib import Path
from typing import NamedTuple

import pytest
from command_line import environment

from minilm.bench import SUBCOMMANDS
from minilm.cli_finetune import parse as parse_finetune
from minilm.cli_options import parse
from minilm.cli_pretrain import parse as parse_pretrain
from minilm.optional import INSTALL_HINTS
from minilm.training import RunConfig

ROOT = Path(__file__).resolve().parents[2]
TEXTS = {name: (ROOT / name).read_text(encoding="utf-8") for name in ("README.md", "CONTRIBUTING.md")}


class Block(NamedTuple):
    """A fenced block: its language, the line where it begins, what is in it, and the section's heading above it."""

    language: str
    line: int
    code: str
    section: str


def fenced_blocks(text: str) -> list[Block]:
    """All blocks between ``` or ~~~ fences, also inside a list, with the fence's indentation taken away."""
    blocks: list[Block] = []
    lines = iter(enumerate(text.splitlines(), 1))
    section = ""
    for number, line in lines:
        section = line.removeprefix("## ") if line.startswith("## ") else section
        opening = re.fullmatch(r"( *)(```+|~~~+) *([\w-]*).*", line)
        if not opening:
            continue
        indent, fence, language = opening.groups()
        body = []
        for _, inner in lines:
            if inner.strip() == fence:
                break
            body.append(inner.removeprefix(indent))
        blocks.append(Block(language, number, textwrap.dedent("\n".join(body)) + "\n", section))
    return blocks


def shell_commands(text: str) -> list[list[str]]:
    """The commands of all sh blocks as lists of words: prompts, comments and `&&` taken apart, continued lines joined."""
    commands: list[list[str]] = []
    for block in fenced_blocks(text):
        if block.language in ("sh", "bash", "console", "shell"):
            for line in block.code.replace("\\\n", " ").splitlines():
                words: list[str] = []
                for word in [*shlex.split(line.removeprefix("$ "), comments=True), "&&"]:
                    if word in ("&&", "|", ";"):
                        commands.append(words)
                        words = []
                    else:
                        words.append(word)
    return [words for words in commands if words]


PYTHON = [block for block in fenced_blocks(TEXTS["README.md"]) if block.language == "python"]
MINILM = [
    words[i + 1 :]
    for text in TEXTS.values()
    for words in shell_commands(text)
    for i in range(len(words))
    if words[i] == "minilm" and words[:i] in ([], ["python", "-m"])
]


def test_the_extractor_finds_what_there_is():
    text = (
        "a\n```python\nx = 1\n```\n- b\n  ```sh\n  $ minilm train --a 'b c' \\\n    --d  # e\n"
        "  pip install x && minilm doctor\n  ```\n"
    )
    assert [(b.language, b.line) for b in fenced_blocks(text)] == [("python", 2), ("sh", 6)]
    assert fenced_blocks(text)[0].code == "x = 1\n"
    assert shell_commands(text) == [
        ["minilm", "train", "--a", "b c", "--d"], ["pip", "install", "x"], ["minilm", "doctor"],
    ]  # fmt: skip
    assert len(PYTHON) >= 1
    assert {words[0] for words in MINILM} >= {"train", "generate"}


@pytest.mark.parametrize("section", dict.fromkeys(block.section for block in PYTHON))
def test_python_blocks_run_as_they_stand(tmp_path, section):
    """One after the other in one folder, each in a process of its own."""
    for block in [block for block in PYTHON if block.section == section]:
        done = subprocess.run(
            [sys.executable, "-c", block.code], cwd=tmp_path, env=environment(), capture_output=True, text=True,
            timeout=60, check=False,
        )  # fmt: skip
        assert done.returncode == 0, (block.line, done.stderr)
        assert done.stderr == "", block.line
        losses = [float(number) for number in re.findall(r"loss:? *([0-9.]+)", done.stdout)]
        if "loss" in block.code:  # a training loop that does not learn would be a poor advertisement
            assert len(losses) >= 2, done.stdout
            assert losses[-1] < 0.8 * losses[0]


def test_the_training_loop_is_about_thirty_lines():
    loops = [block.code for block in PYTHON if "backward()" in block.code and "optimizer.step()" in block.code]
    lengths = [len([line for line in loop.splitlines() if line.strip()]) for loop in loops]
    assert lengths[0] >= 20
    assert max(lengths) <= 36


@pytest.mark.parametrize("words", MINILM, ids=" ".join)
def test_commands_are_understood(tmp_path, monkeypatch, words):
    monkeypatch.chdir(tmp_path)
    for option, value in pairwise(words):
        if option in ("--resume", "--config"):  # these have to be there
            path = tmp_path / value / "config.yaml" if option == "--resume" else tmp_path / value
            RunConfig().save(path)
    if words[0] == "bench":
        assert words[1] in (*SUBCOMMANDS, "--help")
    elif words[0] == "finetune" and "--help" not in words:
        options, _ = parse_finetune(words[1], words[2:])
        assert options.data == words[words.index("--data") + 1]
    elif words[0] == "pretrain" and "--help" not in words:
        pretraining, folder, _ = parse_pretrain(words[1:])
        assert folder == words[-1] if pretraining is None else pretraining.data[0] == words[words.index("--data") + 1]
    elif "--help" not in words:
        assert parse(words).command == words[0]


@pytest.mark.parametrize("name", TEXTS)
def test_modules_that_are_run_exist(name):
    for module in re.findall(r"python -m (minilm[\w.]*)", TEXTS[name]):
        path = (ROOT / "kernels" if module.startswith("minilm_kernels") else ROOT).joinpath(*module.split("."))
        assert (path / "__main__.py").is_file() or path.with_suffix(".py").is_file(), module


@pytest.mark.parametrize("name", [*TEXTS, "INSTALL_HINTS"])
def test_extras_that_are_named_exist(name):
    text = " ".join(INSTALL_HINTS.values()) if name == "INSTALL_HINTS" else TEXTS[name]
    tree = ast.parse((ROOT / "setup.py").read_text(encoding="utf-8"))
    (extras,) = [k.value for k in ast.walk(tree) if isinstance(k, ast.keyword) and k.arg == "extras_require"]
    assert isinstance(extras, ast.Dict)
    known = {key.value for key in extras.keys if isinstance(key, ast.Constant)}
    named = {extra for found in re.findall(r"(?:minilm|\.)\[([\w,]+)\]", text) for extra in found.split(",")}
    assert named <= known
    assert named


@pytest.mark.parametrize("name", TEXTS)
def test_links_to_files_and_pictures_lead_somewhere(name):
    for target in re.findall(r"\]\(([^)\s]+)\)", TEXTS[name]):
        if not re.match(r"[a-z]+:|#", target):
            assert (ROOT / target.partition("#")[0]).exists(), target


@pytest.mark.parametrize("name", TEXTS)
def test_no_gap_is_left_to_fill_in(name):
    assert not re.findall(r"@@\w*@@|TODO|FIXME|XXX", TEXTS[name])
