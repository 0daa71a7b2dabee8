"""An exported conversation holds everything and can be continued."""

import json
import zipfile

import numpy as np
import pytest

from data.media.loading import Medium, load_medium
from data.media.saving import save_medium
from nextgpt_lite.conversation_media import read_conversation
from tests.demo.taught import SEEN
from tests.tiny_model import medium


@pytest.fixture
def exported(pool, visitor, tmp_path):
    """A conversation with a picture shown and one drawn; the picture's file has an awkward name."""
    seen = save_medium(Medium("image", medium("image")["array"]), tmp_path / "a picture & <more>.png")
    for text, files in (("what is this?", [str(seen)]), ("draw a bell", [])):
        settings = {"seed": 0, "steps": 1}
        streamed = visitor.current.request_reply(visitor.current.read_message(text, files), pool.engine(), settings)
        list(streamed.watch())
    return visitor


def test_the_folder_is_read_by_the_command_line(exported, tmp_path):
    from demo.page.export import write_folder

    with zipfile.ZipFile(write_folder(exported)) as archive:
        names = set(archive.namelist())
        archive.extractall(tmp_path / "c")
    assert names == {"conversation.json", "1-user-1.png", "2-model-1.png"}
    messages = read_conversation(tmp_path / "c" / "conversation.json")
    assert [message["role"] for message in messages] == ["user", "assistant"] * 2
    np.testing.assert_array_equal(messages[0]["content"][0]["array"], medium("image")["array"])
    assert load_medium(tmp_path / "c" / "2-model-1.png").modality == "image"
    assert json.loads((tmp_path / "c" / "conversation.json").read_text())["messages"][1]["content"][0]["text"] == SEEN


def test_the_page_holds_its_media_and_names_no_other_file(exported):
    from demo.page.export import write_page

    page = write_page(exported).read_text()
    assert page.count('src="data:image/png;base64,') == 2 and page.count("src=") == 2
    assert SEEN in page and "what is this?" in page
    assert "<more>" not in page and "&lt;more&gt;" in page
    assert "http" not in page
