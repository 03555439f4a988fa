"""Which backend serves: contexts, the environment, missing libraries. Other environments in fresh processes."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
import types
import warnings
from pathlib import Path

import numpy as np
import pytest
from properties.kernel_backends import has_numba

import minilm_kernels
from minilm_kernels import KERNELS, active, array_namespace, dispatch, reference, use_kernels

FOLDER = Path(minilm_kernels.__file__).parents[1]
X = np.arange(6, dtype=np.float32).reshape(2, 3)


class FakeArray:
    """As if it lived on a GPU."""

    __module__ = "cupy"
    shape, dtype, ndim, size = (2, 3), np.dtype(np.float32), 2, 6


@pytest.fixture
def backends(monkeypatch):
    """Stand-ins for all three backends: each kernel returns the backend's name (with residuals, if it has them)."""

    def module(name):
        def kernel_of(kernel):
            def answer(*args, **kwargs):
                served.append((name, kernel))
                return (X, name) if kernel in {"gelu", "layer_norm"} else name

            return answer

        return types.SimpleNamespace(**{kernel: kernel_of(kernel) for kernel in KERNELS})

    served: list[tuple[str, str]] = []
    fakes = {name: module(name) for name in dispatch.BACKENDS}
    monkeypatch.setattr(dispatch, "reference", fakes["reference"])
    monkeypatch.setattr(dispatch, "backend", fakes.__getitem__)
    monkeypatch.setattr(dispatch, "_serving", {"reference": fakes["reference"]})
    monkeypatch.setattr(dispatch, "_found", lambda name: True)
    monkeypatch.setattr(dispatch, "_from_environment", lambda: None)
    monkeypatch.setitem(sys.modules, "cupy", types.ModuleType("cupy"))
    return served


def serves():
    return minilm_kernels.matmul(X, X.T)


def test_left_alone_the_arrays_decide(backends):
    assert serves() == "numba"
    minilm_kernels.gelu(FakeArray())
    assert backends[-1] == ("cupy", "gelu")
    assert active() == "numba"
    assert active(FakeArray()) == "cupy"


def test_contexts_nest_and_end(backends):
    with use_kernels("reference"):
        assert serves() == active() == "reference"
        with use_kernels("numba"):
            assert serves() == active() == "numba"
        with pytest.raises(RuntimeError, match="inside"), use_kernels("numba"):
            raise RuntimeError("inside")
        assert serves() == "reference"
    assert serves() == "numba"


def test_a_context_is_a_decorator(backends):
    @use_kernels("reference")
    def inside(depth):
        return [serves(), *(inside(depth - 1) if depth else [])]

    assert inside(2) == ["reference"] * 3
    assert serves() == "numba"


def test_a_context_belongs_to_its_thread(backends):
    said = []
    with use_kernels("reference"):
        thread = threading.Thread(target=lambda: said.append(serves()))
        thread.start()
        thread.join()
    assert said == ["numba"]


def test_backward_goes_where_forward_went(backends):
    with use_kernels("reference"):
        _, residuals = minilm_kernels.gelu(X)
    minilm_kernels.gelu_backward(X, residuals)
    minilm_kernels.gelu_backward(grad_output=X, residuals=residuals)
    assert backends == [("reference", "gelu"), ("reference", "gelu_backward"), ("reference", "gelu_backward")]


def test_calls_by_keyword(backends):
    with use_kernels("reference"):
        minilm_kernels.gelu(approximate="tanh", x=X)
        assert minilm_kernels.matmul(b=X.T, a=X) == "reference"
        assert minilm_kernels.clip_by_norm([], None) == "reference"


def test_kernels_and_arrays_must_fit(backends):
    with use_kernels("numba"), pytest.raises(TypeError, match="numba kernels cannot work on a cupy array"):
        minilm_kernels.gelu(FakeArray())
    with use_kernels("cupy"), pytest.raises(TypeError, match="cupy kernels cannot work on a numpy array"):
        minilm_kernels.gelu(X)
    with use_kernels("reference"):
        minilm_kernels.gelu(FakeArray())
    assert backends == [("reference", "gelu")]


def test_arrays_of_two_homes_do_not_mix(monkeypatch):
    monkeypatch.setitem(sys.modules, "cupy", types.ModuleType("cupy"))
    with pytest.raises(TypeError, match="up is a cupy array but gate is a numpy array"):
        minilm_kernels.silu_mul(X, FakeArray())


