"""Chat templates that model folders bring: those that refuse, and those that are no use, end in a sentence."""

import pytest

from nextgpt_lite.chat_template import MAX_TEMPLATE, ConversationError, check_template, write_prompt, write_row
from train.foundations.language.language_model import train_tokenizer

TURN = "{{ '<|' + m.role + '|>' + m.content + '<|end|>' }}"
PROMPT = "{% if add_generation_prompt %}{{ '<|assistant|>' }}{% endif %}"
LOOP = "{% for m in messages %}" + TURN + "{% endfor %}" + PROMPT
NO_SYSTEM = "{% if messages[0].role == 'system' %}{{ raise_exception('System role not supported') }}{% endif %}"
ALTERNATING = (
    "{% set talk = messages[1:] if messages[0].role == 'system' else messages %}{% for m in talk %}"
    "{% if (m.role == 'user') != (loop.index0 % 2 == 0) %}{{ raise_exception('Roles must alternate') }}{% endif %}"
    "{% endfor %}"
)
TALK = [
    {"role": "system", "content": "be kind"},
    {"role": "user", "content": "one"},
    {"role": "user", "content": "two"},
    {"role": "assistant", "content": "three"},
    {"role": "user", "content": "four"},
]


@pytest.fixture(scope="module")
def tokenizer():
    return train_tokenizer(vocabulary=400, texts=20)


def written(tokenizer, template, messages=TALK):
    tokenizer.chat_template = template
    return tokenizer.decode(write_prompt(messages, tokenizer)).replace("<|end|>", "").replace("|>", "|> ")


def test_a_template_is_given_what_it_takes(tokenizer):
    """Nothing is joined that need not be; the words of all are there, in order."""
    rest = "<|assistant|> three<|user|> four<|assistant|> "
    assert written(tokenizer, LOOP) == "<|system|> be kind<|user|> one<|user|> two" + rest
    assert written(tokenizer, ALTERNATING + LOOP) == "<|system|> be kind<|user|> one\ntwo" + rest
    assert written(tokenizer, NO_SYSTEM + LOOP) == "<|user|> be kind\none\ntwo" + rest
    assert written(tokenizer, NO_SYSTEM + ALTERNATING + LOOP) == "<|user|> be kind\none\ntwo" + rest


@pytest.mark.parametrize("marked", [False, True])
def test_rows_to_train_on_are_joined_alike(tokenizer, marked):
    turn = TURN.replace("{{", "{% generation %}{{").replace("}}", "}}{% endgeneration %}") if marked else TURN
    answered = "{% if m.role == 'assistant' %}" + turn + "{% else %}" + TURN + "{% endif %}"
    tokenizer.chat_template = NO_SYSTEM + ALTERNATING + LOOP.replace(TURN, answered)
    ids, mask = write_row(TALK[:4], tokenizer)
    said = tokenizer.decode([token for token, own in zip(ids, mask, strict=True) if own])
    assert said.removeprefix("<|assistant|>") == "three<|end|>"
    assert "be kind\none\ntwo" in tokenizer.decode(ids)


@pytest.mark.parametrize(
    ("template", "sentence"),
    [
        ("{{ raise_exception('not today') }}", "refuses this conversation: not today"),
        ("{% for m in messages %}{{ m.content", "refuses this conversation: "),
        ("{{ messages[7].content }}", "refuses this conversation: "),
        ("{{ 1 // 0 }}", r"fails: ZeroDivisionError \(integer division"),
        ("{{ messages[0].content + 1 }}", "fails: "),
        ("{% for i in range(99999) %}{% for j in range(99999) %}{% endfor %}{% endfor %}", "takes longer than 1 s"),
        ("{% for i in range(99999) %}{% for j in range(99999) %}{{ j }}{% endfor %}{% endfor %}", "longer than 1 s"),
        ("{% macro again(n) %}{{ again(n + 1) }}{% endmacro %}{{ again(0) }}", r"fails: RecursionError \(maximum"),
        (
            "{% for m in messages %}{% for part in m.content %}{{ part.text }}{% endfor %}{% endfor %}",
            "leaves out the w",
        ),
        ("{{ 'a' * 20000000 }}", "writes 20,000,000 characters"),
        ("{# " + "a" * MAX_TEMPLATE + " #}", "has 100,006 characters: expected at most 100,000"),
    ],
)
def test_templates_of_no_use_are_refused_when_the_model_is_loaded(tokenizer, template, sentence):
    tokenizer.chat_template = template
    with pytest.raises(ConversationError, match=sentence):
        check_template(tokenizer)


def test_a_model_without_a_template_has_the_plain_one(tokenizer):
    said = "be kind\n### Human: one\n### Human: two\n### Assistant: three\n### Human: four\n### Assistant:"
    assert written(tokenizer, None) == said
    check_template(tokenizer)
