"""One signature per kernel: the reference's, in every backend, in the checks, and in what the package offers."""

from __future__ import annotations

import importlib
import inspect
import pkgutil

import pytest
from properties.kernel_backends import NAMES, why_not

import minilm_kernels
from minilm_kernels import KERNELS, checks, dispatch, reference

IN_PLACE_OR_PLAIN = {
    "attention_decode", "matmul", "rotary", "rotary_backward", "embedding_backward", "adamw_step", "clip_by_norm",
}  # fmt: skip
WITH_OPTIONS = {
    "attention_backward", "linear_backward", "feed_forward_backward", "layer_norm_backward", "rms_norm_backward",
}  # fmt: skip


def parameters(function):
    return [(p.name, p.kind, p.default) for p in inspect.signature(function).parameters.values()]


@pytest.mark.parametrize("backend", [name for name in NAMES if name != "reference"])
@pytest.mark.parametrize("name", KERNELS)
def test_backends_repeat_the_signature(name, backend):
    if why_not(backend):
        pytest.skip(why_not(backend))
    kernel = getattr(dispatch.backend(backend), name)
    assert callable(kernel)
    assert parameters(kernel) == parameters(getattr(reference, name))


@pytest.mark.parametrize("backend", [name for name in NAMES if name != "reference"])
def test_a_kernel_stays_a_function_when_its_file_is_loaded(backend):
    """A file of a package becomes an attribute of it; where it has a kernel's name it would hide the kernel."""
    if why_not(backend):
        pytest.skip(why_not(backend))
    package = dispatch.backend(backend)
    files = {file.name for file in pkgutil.iter_modules(package.__path__)}
    for name in files & set(KERNELS):
        importlib.import_module(f"{package.__name__}.{name}")
        assert inspect.isroutine(getattr(package, name)) or callable(getattr(package, name)), name


@pytest.mark.parametrize("name", KERNELS)
def test_the_public_kernel_is_the_reference_to_a_reader(name):
    public, specified = getattr(minilm_kernels, name), getattr(reference, name)
    assert inspect.signature(public) == inspect.signature(specified)
    assert public.__name__ == name
    assert public.__doc__ == specified.__doc__
    assert all(p.annotation is not p.empty for p in inspect.signature(specified).parameters.values())
    assert len(specified.__doc__) > 60


@pytest.mark.parametrize("name", KERNELS)
def test_the_check_has_the_signature(name):
    if name.endswith("_backward") and name not in IN_PLACE_OR_PLAIN | WITH_OPTIONS:
        assert not hasattr(checks, name), "checks.cotangent checks it"
    else:
        assert parameters(getattr(checks, name)) == parameters(getattr(reference, name))


def test_the_list_of_kernels():
    assert sorted(KERNELS) == sorted(reference.__all__)
    assert set(KERNELS) < set(minilm_kernels.__all__)
    assert all(name in dir(minilm_kernels) for name in minilm_kernels.__all__)
