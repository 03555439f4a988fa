"""TrainingArguments: transformers' names and defaults, old names with a warning, nothing accepted that is not done."""

import math
import warnings

import pytest

from minilm.errors import InputError
from minilm.training import TrainingArguments
from minilm.training.argument_names import RENAMED, UNSUPPORTED, WITHOUT_EFFECT
from minilm.training.schedules import trainer_schedule


def test_the_arguments_of_the_document():
    """[002 §5.2]: as printed there."""
    args = TrainingArguments(
        output_dir="./results", num_train_epochs=3, per_device_train_batch_size=16, per_device_eval_batch_size=64,
        warmup_steps=500, weight_decay=0.01, logging_dir="./logs",
    )  # fmt: skip
    assert (args.output_dir, args.logging_dir, args.learning_rate, args.seed) == ("./results", "./logs", 5e-5, 42)
    assert args.get_warmup_steps(10_000) == 500


@pytest.mark.parametrize(
    ("old", "value", "new", "becomes"),
    [
        ("evaluation_strategy", "epoch", "eval_strategy", "epoch"),
        ("per_gpu_train_batch_size", 3, "per_device_train_batch_size", 3),
        ("group_by_length", True, "train_sampling_strategy", "group_by_length"),
        ("group_by_length", False, "train_sampling_strategy", "random"),
    ],
)
def test_an_old_name_warns_and_names_the_new_one(old, value, new, becomes):
    with pytest.warns(DeprecationWarning, match=rf"{old} is called {new} now") as caught:
        args = TrainingArguments("out", **{old: value})
    assert getattr(args, new) == becomes
    assert caught[0].filename == __file__  # the caller's line is shown


def test_old_and_new_name_together_are_refused():
    with pytest.warns(DeprecationWarning, match="evaluation_strategy"), pytest.raises(InputError, match="both given"):
        TrainingArguments("out", evaluation_strategy="epoch", eval_strategy="steps")


@pytest.mark.parametrize(
    ("wrong", "right"),
    [
        ("learning_rat", "learning_rate"),
        ("batch_size", "per_device_train_batch_size"),
        ("epochs", "num_train_epochs"),
        ("evalution_strategy", "evaluation_strategy"),
    ],
)
def test_an_unknown_name_gets_the_closest_one(wrong, right):
    with pytest.raises(InputError, match=rf"no option '{wrong}'; did you mean {right}\?"):
        TrainingArguments("out", **{wrong: 1})


def test_names_without_effect_are_silent_and_those_not_served_only_if_asked_for():
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        TrainingArguments("out", use_cpu=True, overwrite_output_dir=True, dataloader_num_workers=2, report_to="none")
        TrainingArguments("out", fp16=False, push_to_hub=False, report_to=[])
    with pytest.raises(InputError, match="fp16_full_eval is True, but evaluations compute in what"):
        TrainingArguments("out", fp16_full_eval=True)
    with pytest.raises(InputError, match="report_to is 'wandb'"):
        TrainingArguments("out", report_to="wandb")
    fields = set(TrainingArguments("out").to_dict())
    assert not fields & WITHOUT_EFFECT
    assert not fields & set(UNSUPPORTED)
    assert not fields & set(RENAMED)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"per_device_train_batch_size": 0}, "per_device_train_batch_size is 0; it must be at least 1"),
        ({"learning_rate": "1e-3"}, "learning_rate is '1e-3'; it must be a number"),
        ({"learning_rate": -1}, "learning_rate is -1; it must be at least 0"),
        ({"learning_rate": math.nan}, "learning_rate is nan"),
        ({"seed": 1.5}, "seed is 1.5; it must be a whole number"),
        ({"adam_beta1": 1.0}, "adam_beta1 is 1.0; it must be at least 0 and below 1"),
        ({"eval_strategy": "epochs"}, "eval_strategy is 'epochs'; choose one of no, steps, epoch"),
        ({"lr_scheduler_type": "polynomial"}, "lr_scheduler_type is 'polynomial'; choose one of linear"),
        ({"optim": "adafactor"}, "optim is 'adafactor'"),
        ({"num_train_epochs": 0}, "num_train_epochs is 0"),
        ({"save_steps": 1.5}, "save_steps is 1.5; give a whole number of steps, or a share"),
        ({"load_best_model_at_end": True}, "load_best_model_at_end needs evaluations"),
        ({"load_best_model_at_end": True, "eval_strategy": "epoch"}, "needs a checkpoint for each evaluation"),
        (
            {"load_best_model_at_end": True, "eval_strategy": "steps", "eval_steps": 20, "save_steps": 50},
            "save_steps 50 is no multiple of eval_steps 20",
        ),
        ({"save_strategy": "best"}, "needs metric_for_best_model"),
        ({"fp16": True, "bf16": True}, "fp16 and bf16 are both True; choose one"),
        ({"fp16": "yes"}, "fp16 is 'yes'; it is True or False"),
    ],
)
def test_values_that_cannot_work_are_refused(options, message):
    with pytest.raises(InputError, match=message):
        TrainingArguments("out", **options)


def test_what_follows_from_other_options():
    args = TrainingArguments("out", eval_strategy="steps", logging_steps=20)
    assert args.eval_steps == 20
    args = TrainingArguments("out", eval_strategy="epoch", save_strategy="epoch", load_best_model_at_end=True)
    assert (args.metric_for_best_model, args.greater_is_better) == ("loss", False)
    assert TrainingArguments("out", metric_for_best_model="f1").greater_is_better is True
    assert TrainingArguments("out", eval_strategy=False).eval_strategy == "no"
    assert [TrainingArguments("out", **o).precision for o in ({}, {"fp16": True}, {"bf16": True})] == [
        "float32", "float16", "bfloat16"
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("options", "expected"),
    [({"warmup_ratio": 0.06}, 7), ({"warmup_steps": 0.1}, 11), ({"warmup_steps": 8, "warmup_ratio": 0.5}, 8), ({}, 0)],
)
def test_warm_up_as_steps_or_as_a_share(options, expected):
    assert TrainingArguments("out", **options).get_warmup_steps(101) == expected


def test_intervals_below_one_are_shares():
    args = TrainingArguments("out", logging_steps=0.05, save_steps=50)
    assert args.interval("logging", 210) == 11
    assert args.interval("save", 210) == 50


def test_schedules_at_their_corners():
    linear = trainer_schedule("linear", 4, 14)
    assert [linear(step) for step in (0, 2, 4, 9, 14, 20)] == [0, 0.5, 1, 0.5, 0, 0]
    cosine = trainer_schedule("cosine", 0, 10)
    assert (cosine(0), cosine(10)) == (1, pytest.approx(0, abs=1e-15))
    assert cosine(5) == pytest.approx(0.5)
    assert [trainer_schedule("constant", 4, 10)(step) for step in (0, 9)] == [1, 1]
    assert [trainer_schedule("constant_with_warmup", 4, 10)(step) for step in (0, 1, 4, 9)] == [0, 0.25, 1, 1]
