"""Labels of rows are the assistant's words and the token that ends them, whatever structure a chat template has, and a
row is what a chat feeds, token for token."""

from itertools import groupby
from pathlib import Path

import pytest
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
from transformers import PreTrainedTokenizerFast

from nextgpt_lite.chat_template import ConversationError, check_replies, end_ids
from nextgpt_lite.conversation import CHAT_TEMPLATE, SEPARATOR_TEMPLATE, encode
from nextgpt_lite.signal_tokens import add_to_tokenizer
from train.foundations.language.language_model import train_tokenizer

COUNTS = {"image": 2, "audio": 1}
SPECIAL = ["<|begin|>", "<|open|>", "<|close|>", "<|reply|>", "<|lane|>", "<|halt|>", "<|done|>", "<|user|>"]
TEMPLATES = {path.stem: path.read_text() for path in sorted((Path(__file__).parent / "templates").glob("*.jinja"))} | {
    "nano": CHAT_TEMPLATE,
    "none": None,
}
END = "<|end|>"
#: White space that a reply begins with, the end of an earlier one and of the last; ``<|halt|>`` alone if not here.
FORMS = {
    "late_end": ("", "\n<|halt|>", "\n<|halt|>"),
    "spaced": (" ", END, END),
    "space_in_the_prompt": ("", END, END),
    "other_end_last": ("", "<|halt|>", END),
    "system_last": (" ", "<|halt|>", "<|halt|>"),
    "channels": ("", "<|halt|>", "<|done|>"),
    "brackets": (" ", f" {END}", f" {END}"),
    "nano": ("", END, END),
    "none": (" ", END, END),
}
#: These write earlier turns otherwise than the last one.
REWRITE = ("forgets_thoughts", "opens_thoughts", "system_last")
IMAGE, DRAWN, SOUND = {"type": "image", "embedding": [1]}, {"type": "image"}, {"type": "audio"}


def words(text):
    return {"type": "text", "text": text}


#: Question, answer, the answer as text.
TURNS = [
    ([IMAGE, words("What is this?")], "A red bell.", "A red bell."),
    ("Draw it, <b>large</b>", [words("Here: "), DRAWN], "Here:<image_00><image_01>"),
    ([words("hm"), IMAGE, IMAGE], [DRAWN, words("and 12 more\n\nof reply0. them"), SOUND], None),
    ("好", "好", "好"),
    ("reply0.", [SOUND], "<audio_00>"),
    ("Yes", "Yes", "Yes"),
]
TURNS[2] = (*TURNS[2][:2], "<image_00><image_01>and 12 more\n\nof reply0. them<audio_00>")
TALKS = [(TURNS + TURNS)[start : start + count] for start in range(len(TURNS)) for count in (1, 2, 3, 4)]


def bytes_tokenizer():
    return train_tokenizer(vocabulary=600, texts=200)


def words_tokenizer(scheme="always"):
    """Spaces belong to the words after them, and each text begins with one, as in Llama's first tokenizers."""
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.Metaspace(prepend_scheme=scheme)
    tokenizer.decoder = decoders.Metaspace(prepend_scheme=scheme)
    alphabet = [*map(chr, range(33, 127)), "\n", "▁", "好"]
    trainer = trainers.BpeTrainer(vocab_size=400, initial_alphabet=alphabet, show_progress=False)
    tokenizer.train_from_iterator(["A red bell. Here Yes hello SAYS: B> ASKS: Today", "[ASK] Yes [/ASK]"] * 9, trainer)
    return PreTrainedTokenizerFast(tokenizer_object=tokenizer, eos_token=END)


TOKENIZERS = {"bytes": bytes_tokenizer(), "words": words_tokenizer(), "first": words_tokenizer("first")}
for each in TOKENIZERS.values():
    each.add_special_tokens({"bos_token": SPECIAL[0], "additional_special_tokens": SPECIAL[1:]})
    each.add_tokens(["<muse>", "</muse>"])
TABLES = {name: add_to_tokenizer(tokenizer, COUNTS) for name, tokenizer in TOKENIZERS.items()}


def tokenizer_for(name, template):
    tokenizer = TOKENIZERS[name]
    tokenizer.chat_template = template
    return tokenizer, TABLES[name]


def messages_of(talk, system=False):
    turns = [({"role": "user", "content": asked}, {"role": "assistant", "content": said}) for asked, said, _ in talk]
    rules = [{"role": "system", "content": "Be kind."}] if system else []
    return [*rules, *(each for turn in turns for each in turn)]


def labelled(mask):
    """Begin and end of each run of labels."""
    runs, place = [], 0
    for label, run in groupby(mask):
        size = len(list(run))
        runs += [(place, place + size)] if label else []
        place += size
    return runs


