"""A model's folder, and its files changed by hand."""

import json

from hub_models import IDS

from minilm.hub import saving
from minilm.hub.weights import open_weights


def first_output(model, ids=IDS):
    return model(ids[:1])[0].data


def edit(folder, **changes):
    path = folder / "config.json"
    values = json.loads(path.read_text()) | changes
    path.write_text(json.dumps({name: value for name, value in values.items() if value != "absent"}))


def rewrite(folder, change):
    """Write model.safetensors anew with other tensors."""
    weights = open_weights(folder)
    tensors = {name: weights.read(name) for name in weights.shapes}
    change(tensors)
    saving.write_safetensors(folder / "model.safetensors", list(tensors.items()))


def snapshot(folder):
    return {path.name: path.read_bytes() for path in sorted(folder.iterdir())}
