"""The names that transformers gives to training options: old ones, ones without effect here, ones that minilm cannot serve."""

from __future__ import annotations

import difflib
import warnings
from collections.abc import Collection
from typing import Any

from minilm.errors import InputError

# names of transformers 4.x (and 3.x) → today's
RENAMED = {
    "evaluation_strategy": "eval_strategy",
    "per_gpu_train_batch_size": "per_device_train_batch_size",
    "per_gpu_eval_batch_size": "per_device_eval_batch_size",
    "no_cuda": "use_cpu",
    "group_by_length": "train_sampling_strategy",
}

# accepted and without effect: they say where and how PyTorch computes, or what the example scripts do
WITHOUT_EFFECT = frozenset((
    "accelerator_config", "average_tokens_across_devices", "data_parallel", "dataloader_in_order",
    "dataloader_num_workers", "dataloader_persistent_workers", "dataloader_pin_memory", "dataloader_prefetch_factor",
    "ddp_backend", "ddp_broadcast_buffers", "ddp_bucket_cap_mb", "ddp_find_unused_parameters", "ddp_timeout",
    "do_eval", "do_predict", "do_train", "eval_accumulation_steps", "eval_do_concat_batches",
    "eval_use_gather_object", "fp16_backend", "fp16_opt_level", "full_determinism", "half_precision_backend",
    "hub_strategy", "ignore_data_skip", "jit_mode_eval", "local_rank",
    "log_level", "log_level_replica", "log_on_each_node", "logging_nan_inf_filter", "overwrite_output_dir", "project",
    "run_name", "save_on_each_node", "save_safetensors", "skip_memory_metrics", "torch_empty_cache_steps", "use_cpu",
))  # fmt: skip

# what minilm does not have: fine as long as it is not asked for
UNSUPPORTED = {
    "activation_checkpointing": "minilm keeps all activations",
    "auto_find_batch_size": "minilm does not look for a batch size",
    "batch_eval_metrics": "compute_metrics gets all predictions at once",
    "bf16_full_eval": "evaluations compute in what the training computes in; set bf16",
    "debug": "the TrainingDivergedError names the layer that broke",
    "deepspeed": "minilm trains in one process",
    "fp16_full_eval": "evaluations compute in what the training computes in; set fp16",
    "fsdp": "minilm trains in one process",
    "fsdp_config": "minilm trains in one process",
    "gradient_checkpointing": "minilm keeps all activations",
    "hub_model_id": "minilm does not upload models",
    "hub_token": "minilm does not upload models",
    "include_for_metrics": "compute_metrics gets predictions and label_ids",
    "lr_scheduler_kwargs": "the schedules have no further options",
    "neftune_noise_alpha": "minilm does not add noise to embeddings",
    "optim_args": "the optimizers have no further options",
    "optim_target_modules": "the optimizers train all parameters that require a gradient",
    "push_to_hub": "minilm does not upload models",
    "tf32": "minilm computes in float32 or float64",
    "torch_compile": "minilm is no PyTorch",
    "use_liger_kernel": "minilm has kernels of its own",
}


def resolve_names(options: dict[str, Any], known: Collection[str]) -> dict[str, Any]:
    """Options under today's names, without those that have no effect.

    A name of transformers 4.x gives a DeprecationWarning that names the new one. Raises InputError for an unknown name, with
    the closest known one, and for something that minilm does not have.
    """
    resolved: dict[str, Any] = {}
    for given, value in options.items():
        name = RENAMED.get(given, given)
        if name != given:
            warnings.warn(f"{given} is called {name} now; use that name", DeprecationWarning, stacklevel=3)
            if name in options:
                raise InputError(f"{given} and {name} were both given; they are the same option: give {name} alone")
        if given == "group_by_length":
            value = "group_by_length" if value else "random"
        if name in known:
            resolved[name] = value
        elif name in UNSUPPORTED:
            if value:
                raise InputError(f"{name} is {value!r}, but {UNSUPPORTED[name]}; leave it out")
        elif name not in WITHOUT_EFFECT:
            names = [*known, *RENAMED]
            close = [each for each in names if len(given) > 4 and given in each]
            close = close or difflib.get_close_matches(given, names, 1, 0.4)
            advice = f"did you mean {close[0]}?" if close else "see the fields of TrainingArguments"
            raise InputError(f"TrainingArguments has no option {given!r}; {advice}")
    return resolved
