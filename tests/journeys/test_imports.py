"""What an import loads, and what is said where a library is missing; each in a fresh process."""

import importlib.util
import re
import subprocess
import sys
from pathlib import Path

import pytest
from command_line import TINY, environment, some_text

from minilm.optional import INSTALL_HINTS

ROOT = Path(__file__).resolve().parents[2]
NEEDED_FOR_TRAINING = ["tqdm", "matplotlib", "safetensors", "yaml", "jsonargparse"]
BLOCK = """
import sys

class Blocker:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in BLOCKED:
            raise ModuleNotFoundError(f"No module named {name!r}", name=name)

BLOCKED = set(sys.argv[1].split(","))
sys.meta_path.insert(0, Blocker())
"""


def run(script, *arguments, cwd=None, **changes):
    return subprocess.run(
        [sys.executable, "-c", script, *arguments], cwd=cwd, env=environment(**changes), capture_output=True, text=True,
        timeout=120, check=False,
    )  # fmt: skip


ROOMS = [
    "",
    ".text",
    ".data",
    ".metrics",
    ".models",
    ".generation",
    ".hub",
    ".training",
    ".bench",
    ".doctor",
    ".cli",
    ".cli_options",
]


@pytest.mark.parametrize("room", ROOMS)
def test_an_import_loads_numpy_and_the_standard_library_only(room):
    script = (
        f"import sys, numpy.random; before = set(sys.modules); import minilm{room}; print(*set(sys.modules) - before)"
    )
    done = run(script)
    assert done.returncode == 0, done.stderr
    loaded = {name.partition(".")[0] for name in done.stdout.split()}
    assert "minilm" in loaded
    assert loaded - sys.stdlib_module_names <= {"minilm", "minilm_kernels", "numpy"}


def test_import_minilm_leaves_out_what_it_does_not_need_yet():
    done = run("import sys, minilm; print(*sys.modules)")
    assert not {"minilm.training", "minilm.cli", "minilm.bench", "argparse"} & set(done.stdout.split())


def test_the_engine_works_without_any_of_the_libraries():
    script = BLOCK + (
        "import numpy as np\n"
        "from minilm import Tensor, nn, functional as F, optim\n"
        "layer = nn.Linear(3, 2, generator=np.random.default_rng(0))\n"
        "optimizer = optim.AdamW(layer.parameters())\n"
        "F.cross_entropy(layer(Tensor(np.ones((4, 3)))), np.array([0, 1, 0, 1])).backward()\n"
        "optimizer.step()\n"
        "print('stepped')\n"
    )
    done = run(script, ",".join([*NEEDED_FOR_TRAINING, "numba", "cupy", "threadpoolctl"]))
    assert done.stdout == "stepped\n", done.stderr


@pytest.mark.parametrize("missing", [*NEEDED_FOR_TRAINING, ",".join(NEEDED_FOR_TRAINING)])
def test_train_says_in_one_sentence_what_to_install_and_leaves_nothing(tmp_path, missing):
    (tmp_path / "t.txt").write_text(some_text())
    line = f"train --corpus t.txt --out run {TINY}".split()
    script = BLOCK + f"import minilm.cli\nsys.exit(minilm.cli.main({line}))"
    done = run(script, missing, cwd=tmp_path)
    assert done.returncode == 2, done.stderr
    assert re.fullmatch(
        r"minilm: .* needs (\w+), which cannot be imported .*; install it: pip install .*\n", done.stderr
    )
    names = {"yaml": "PyYAML"}
    assert any(done.stderr.endswith(f"pip install {names.get(name, name)}\n") for name in missing.split(","))
    assert [path.name for path in tmp_path.iterdir()] == ["t.txt"]


def test_the_numbers_of_a_run_can_be_read_without_its_pictures(tmp_path):
    """generate needs the weights and the configuration, no matplotlib and no progress bar."""
    (tmp_path / "t.txt").write_text(some_text())
    trained = run(
        f"import minilm.cli; minilm.cli.main({f'train --corpus t.txt --out run --quiet {TINY}'.split()})", cwd=tmp_path
    )
    assert trained.returncode == 0, trained.stderr
    script = BLOCK + "import minilm.cli\nsys.exit(minilm.cli.main(['generate', 'run', '--max-new-tokens', '5']))"
    done = run(script, "matplotlib,tqdm,numba,cupy", cwd=tmp_path)
    assert done.returncode == 0, done.stderr


def test_doctor_works_without_the_libraries_it_looks_for():
    script = BLOCK + "from minilm.doctor import examine\nprint(examine())"
    done = run(script, ",".join([*NEEDED_FOR_TRAINING, "numba", "cupy", "threadpoolctl"]))
    assert done.returncode == 0, done.stderr
    for name in [*NEEDED_FOR_TRAINING, "numba", "cupy"]:
        assert re.search(rf"missing +{name}.*: {re.escape(INSTALL_HINTS[name])}", done.stdout), name


def test_kernels_is_a_source_root_and_no_package():
    assert (ROOT / "kernels" / "minilm_kernels" / "__init__.py").is_file()
    assert not (ROOT / "kernels" / "__init__.py").exists()


@pytest.mark.slow
def test_transformers_is_not_disturbed():
    if importlib.util.find_spec("transformers") is None:
        pytest.skip("transformers is not installed")
    script = (
        "import minilm_kernels, minilm, transformers\n"
        "print(transformers.utils.is_kernels_available(), transformers.GPT2Config().n_layer)"
    )
    done = run(script, cwd=ROOT, PYTHONPATH=f"{ROOT}:{ROOT / 'kernels'}")
    assert done.returncode == 0, done.stderr
    installed = importlib.util.find_spec("kernels")
    expected = installed is not None and installed.origin is not None and ROOT not in Path(installed.origin).parents
    assert done.stdout.split() == [str(expected), "12"]


@pytest.mark.slow
def test_transformers_models_are_not_disturbed():
    if importlib.util.find_spec("transformers") is None or importlib.util.find_spec("torch") is None:
        pytest.skip("transformers or torch is not installed")
    script = (
        "from transformers import GPT2Config, GPT2LMHeadModel\n"
        "print(GPT2LMHeadModel(GPT2Config(n_layer=1, n_embd=8, n_head=2, vocab_size=11)).num_parameters() > 0)"
    )
    done = run(script, cwd=ROOT, PYTHONPATH=f"{ROOT}:{ROOT / 'kernels'}")
    assert done.stdout.split() == ["True"], done.stderr
