"""A pytest plugin that runs the engine's own tests on the stand-in for CuPy:

    python -m pytest -p gpu.stand_in.suite tests/functional tests/nn ...      (with tests/ on the path)

Every tensor is made on the device: what a test gives as NumPy arrays is moved there by Tensor itself. The engine's files are
held to CuPy's rules; a test may compare the results with NumPy's functions (see gpu.stand_in).
"""

from __future__ import annotations

import contextlib
import importlib
import sys
from typing import Any

import pytest
from gpu import stand_in

STACK = contextlib.ExitStack()


def pytest_configure(config: pytest.Config) -> None:
    """Before any test file is read: some make tensors at once."""
    from minilm.devices import to_device
    from minilm.tensor import Tensor

    on_host = Tensor.__init__

    def made(self: Any, *args: Any, **kwargs: Any) -> None:
        on_host(self, *args, **kwargs)
        self.data = to_device(self.data, "cuda")

    STACK.enter_context(stand_in.installed())
    initial_weights_on_the_device()
    tables_on_the_device()
    STACK.callback(setattr, Tensor, "__init__", on_host)
    Tensor.__init__ = made  # type: ignore[method-assign]


def initial_weights_on_the_device() -> None:
    """Models are made on the host and then moved; here they are made on the device, so their first weights must be there."""
    importlib.import_module("minilm.models")  # which take the two functions from nn.layers
    from minilm.devices import to_device
    from minilm.nn import layers

    for name in ("normal", "uniform"):
        draw = getattr(layers, name)

        def drawn(*args: Any, draw: Any = draw, **kwargs: Any) -> Any:
            return to_device(draw(*args, **kwargs), "cuda")

        for module in list(sys.modules.values()):
            if getattr(module, "__name__", "").startswith("minilm.") and vars(module).get(name) is draw:
                STACK.callback(setattr, module, name, draw)
                setattr(module, name, drawn)


def tables_on_the_device() -> None:
    """And their tables (of positions) before they are called."""
    from minilm.nn import Module

    call = Module.__call__

    def called(self: Any, *args: Any, **kwargs: Any) -> Any:
        if "_at_home" not in vars(self):
            self.to("cuda")._at_home = True
        return call(self, *args, **kwargs)

    STACK.callback(setattr, Module, "__call__", call)
    Module.__call__ = called  # type: ignore[method-assign]


def pytest_unconfigure(config: pytest.Config) -> None:
    STACK.close()


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """What a device does not have: arrays that share memory with the host's, fingerprints of them."""
    kept, left = [], []
    for item in items:
        (left if any(name in item.nodeid for name in NOT_THERE) else kept).append(item)
    items[:] = kept
    config.hook.pytest_deselected(items=left)


NOT_THERE = {
    "test_views_share_memory": "with an array of the host",
    "test_dropout_only_while_training": "the very array of the host",
    "test_tensor_shares_the_array_and_tensor_function_copies_it": "an array of the host",
    "test_attributes": "numpy() is the very array",
    "test_a_gradient_set_by_hand_is_added_to": "an array of the host set by hand",
    "test_nothing_waits_for_the_garbage_collector": "a buffer of the host set by hand",
    "test_activation_memory_is_what_the_tape_keeps": "the host's kernels keep other arrays",
    "changed": "saved arrays on a device are not watched for changes, which would make the host wait",
    "test_the_check_itself_can_fail": "wrong derivatives made of arrays of the host",
    "test_t5_files": "a folder is read into a model on the host, which is moved afterwards",
    "test_sinusoidal_positions": "a layer without parameters, called with an array of the host",
    "test_the_walk_that_fails_leaves_no_half_gradient_behind": "the same",
}