def test_unknown_kernels():
    with pytest.raises(ValueError, match="'reference', 'numba' and 'cupy'"):
        use_kernels("fast")


def test_cupy_kernels_that_are_not_there():
    if dispatch._found("cupy"):
        pytest.skip("CuPy is here")
    with pytest.raises(ImportError, match="need CuPy"):
        use_kernels("cupy")


@pytest.mark.parametrize("name", ["reference", "numba"])
def test_the_real_backends_serve(name):
    if name == "numba" and not has_numba():
        pytest.skip("Numba is not installed")
    with use_kernels(name):
        y, residuals = minilm_kernels.gelu(X)
        np.testing.assert_allclose(y, reference.gelu(X)[0], rtol=1e-5)
        assert minilm_kernels.gelu_backward(X, residuals).shape == X.shape


def run(script, block="", **variables):
    blocker = (
        "import sys\n"
        "class Blocker:\n"
        "    def find_spec(self, name, path=None, target=None):\n"
        f"        if name.partition('.')[0] in {block.split(',')!r}: raise ModuleNotFoundError(name)\n"
        "sys.meta_path.insert(0, Blocker())\n"
    )
    environment = {k: v for k, v in os.environ.items() if k != "MINILM_KERNELS"} | variables
    return subprocess.run(
        [sys.executable, "-c", (blocker if block else "") + script], cwd=FOLDER, env=environment, capture_output=True,
        text=True, timeout=120, check=False,
    )  # fmt: skip


def test_without_numba_the_reference_serves_and_says_so_once():
    script = (
        "import numpy as np, minilm_kernels as k\n"
        "x = np.ones((2, 3), np.float32)\n"
        "for _ in range(3): k.gelu(x); k.rms_norm(x)\n"
        "print(k.active())"
    )
    done = run(script, block="numba")
    assert done.returncode == 0, done.stderr
    assert done.stdout == "reference\n"
    assert done.stderr.count("pip install numba") == 1
    assert done.stderr.startswith("<string>:"), "the warning points at the caller"


def test_numba_that_cannot_be_imported_is_said(monkeypatch):
    """Installed, but broken."""

    def broken(name):
        raise ImportError(f"{name} needs a newer NumPy")

    monkeypatch.setattr(dispatch, "backend", broken)
    monkeypatch.setattr(dispatch, "_serving", {"reference": reference})
    monkeypatch.setattr(dispatch, "_from_environment", lambda: None)
    with pytest.warns(UserWarning, match="needs a newer NumPy"):
        minilm_kernels.gelu(X)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        minilm_kernels.gelu(X)
    assert active() == "reference"


def test_asking_for_numba_without_numba():
    script = "import minilm_kernels as k\ntry: k.use_kernels('numba')\nexcept ImportError as error: print(error)"
    done = run(script, block="numba")
    assert "pip install numba" in done.stdout, done.stderr


def test_the_environment_decides():
    script = "import numpy as np, minilm_kernels as k\nk.gelu(np.ones(3))\nprint(k.active())"
    done = run(script, MINILM_KERNELS="reference")
    assert done.stdout == "reference\n", done.stderr
    assert done.stderr == ""
    wrong = run(script, MINILM_KERNELS="fast")
    assert wrong.returncode != 0
    assert "ValueError: MINILM_KERNELS: unknown kernels 'fast'; the choices are" in wrong.stderr
    inside = "import minilm_kernels as k\nwith k.use_kernels('reference'): print(k.active())"
    assert run(inside, MINILM_KERNELS="fast").stdout == "reference\n", "a context comes first"


def test_an_import_loads_numpy_alone():
    script = "import sys, minilm_kernels as k\nprint(k.active(), *{m.partition('.')[0] for m in sys.modules})"
    name, *loaded = run(script).stdout.split()
    assert name == ("numba" if has_numba() else "reference"), "active() looks without importing"
    assert not {"minilm", "numba", "llvmlite", "cupy", "torch", "scipy"} & set(loaded)


def test_kernels_is_no_package():
    assert not (FOLDER / "__init__.py").exists(), "a package called `kernels` would shadow Hugging Face's"


def test_array_namespace():
    assert array_namespace(np.zeros(1)) is np
    assert array_namespace(np.float32(1)) is np
    assert array_namespace([1]) is np
