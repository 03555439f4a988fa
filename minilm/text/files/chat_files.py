"""Chat templates in a tokenizer's folder: chat_template.jinja, or an entry of tokenizer_config.json.

additional_chat_templates/NAME.jinja are further ones, which older folders list in the entry by name.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from minilm.errors import InputError
from minilm.text import storage
from minilm.text.front.chat import check_templates

FILE, MORE, DEFAULT = "chat_template.jinja", "additional_chat_templates", "default"


def read_templates(folder: Path, configured: Any) -> Any:
    """The template of a folder, {name: template} for several, None for none; the files go before what is `configured`."""
    found = {DEFAULT: storage.read_text(folder / FILE)} if (folder / FILE).exists() else {}
    for path in sorted((folder / MORE).glob("*.jinja")):
        found[path.stem] = storage.read_text(path)
    if found:
        return found[DEFAULT] if list(found) == [DEFAULT] else found
    try:
        check_templates(configured)
    except InputError as error:
        raise InputError(f"{folder / storage.CONFIG}: {error}; mend it, or take chat_template out") from None
    return configured


def template_files(settings: Mapping[str, Any]) -> tuple[dict[str, Any], dict[str, str]]:
    """(settings for tokenizer_config.json, files): one template is a file, several are listed in the settings."""
    template = settings.get("chat_template")
    rest = {name: value for name, value in settings.items() if name != "chat_template"}
    if isinstance(template, str):
        return rest, {FILE: template}
    if isinstance(template, Mapping):
        template = [{"name": name, "template": text} for name, text in template.items()]
    return (rest if template is None else {**rest, "chat_template": template}), {}
