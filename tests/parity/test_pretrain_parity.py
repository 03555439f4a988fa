"""What `minilm pretrain` writes, transformers opens: the same tokens, logits and losses."""

import sys
from pathlib import Path

import numpy as np
import pytest

torch = pytest.importorskip("torch")
transformers = pytest.importorskip("transformers")

sys.path.insert(0, str(Path(__file__).parents[1] / "pretraining"))
from pretrain_texts import write_text  # noqa: E402

from minilm import AutoModelForCausalLM, AutoModelForMaskedLM, AutoModelForPreTraining, AutoTokenizer, no_grad  # noqa: E402
from minilm.pretraining import BertOptions, GptOptions, T5Options, pretrain  # noqa: E402

TEXT = "the dog barks on day 3. The house, too — 狗!"
SMALL = {"steps": 4, "batch_size": 8, "max_length": 24, "evaluations": 1, "resamples": 5, "shown": 1}


def made(kind, folder, **changes):
    options = kind(data=[write_text(folder)], out=str(folder / "out"), **{**SMALL, **changes})
    return pretrain(options, lambda line: None, progress=False).folder / "model"


def same_tokens(folder):
    theirs, ours = transformers.AutoTokenizer.from_pretrained(folder), AutoTokenizer.from_pretrained(folder)
    assert theirs(TEXT)["input_ids"] == ours(TEXT)["input_ids"]
    assert theirs.model_max_length == ours.model_max_length == 24
    assert theirs.all_special_ids == ours.all_special_ids or set(theirs.all_special_ids) == set(ours.all_special_ids)
    return theirs, ours


def close(ours, theirs):
    np.testing.assert_allclose(ours.data, theirs.detach().numpy(), atol=2e-5)


def test_bert(tmp_path):
    folder = made(BertOptions, tmp_path, tokenizer="wordpiece:120")
    theirs_tokenizer, tokenizer = same_tokens(folder)
    assert theirs_tokenizer.mask_token_id == tokenizer.mask_token_id
    batch = tokenizer("the [MASK] barks", "on day 3.", return_tensors="np")
    given = {name: torch.tensor(values) for name, values in batch.items()}
    theirs, loading = transformers.BertForPreTraining.from_pretrained(folder, output_loading_info=True)
    assert not loading["missing_keys"]
    assert not loading["unexpected_keys"]
    ours = AutoModelForPreTraining.from_pretrained(folder)
    with no_grad(), torch.no_grad():
        a, b = ours(**batch), theirs.eval()(**given)
        close(a.prediction_logits, b.prediction_logits)
        close(a.seq_relationship_logits, b.seq_relationship_logits)
        words = AutoModelForMaskedLM.from_pretrained(folder)(**batch).logits
        close(words, transformers.AutoModelForMaskedLM.from_pretrained(folder).eval()(**given).logits)


def test_t5(tmp_path):
    folder = made(T5Options, tmp_path, tokenizer="unigram:200")
    _, tokenizer = same_tokens(folder)
    inputs = tokenizer("the dog <extra_id_0> on day 3.", return_tensors="np")["input_ids"]
    labels = tokenizer("<extra_id_0> barks <extra_id_1>", return_tensors="np")["input_ids"]
    ours, theirs = (
        AutoModelForPreTraining.from_pretrained(folder),
        transformers.T5ForConditionalGeneration.from_pretrained(folder),
    )
    with no_grad(), torch.no_grad():
        a = ours(input_ids=inputs, labels=labels)
        b = theirs.eval()(input_ids=torch.tensor(inputs), labels=torch.tensor(labels))
        close(a.logits, b.logits)
        assert float(a.loss.item()) == pytest.approx(float(b.loss), rel=1e-5)
    written = theirs.generate(torch.tensor(inputs), max_new_tokens=6, do_sample=False).numpy()
    assert ours.generate(inputs, max_new_tokens=6, do_sample=False).tolist() == written.tolist()


def test_gpt(tmp_path):
    folder = made(GptOptions, tmp_path, tokenizer="bpe:300")
    _, tokenizer = same_tokens(folder)
    inputs = tokenizer("the dog", return_tensors="np")["input_ids"]
    ours = AutoModelForCausalLM.from_pretrained(folder)
    theirs = transformers.AutoModelForCausalLM.from_pretrained(folder).eval()
    with no_grad(), torch.no_grad():
        close(ours(inputs).logits, theirs(torch.tensor(inputs)).logits)
    written = theirs.generate(torch.tensor(inputs), max_new_tokens=6, do_sample=False).numpy()
    assert ours.generate(inputs, max_new_tokens=6, do_sample=False).tolist() == written.tolist()
