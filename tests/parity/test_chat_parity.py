"""Chat templates beside transformers: the same texts, tokens and answers."""

import pytest

transformers = pytest.importorskip("transformers", reason="transformers, the oracle, is not installed")
torch = pytest.importorskip("torch", reason="PyTorch is not installed")
pytest.importorskip("jinja2", reason="jinja2, which renders chat templates, is not installed")

import numpy as np  # noqa: E402

from minilm import AutoTokenizer, GPT2Config, GPT2LMHeadModel, GPT2Tokenizer, pipeline  # noqa: E402

CHATML = """\
{%- if messages[0].role == 'system' %}
    {%- set system = messages[0].content %}
    {%- set rest = messages[1:] %}
{%- else %}
    {%- set rest = messages %}
{%- endif %}
{%- if system %}{{ '<|system|>' + system + '\\n' }}{% endif %}
{% for message in rest %}
    {% if message.role not in ('user', 'assistant', 'tool') %}
        {{ raise_exception('unknown role ' ~ message.role) }}
    {% endif %}
    {% if loop.index > 50 %}{% break %}{% endif %}
{{ '<|' ~ message.role ~ '|>' }}{% generation %}{{ message.content | trim }}{% endgeneration %}{{ eos_token }}
{% endfor %}
{% if tools %}{{ tools | tojson(indent=2) }}{% endif %}
{% if add_generation_prompt %}{{ '<|assistant|>' }}{% endif %}"""
PLAIN = "{{ bos_token }}{% for m in messages %}[{{ m['role'] }}] {{ m['content'] }}{{ eos_token }}{% endfor %}" \
    "{% if add_generation_prompt %}[assistant] {% endif %}{{ greeting }}"  # fmt: skip
CHATS = [
    [{"role": "user", "content": "Hi there "}],
    [
        {"role": "system", "content": "Be <short> & 好"},
        {"role": "user", "content": "a\nb"},
        {"role": "assistant", "content": " c "},
    ],
    [
        {"role": "user", "content": "x", "name": None},
        {"role": "assistant", "content": "y"},
        {"role": "user", "content": "z 😀"},
    ],
]


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    path = tmp_path_factory.mktemp("chat")
    tokenizer = GPT2Tokenizer.train(["Hi there, be short! user assistant system <|a|> [b]"] * 3, 300)
    tokenizer.chat_template = PLAIN
    tokenizer.save_pretrained(path)
    config = GPT2Config(
        vocab_size=len(tokenizer), n_positions=256, n_embd=16, n_layer=1, n_head=2, bos_token_id=0, eos_token_id=0
    )
    GPT2LMHeadModel(config, np.random.default_rng(0)).save_pretrained(path)
    return path


@pytest.mark.parametrize("template", [CHATML, PLAIN])
@pytest.mark.parametrize("options", [
    {}, {"add_generation_prompt": True}, {"greeting": "hello"}, {"continue_final_message": True},
    {"tools": [{"type": "function", "function": {"name": "f<g>", "description": "é"}}]},
])  # fmt: skip
def test_texts_and_tokens(folder, template, options):
    theirs, ours = transformers.AutoTokenizer.from_pretrained(folder), AutoTokenizer.from_pretrained(folder)
    for chat in CHATS:
        expected = theirs.apply_chat_template(chat, chat_template=template, tokenize=False, **options)
        assert ours.apply_chat_template(chat, chat_template=template, tokenize=False, **options) == expected
        ids = theirs.apply_chat_template(chat, chat_template=template, return_dict=False, **options)
        assert ours.apply_chat_template(chat, chat_template=template, return_dict=False, **options) == ids
    expected = theirs.apply_chat_template(CHATS, **options)
    assert dict(ours.apply_chat_template(CHATS, **options)) == dict(expected)


def test_folders_both_ways(folder, tmp_path):
    theirs, ours = transformers.AutoTokenizer.from_pretrained(folder), AutoTokenizer.from_pretrained(folder)
    assert theirs.chat_template == ours.chat_template == PLAIN
    theirs.chat_template = {"default": PLAIN, "tool_use": CHATML}
    theirs.save_pretrained(tmp_path / "theirs")
    again = AutoTokenizer.from_pretrained(tmp_path / "theirs")
    assert again.chat_template == {"default": PLAIN, "tool_use": CHATML}
    again.save_pretrained(tmp_path / "ours")
    assert transformers.AutoTokenizer.from_pretrained(tmp_path / "ours").chat_template == theirs.chat_template


@pytest.mark.parametrize(
    "options", [{}, {"return_full_text": False}, {"continue_final_message": True}, {"return_tensors": True}]
)
def test_pipelines(folder, options):
    said = {"max_new_tokens": 5, "do_sample": False, **options}
    theirs, ours = (
        transformers.pipeline("text-generation", model=str(folder)),
        pipeline("text-generation", model=str(folder)),
    )
    assert ours(CHATS[0], **said) == theirs(CHATS[0], **said)
    assert ours(CHATS, **said) == theirs(CHATS, **said)
