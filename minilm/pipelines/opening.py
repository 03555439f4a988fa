"""pipeline(): the task's class, a model that fits it, and the model's tokenizer."""

from __future__ import annotations

import importlib
import re
from pathlib import Path
from typing import Any

from minilm.devices import CPU, as_device
from minilm.errors import InputError
from minilm.folders import MODEL_FILES, find_folder
from minilm.hub.auto import REGISTRY, AutoTokenizer, model_class
from minilm.hub.config import read_config
from minilm.pipelines.base import Pipeline

# task → its class, as "module:Class", and which of a family's models it needs; None: any
TASKS: dict[str, tuple[str, str | None]] = {
    "feature-extraction": ("feature_extraction:FeatureExtractionPipeline", None),
    "fill-mask": ("fill_mask:FillMaskPipeline", "masked-lm"),
    "question-answering": ("question_answering:QuestionAnsweringPipeline", "question-answering"),
    "text-classification": ("text_classification:TextClassificationPipeline", "sequence-classification"),
    "text-generation": ("text_generation:TextGenerationPipeline", "causal-lm"),
    "token-classification": ("token_classification:TokenClassificationPipeline", "token-classification"),
    "text2text-generation": ("text_to_text:Text2TextGenerationPipeline", "seq2seq-lm"),
    "summarization": ("text_to_text:SummarizationPipeline", "seq2seq-lm"),
    "translation": ("text_to_text:TranslationPipeline", "seq2seq-lm"),
}
ALIASES = {"sentiment-analysis": "text-classification", "ner": "token-classification"}
TRANSLATION = re.compile(r"translation_[^_]+_to_[^_]+")


def pipeline(
    task: str | None = None,
    model: Any = None,
    tokenizer: Any = None,
    *,
    batch_size: int | None = None,
    revision: str = "main",
    local_files_only: bool = False,
    dtype: Any = None,
    device: Any = None,
    model_kwargs: dict[str, Any] | None = None,
    **parameters: Any,
) -> Pipeline:
    """A function that does a task: text in, lists and dictionaries out, as transformers' pipelines give them.

        classify = pipeline("text-classification", model="folder", top_k=None)
        classify(["a fine film", "a dull one"], batch_size=8)

    task: text-generation, fill-mask, text-classification (or sentiment-analysis), token-classification (or ner),
    question-answering, summarization, translation (or translation_en_to_fr), text2text-generation, feature-extraction.
    Without it the task is told from the model.
    model: a folder, a name in the Hugging Face cache or hub, or an open model. tokenizer: likewise; that of the model's folder
    unless given. batch_size: how many texts go through the model at once; 1 unless given.
    revision, local_files_only, dtype, model_kwargs: for from_pretrained. device: "cpu" or "cuda" (in
    transformers' numbers -1 or 0); an open model stays where it is unless one is given.
    parameters: the task's own, which a call can replace; the class of each task says which there are.

    Raises InputError for a task that does not exist, a model that cannot do it, and a parameter that the task does not have.
    """
    if model is None:
        raise InputError("a pipeline needs a model; give model=, a folder or the name of one")
    place = CPU if device in (None, "auto", -1) else as_device("cuda" if device == 0 else device)
    where: dict[str, Any] = {"revision": revision, "local_files_only": local_files_only}
    is_named = isinstance(model, str | Path)
    if task is None:
        task = task_of(model, **where)
    kind, needed = check_task(task)
    if tokenizer is None and not is_named:
        raise InputError("an open model does not say which tokenizer it has; give tokenizer= as well")
    if is_named:
        if tokenizer is None:
            tokenizer = model
        model = open_model(task, needed, model, where, dtype, model_kwargs or {})
    else:
        check_model(task, needed, model)
    if isinstance(tokenizer, str | Path):
        tokenizer = AutoTokenizer.from_pretrained(tokenizer, **where)
    if device is not None:
        model.to(place)
    return kind(model, tokenizer, task, batch_size, **parameters)


def check_task(task: str) -> tuple[Any, str | None]:
    """The class of a task, and the models that it needs. Raises InputError that lists the tasks for any other."""
    name = ALIASES.get(task, "translation" if TRANSLATION.fullmatch(str(task)) else task)
    if name not in TASKS:
        raise InputError(f"there is no task {task!r}; minilm has {', '.join([*TASKS, *ALIASES])}, translation_xx_to_yy")
    (module, _, class_name), needed = TASKS[name][0].partition(":"), TASKS[name][1]
    return getattr(importlib.import_module(f"minilm.pipelines.{module}"), class_name), needed


def open_model(
    task: str, needed: str | None, name: str | Path, where: dict[str, Any], dtype: Any, options: dict[str, Any]
) -> Any:
    """The model in a folder, with the head that the task needs. Raises InputError for a family that has none."""
    folder = find_folder(name, MODEL_FILES, **where)
    family = read_config(folder)["model_type"]
    if needed is not None and family in REGISTRY and needed not in REGISTRY[family]:
        raise InputError(f"{name} holds a {family} model, which cannot do {task}; use one of {fitting(needed)}")
    return model_class(family, needed or "base").from_pretrained(folder, dtype=dtype, **options)


def check_model(task: str, needed: str | None, model: Any) -> None:
    """Raise InputError unless an open model is of the kind that the task needs."""
    if not hasattr(model, "forward") or not hasattr(model, "config"):
        raise InputError(f"model is a {type(model).__name__}; give a folder, a name, or what from_pretrained returned")
    if needed is None:
        return
    wanted = fitting(needed).split(", ")
    if not {cls.__name__ for cls in type(model).__mro__} & set(wanted):
        raise InputError(
            f"{task} needs a model with another head than {type(model).__name__} has; give one of {fitting(needed)}"
        )


def fitting(needed: str) -> str:
    """The models of one kind in all families, for a sentence."""
    return ", ".join(models[needed].partition(":")[2] for models in REGISTRY.values() if needed in models)


def task_of(model: Any, **where: Any) -> str:
    """The task that a model's class, or the one that its config.json names, was made for."""
    if isinstance(model, str | Path):
        names = read_config(find_folder(model, MODEL_FILES, **where)).get("architectures") or []
    else:
        names = [cls.__name__ for cls in type(model).__mro__]
    for task, (_, needed) in TASKS.items():
        if needed is not None and set(names) & set(fitting(needed).split(", ")):
            return task
    if set(names) & set(fitting("base").split(", ")):
        return "feature-extraction"
    raise InputError(f"the model does not say what it is for; give task=, one of {', '.join(TASKS)}")