@pytest.mark.parametrize("kind", TOKENIZERS)
@pytest.mark.parametrize("name", TEMPLATES)
def test_labels_are_the_words_and_their_end(name, kind):
    tokenizer, table = tokenizer_for(kind, TEMPLATES[name])
    check_replies(tokenizer)
    lead, end, last = FORMS.get(name, ("", "<|halt|>", "<|halt|>"))
    for talk in TALKS:
        for system in (False, True):
            ids, mask, media = encode(messages_of(talk, system), tokenizer, table, reply=False)
            runs = labelled(mask)
            said = [tokenizer.decode(ids[begin:stop]) for begin, stop in runs]
            expected = [lead + answer + (end if n + 1 < len(talk) else last) for n, (*_, answer) in enumerate(talk)]
            if kind != "bytes":  # where words begin with a space of their own, decoding cannot tell which
                said, expected = [each.replace(" ", "") for each in said], [each.replace(" ", "") for each in expected]
            assert said == expected
            assert len(media) == sum(part is IMAGE for asked, *_ in talk for part in asked)


@pytest.mark.parametrize("kind", TOKENIZERS)
@pytest.mark.parametrize("name", TEMPLATES)
def test_a_row_is_what_a_chat_feeds(name, kind):
    """Before its last reply, and before every reply unless the template itself writes history otherwise."""
    tokenizer, table = tokenizer_for(kind, TEMPLATES[name])
    for talk in TALKS:
        for system in (False, True):
            messages = messages_of(talk, system)
            ids, mask, _ = encode(messages, tokenizer, table, reply=False)
            replies = [number for number, message in enumerate(messages) if message["role"] == "assistant"]
            fed = [encode(messages[:number], tokenizer, table)[0] for number in replies]
            given = [ids[:begin] == own for (begin, _), own in zip(labelled(mask), fed, strict=True)]
            assert given[-1] and all(given) == (name not in REWRITE or len(talk) == 1)


def test_no_prompt_ends_in_a_thought():
    for name in ("forgets_thoughts", "opens_thoughts"):
        tokenizer, table = tokenizer_for("bytes", TEMPLATES[name])
        prompt = tokenizer.decode(encode(messages_of(TURNS[:2])[:3], tokenizer, table)[0])
        assert prompt.endswith("<muse>\n\n</muse>\n\n") and prompt.count("<muse>") == 1


def test_what_a_template_asks_of_the_clock_is_always_the_same():
    tokenizer, table = tokenizer_for("bytes", TEMPLATES["dated"])
    for reply in (True, False):
        written = tokenizer.decode(encode(messages_of(TURNS[:1])[: 2 - reply], tokenizer, table, reply=reply)[0])
        assert "Today: 26 Jul 2024, Friday 12:00\n" in written


def test_a_tokenizer_without_a_template_has_the_plain_one():
    talk, read = messages_of(TURNS[:2], system=True), []
    for template in (None, SEPARATOR_TEMPLATE):
        tokenizer, table = tokenizer_for("bytes", template)
        read.append(encode(talk, tokenizer, table, reply=False)[:2])
    assert read[0] == read[1]
    assert tokenizer.decode(read[0][0]).startswith("<|begin|>Be kind.\n### Human: <image>What is this?\n### A")


def test_a_chat_ends_at_the_end_of_its_template():
    for name, ends in (("headed", ["<|halt|>"]), ("channels", ["<|halt|>", "<|done|>"]), ("none", [END])):
        tokenizer, _ = tokenizer_for("bytes", TEMPLATES[name])
        assert end_ids(tokenizer) == set(tokenizer.convert_tokens_to_ids(ends))


LOOP = "{% for m in messages %}{{ '<|open|>' ~ m.role ~ '\n' ~ WORDS ~ '<|halt|>' }}{% endfor %}"
LOOP += "{{ '<|open|>assistant\n' if add_generation_prompt }}"
CHANGES = "changes or leaves out words of the assistant"


@pytest.mark.parametrize(
    ("template", "sentence"),
    [
        (LOOP.replace("WORDS", "m.content | upper"), CHANGES),
        (LOOP.replace("WORDS", "m.content.split() | join(' ')"), CHANGES),
        (LOOP.replace("WORDS", "(m.content if loop.last else '')"), CHANGES),
        (LOOP.replace("WORDS", "(m.content if m.role == 'user' else '')"), CHANGES),
        (LOOP.replace("WORDS", "m.content").replace(" ~ '<|halt|>'", ""), "has no token after a reply"),
        ("{% for m in messages %}{{ '<|' ~ m.role ~ '|>' ~ m.content }}{% endfor %}", "has no token after a reply"),
        ("{{ raise_exception('alone') if messages | length > 1 }}{{ messages[0].content }}", "refuses this .*: alone"),
    ],
)
def test_what_cannot_be_learned_is_a_sentence_with_the_folder(template, sentence, monkeypatch):
    tokenizer, _ = tokenizer_for("bytes", template)
    monkeypatch.setattr(tokenizer, "name_or_path", "my_model/tokenizer")
    with pytest.raises(ConversationError, match=f"^my_model/tokenizer: the chat template {sentence}"):
        check_replies(tokenizer)


def test_a_template_of_one_turn_is_enough_for_one_turn():
    single = "{{ raise_exception('once only') if messages | length > 2 }}" + LOOP.replace("WORDS", "m.content")
    tokenizer, table = tokenizer_for("bytes", single)
    check_replies(tokenizer)
    with pytest.raises(ConversationError, match="refuses this conversation: once only"):
        encode(messages_of(TURNS[:2]), tokenizer, table, reply=False)
