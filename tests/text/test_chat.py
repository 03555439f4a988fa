"""Chats as one text: templates, their files, and what is refused."""

import json

import pytest

pytest.importorskip("jinja2", reason="jinja2, which renders chat templates, is not installed")

from minilm import AutoTokenizer, BertTokenizer, InputError

TEMPLATE = """\
{% for message in messages %}
[{{ message.role }}] {{ message.content | trim }}{{ sep_token }}
{% endfor %}
{% if add_generation_prompt %}[assistant] {% endif %}"""
CHAT = [{"role": "user", "content": " a cat ", "name": None}, {"role": "assistant", "content": "on the "}]


@pytest.fixture
def tokenizer():
    made = BertTokenizer.train(["a cat sat on the mat [user] assistant"] * 3, 100)
    made.chat_template = TEMPLATE
    return made


def test_a_chat_becomes_a_text_and_its_tokens(tokenizer):
    text = "[user] a cat[SEP]\n[assistant] on the[SEP]\n"
    assert tokenizer.apply_chat_template(CHAT, tokenize=False) == text
    assert tokenizer.apply_chat_template(CHAT, tokenize=False, add_generation_prompt=True) == text + "[assistant] "
    ids = tokenizer(text, add_special_tokens=False)["input_ids"]
    assert tokenizer.apply_chat_template(CHAT, return_dict=False) == ids
    several = tokenizer.apply_chat_template([CHAT, CHAT[:1]], padding=True, return_tensors="np")
    assert several["input_ids"].shape == (2, len(ids))
    assert several["attention_mask"][1].sum() < len(ids)


def test_the_last_message_goes_on(tokenizer):
    open_end = tokenizer.apply_chat_template(CHAT, tokenize=False, continue_final_message=True)
    assert open_end == "[user] a cat[SEP]\n[assistant] on the"  # the template strips, so the space goes as well
    kept = tokenizer.apply_chat_template(
        CHAT, tokenize=False, continue_final_message=True, chat_template="{{ messages[-1]['content'] }}!"
    )
    assert kept == "on the "


def test_templates_may_raise_break_write_json_and_mark_what_was_generated(tokenizer):
    def rendered(template, **values):
        return tokenizer.apply_chat_template(CHAT, chat_template=template, tokenize=False, **values)

    assert rendered("{{ {'a': '<é>'} | tojson }}") == '{"a": "<é>"}'
    assert rendered("{% for m in messages %}{{ m.role }}{% break %}{% endfor %}") == "user"
    assert rendered("{% generation %}{{ messages | length }}{% endgeneration %}") == "2"
    assert rendered("{{ strftime_now('%Y') | length }}{{ extra }}", extra="x") == "4x"
    assert rendered("{{ messages[0].name is defined }}") == "False"
    with pytest.raises(InputError, match="the chat template fails: no roles here"):
        rendered("{{ raise_exception('no roles here') }}")
    with pytest.raises(InputError, match="the chat template is no Jinja"):
        rendered("{% for %}")


@pytest.mark.parametrize("code", ["messages.__class__.__mro__", "messages.append(1)", "''.join.__globals__.x"])
def test_a_template_runs_in_a_sandbox(tokenizer, code):
    with pytest.raises(InputError, match="the chat template fails"):
        tokenizer.apply_chat_template(CHAT, chat_template="{{ " + code + " }}", tokenize=False)
    assert len(CHAT) == 2


def test_templates_in_folders(tokenizer, tmp_path):
    tokenizer.save_pretrained(tmp_path / "one")
    assert (tmp_path / "one/chat_template.jinja").read_text("utf-8") == TEMPLATE
    assert AutoTokenizer.from_pretrained(tmp_path / "one").chat_template == TEMPLATE

    (tmp_path / "one/chat_template.jinja").unlink()
    path = tmp_path / "one/tokenizer_config.json"
    config = json.loads(path.read_text("utf-8"))
    config["chat_template"] = [{"name": "default", "template": "d"}, {"name": "tool_use", "template": "t"}]
    path.write_text(json.dumps(config), "utf-8")
    several = AutoTokenizer.from_pretrained(tmp_path / "one")
    assert several.apply_chat_template(CHAT, tokenize=False) == "d"
    assert several.apply_chat_template(CHAT, tools=[{}], tokenize=False) == "t"
    assert several.apply_chat_template(CHAT, chat_template="tool_use", tokenize=False) == "t"
    several.save_pretrained(tmp_path / "two")
    assert AutoTokenizer.from_pretrained(tmp_path / "two").chat_template == {"default": "d", "tool_use": "t"}

    (tmp_path / "two/additional_chat_templates").mkdir()
    (tmp_path / "two/additional_chat_templates/rag.jinja").write_text("r", "utf-8")
    assert AutoTokenizer.from_pretrained(tmp_path / "two").chat_template == {"rag": "r"}
    with pytest.raises(InputError, match="several chat templates; give chat_template, one of rag"):
        AutoTokenizer.from_pretrained(tmp_path / "two").apply_chat_template(CHAT)
    config["chat_template"] = 3
    path.write_text(json.dumps(config), "utf-8")
    with pytest.raises(InputError, match=r"tokenizer_config.json: a chat template is a text in Jinja"):
        AutoTokenizer.from_pretrained(tmp_path / "one")


@pytest.mark.parametrize(
    ("chat", "options", "message"),
    [
        ([], {}, "is no chat"),
        ("hello", {}, "is no chat"),
        ([[]], {}, "is no chat"),
        ([{"content": "x"}], {}, "is no message"),
        (CHAT, {"add_generation_prompt": True, "continue_final_message": True}, "exclude each other"),
        (CHAT, {"tools": [print]}, "JSON schemas"),
        ([{"role": "user"}], {"continue_final_message": True}, "no text to continue"),
        (CHAT, {"continue_final_message": True, "chat_template": "x"}, "does not show the last message"),
    ],
)
def test_what_is_refused(tokenizer, chat, options, message):
    with pytest.raises(InputError, match=message):
        tokenizer.apply_chat_template(chat, **options)


def test_a_tokenizer_without_a_template(tokenizer):
    tokenizer.chat_template = None
    with pytest.raises(InputError, match="this tokenizer has no chat template"):
        tokenizer.apply_chat_template(CHAT)
    with pytest.raises(InputError, match="a text in Jinja"):
        tokenizer.chat_template = 3
