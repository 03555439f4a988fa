"""Jobs at the edges of what can be asked for."""

import pytest
from finetune_files import ALL, answering, classification

from minilm.errors import InputError
from minilm.finetuning import finetune, prepare


@pytest.mark.parametrize("task", ALL)
def test_a_job_may_have_no_validation(task, tmp_path):
    prepared = prepare(ALL[task](tmp_path, validation_fraction=0.0))
    assert prepared.validation.examples == prepared.validation.rows == []
    assert prepared.training.rows
    assert prepared.test.rows
    assert prepared.arguments.eval_strategy == "no"


def test_a_job_without_validation_is_trained_and_judged(tmp_path):
    result = finetune(answering(tmp_path, validation_fraction=0.0, max_steps=1), lambda line: None, progress=False)
    assert result.steps == 1
    assert "F1" in result.judgement.scores
    assert "0 validation" in (result.folder / "report.md").read_text(encoding="utf-8")


def test_a_rating_that_is_no_number_is_told_with_what_to_do(tmp_path):
    with pytest.raises(InputError, match=r"line 2: its label .* is no number; give the column that holds the ratings"):
        prepare(classification(tmp_path, rating_threshold=0.5))
