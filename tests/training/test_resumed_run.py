"""A run that is resumed: the same bits and the same log, and what resume_run may change."""

import pytest
from run_cases import At, assert_same_bits, last_checkpoint, make_config, records, silent, stop

from minilm.errors import InputError
from minilm.training import (
    RunConfig,
    list_checkpoints,
    resume_run,
    start_run,
)


@pytest.mark.parametrize(("tokenizer", "at"), [("char", 1), ("char", 5), ("char", 8), ("char", 11), ("bpe:270", 7)])
def test_a_resumed_run_ends_with_the_same_bits_and_the_same_log(text, tmp_path, tokenizer, at):
    config = make_config(tokenizer)
    start_run(config, tmp_path / "whole", say=silent)
    start_run(config, tmp_path / "parts", [At(at, stop)], silent)
    assert last_checkpoint(tmp_path / "parts").step == at
    saved = RunConfig.load(tmp_path / "parts" / "config.yaml")
    resume_run(saved, tmp_path / "parts", say=silent)
    assert_same_bits(last_checkpoint(tmp_path / "parts"), last_checkpoint(tmp_path / "whole"))
    assert records(tmp_path / "parts") == records(tmp_path / "whole")


def test_more_steps_continue_as_one_longer_run(text, tmp_path):
    start_run(make_config(max_steps=20, lr_scheduler_type="constant"), tmp_path / "long", say=silent)
    start_run(make_config(lr_scheduler_type="constant"), tmp_path / "short", say=silent)
    saved = RunConfig.load(tmp_path / "short" / "config.yaml")
    saved.training.max_steps = 20
    report = resume_run(saved, tmp_path / "short", say=silent)
    assert report.step == 20
    assert_same_bits(last_checkpoint(tmp_path / "short"), last_checkpoint(tmp_path / "long"))
    assert RunConfig.load(tmp_path / "short" / "config.yaml").training.max_steps == 20


def test_resuming_a_finished_run_changes_nothing_and_says_how_to_go_on(config, tmp_path):
    first = start_run(config, tmp_path / "run", say=silent)
    before, log = last_checkpoint(tmp_path / "run"), records(tmp_path / "run")
    said = []
    again = resume_run(RunConfig.load(tmp_path / "run" / "config.yaml"), tmp_path / "run", say=said.append)
    assert again.loss == first.loss
    assert any("finished" in line and "--training.max_steps" in line for line in said)
    assert_same_bits(last_checkpoint(tmp_path / "run"), before)
    assert records(tmp_path / "run") == log


def test_a_changed_learning_rate_counts_from_the_resume_on(text, tmp_path):
    start_run(make_config(lr_scheduler_type="constant"), tmp_path / "run", [At(6, stop)], silent)
    saved = RunConfig.load(tmp_path / "run" / "config.yaml")
    saved.training.learning_rate = saved.training.min_learning_rate = 3e-4
    saved.training.weight_decay = 0.0
    seen = []
    resume_run(saved, tmp_path / "run", [At(8, lambda t: seen.extend(t.optimizer.param_groups))], silent)
    rates = {r["step"]: r["learning_rate"] for r in records(tmp_path / "run") if r["event"] == "train"}
    assert rates[6] == pytest.approx(1e-3)
    assert rates[7] == rates[12] == pytest.approx(3e-4)
    assert [group["weight_decay"] for group in seen] == [0.0, 0.0]


@pytest.mark.parametrize(
    ("change", "says"),
    [
        (lambda c: setattr(c.model, "num_layers", 2), r"model\.num_layers cannot change.*it is 1 in"),
        (lambda c: setattr(c.model, "dropout", 0.5), r"model\.dropout cannot change"),
        (lambda c: setattr(c, "corpus", "other.txt"), r"corpus cannot change"),
        (lambda c: setattr(c, "tokenizer", "bpe:300"), r"tokenizer cannot change"),
        (lambda c: setattr(c, "validation_fraction", 0.2), r"validation_fraction cannot change"),
        (lambda c: setattr(c.training, "max_steps", 3), r"has reached step 6 already"),
        (lambda c: setattr(c.training, "optimizer", "sgd"), r"trained with AdamW, not SGD"),
    ],
)
def test_what_a_resumed_run_refuses_leaves_the_run_as_it_was(config, tmp_path, change, says):
    folder = tmp_path / "run"
    start_run(config, folder, [At(6, stop)], silent)
    before = {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()}
    changed = RunConfig.load(folder / "config.yaml")
    change(changed)
    with pytest.raises(InputError, match=says):
        resume_run(changed, folder, say=silent)
    assert {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()} == before


def test_a_run_killed_before_its_first_checkpoint_starts_over(config, tmp_path):
    start_run(config, tmp_path / "whole", say=silent)

    class Killed(BaseException):
        pass

    def kill(trainer):
        raise Killed

    with pytest.raises(Killed):
        start_run(config, tmp_path / "run", [At(3, kill)], silent)
    assert list_checkpoints(tmp_path / "run" / "checkpoints") == []
    resume_run(RunConfig.load(tmp_path / "run" / "config.yaml"), tmp_path / "run", say=silent)
    assert_same_bits(last_checkpoint(tmp_path / "run"), last_checkpoint(tmp_path / "whole"))
    assert records(tmp_path / "run") == records(tmp_path / "whole")
