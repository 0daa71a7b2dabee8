"""A reply's words and media keep the order in which the model wrote them: in its text, and in the next prompt."""

import numpy as np
import pytest
import torch

from nextgpt_lite.conversation_media import Reply, ReplyMedium
from nextgpt_lite.generate import Row, Sampling, TextStream


def written(model, *pieces):
    """A finished row whose reply is words, and modalities in angle brackets."""
    row = Row(model.prepare([{"role": "user", "content": "Both, please."}]), Sampling(), torch.Generator())
    for piece in pieces:
        modality = piece.strip("<>")
        words = model.tokenizer(piece, add_special_tokens=False)["input_ids"]
        row.ids += model.table.spans[modality] if piece.startswith("<") else words
    row.reply_ids, modalities, _ = model.table.complete(row.ids)
    row.conditions, row.finished = [(modality, torch.zeros(1)) for modality in modalities], True
    return row


@pytest.mark.parametrize(
    ("pieces", "text", "places"),
    [
        (["Here is a bell.", "<image>", "Listen: a dog.", "<audio>"], "Here is a bell. Listen: a dog.", [15, 30]),
        (["Here.", "<image>", " And here: ", "<audio>", "Done."], "Here. And here: Done.", [5, 16]),
        (["画好了。", "<image>", "请听：", "<audio>"], "画好了。请听：", [4, 7]),
        (["<image>", "<audio>", "Both."], "Both.", [0, 0]),
        (["Both.", "<image>", "<audio>"], "Both.", [5, 5]),
    ],
)
def test_words_around_media_are_one_text(tiny_model, pieces, text, places):
    row, seen = written(tiny_model, *pieces), []
    reply, requests = tiny_model.read(row)
    assert reply.text == text and [request.position for request in requests] == places
    TextStream(tiny_model.tokenizer, tiny_model.table, seen.append).update(row)
    assert seen == [text]
    reply.media = [ReplyMedium(request.modality, np.zeros(4), None, 2, 0.0, request.position) for request in requests]
    content = [{**part, "array": None} if part["type"] != "text" else part for part in reply.as_message()["content"]]
    messages = [
        {"role": "user", "content": "?"},
        {"role": "assistant", "content": content},
        {"role": "user", "content": "!"},
    ]
    ids, _, _ = tiny_model.encode_messages(messages)
    spans = {modality: list(span) for modality, span in tiny_model.table.spans.items()}
    expected = "".join(
        tiny_model.tokenizer.decode(spans[piece.strip("<>")]) if piece.startswith("<") else piece.strip()
        for piece in pieces
    )
    assert f"<|assistant|>{expected}<|end|>" in tiny_model.tokenizer.decode(ids)


def test_media_without_a_place_come_last():
    message = Reply("Here.", [ReplyMedium("image", np.zeros(1), None, 2, 0.0)]).as_message()
    assert [part["type"] for part in message["content"]] == ["text", "image"]
    assert Reply("").as_message()["content"] == [{"type": "text", "text": ""}]
