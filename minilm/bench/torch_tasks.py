"""transformers as a partner: the same model, trained by PyTorch on the very batches that minilm's Trainer makes.

minilm saves its model with the initial weights, transformers opens that folder. From there on both take the same steps:
batches in the same order, AdamW over the same groups of parameters, the same schedule, clipping and number of steps. What
differs is the arithmetic, the order of additions and the random numbers of dropout. This loop is written out here, rather
than transformers' Trainer, so that nothing but the engine differs, and so that neither side pays for logs.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from minilm.errors import InputError
from minilm.optional import require
from minilm.training import Trainer, TrainingArguments
from minilm.training.predictions import concatenate_batches
from minilm.training.recipe import decays
from minilm.training.schedules import trainer_schedule

PURPOSE = "training the same model with transformers"


class TransformersPartner:
    """A model of transformers that continues from the present weights of a minilm model.

    model: a minilm model that can be saved, in whatever state it is. folder: where it is saved for transformers to open.
    arguments: the TrainingArguments of the job. threads: for PyTorch, in the whole process.
    """

    name = "transformers"

    def __init__(self, model: Any, folder: Path, arguments: TrainingArguments, threads: int) -> None:
        self.torch = require("torch", PURPOSE)
        transformers = require("transformers", PURPOSE)
        self.torch.set_num_threads(threads)
        transformers.logging.set_verbosity_error()
        transformers.utils.logging.disable_progress_bar()
        model.save_pretrained(folder)
        self.model = open_saved(transformers, folder)
        for name, parameter in self.model.named_parameters():
            if name.endswith("embed_positions.weight"):  # tables of sines, which opening a folder makes trainable
                parameter.requires_grad_(False)
        self.arguments = arguments
        self.torch.manual_seed(arguments.seed)  # of dropout
        self.optimizer = self.make_optimizer(decayed_names(model))

    def make_optimizer(self, decayed: dict[str, bool]) -> Any:
        """PyTorch's fused AdamW over the parameters that minilm's optimizer has, in the same two groups."""
        args = self.arguments
        if args.optim == "sgd":
            raise InputError("the comparison with transformers trains with AdamW; leave optim out")
        named = {name: p for name, p in self.model.named_parameters() if p.requires_grad}
        if set(named) != set(decayed):
            raise RuntimeError(f"only one engine has the parameters {sorted(set(named) ^ set(decayed))}")
        groups = [
            {"params": [p for name, p in named.items() if decayed[name]], "weight_decay": args.weight_decay},
            {"params": [p for name, p in named.items() if not decayed[name]], "weight_decay": 0.0},
        ]
        return self.torch.optim.AdamW(
            [group for group in groups if group["params"]],
            lr=args.learning_rate, betas=(args.adam_beta1, args.adam_beta2), eps=args.adam_epsilon, fused=True,
        )  # fmt: skip

    def tensors(self, batch: Mapping[str, np.ndarray]) -> dict[str, Any]:
        """The batch as tensors that share the arrays' memory."""
        return {name: self.torch.from_numpy(np.ascontiguousarray(array)) for name, array in batch.items()}

    def loss(self, batch: Mapping[str, np.ndarray]) -> Any:
        """The mean loss of a batch, with smoothed labels where the arguments say so."""
        tensors = self.tensors(batch)
        smoothing = self.arguments.label_smoothing_factor
        if not smoothing or "labels" not in tensors:
            return self.model(**tensors).loss
        labels = tensors.pop("labels")  # as transformers' Trainer does: no loss is computed that is not used
        logits = self.model(**tensors).logits
        return self.torch.nn.functional.cross_entropy(
            logits.reshape(-1, logits.shape[-1]), labels.reshape(-1), label_smoothing=smoothing
        )

    def step(self, batch: Mapping[str, np.ndarray], rate: float) -> float:
        """Forward, backward, clipping, AdamW, forgetting the gradients; returns the loss."""
        for group in self.optimizer.param_groups:
            group["lr"] = rate
        loss = self.loss(batch)
        loss.backward()
        if self.arguments.max_grad_norm:
            self.torch.nn.utils.clip_grad_norm_(self.model.parameters(), self.arguments.max_grad_norm)
        self.optimizer.step()
        self.optimizer.zero_grad(set_to_none=True)
        return float(loss.item())

    def train(self, trainer: Trainer, tell: Callable[[int, float], None] | None = None) -> list[float]:
        """All steps of a Trainer that has been prepared and has taken none; returns the loss of each.

        tell: is called after each step with its number and loss.
        """
        self.model.train()
        rate, losses = learning_rates(trainer), []
        for step in range(trainer.max_steps):
            batches = trainer.next_batches()
            if len(batches) > 1:
                raise InputError("the comparison with transformers takes one batch a step; leave accumulation out")
            losses.append(self.step(batches[0][0], rate(step)))
            if tell is not None:
                tell(step + 1, losses[-1])
        self.model.eval()
        return losses

    def predict(self, trainer: Trainer, rows: list[Any], generation: Mapping[str, Any] | None = None) -> Any:
        """What `Trainer.predict(rows).predictions` is, from transformers. generation: options of generate(), to write texts."""
        size, found = self.arguments.per_device_eval_batch_size, []
        self.model.eval()
        for start in range(0, len(rows), size):
            batch = trainer.features.batch(rows, range(start, min(len(rows), start + size)))
            with self.torch.inference_mode():
                found.append(self.outputs(batch, generation))
        return concatenate_batches(found)

    def outputs(self, batch: Mapping[str, np.ndarray], generation: Mapping[str, Any] | None) -> Any:
        """The scores for one batch, or the ids written."""
        given = {name: values for name, values in self.tensors(batch).items() if name not in trained_on(batch)}
        if generation is not None:
            given = {name: given[name] for name in ("input_ids", "attention_mask")}
            return self.model.generate(**given, do_sample=False, **generation).numpy()
        outputs = self.model(**given)
        if "start_logits" in outputs:
            return outputs.start_logits.numpy(), outputs.end_logits.numpy()
        return outputs.logits.numpy()


def open_saved(transformers: Any, folder: Path) -> Any:
    """The model that config.json names, in float32."""
    (architecture,) = json.loads((folder / "config.json").read_text(encoding="utf-8"))["architectures"]
    return getattr(transformers, architecture).from_pretrained(folder)


def trained_on(batch: Mapping[str, Any]) -> set[str]:
    """What of a batch is an answer: not given to a model that is to find it."""
    return {name for name in batch if name in ("labels", "start_positions", "end_positions", "decoder_input_ids")}


def decayed_names(model: Any) -> dict[str, bool]:
    """Whether weight decay pulls on each parameter, by the name that transformers has for it."""
    mapping, names = model.mapping(model.config), {}
    for own, parameter in model.named_parameters():
        if not parameter.requires_grad:
            continue
        for name, _ in mapping.to_file([(own, parameter.data)], model.is_base):
            names[name] = decays(own, parameter)
    return names


def learning_rates(trainer: Trainer) -> Callable[[int], float]:
    """The learning rate of each step, from 0 on, as the prepared Trainer's own schedule has it."""
    args = trainer.args
    factor = trainer_schedule(args.lr_scheduler_type, args.get_warmup_steps(trainer.max_steps), trainer.max_steps)
    return lambda step: args.learning_rate * factor(step)
