"""The command line in processes of its own: what it prints, how it ends, and what it leaves behind."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from PIL import Image

from data.media.loading import Medium, load_medium
from data.media.saving import save_medium
from nextgpt_lite.conversation_media import write_reply_media
from tests.tiny_model import medium, saying

ROOT = Path(__file__).parents[3]
RECIPE = "task: audio_vae\nsteps: 2\nbatch_size: 1\nlearning_rates: {vae: 1.0e-3}\n"
BAD = {
    "an unknown model folder": (
        ["chat", "hello", "--model", "nowhere"],
        "no model 'nowhere': expected 'small'",
    ),
    "a missing file": (["chat", "hello", "--attach", "gone.png"], "gone.png"),
    "a text file named png": (["chat", "hello", "--attach", "text.png"], "text.png"),
    "a truncated picture": (["chat", "hello", "--attach", "cut.png"], "cut.png"),
    "a missing conversation": (["chat", "--conversation", "gone.json"], "no conversation at gone.json"),
    "an unknown recipe key": (["train", "bad.yaml"], "unknown key 'step': did you mean 'steps'?"),
    "an unknown task setting": (["train", "setting.yaml"], "did you mean 'channels'?"),
    "a missing recipe": (["train", "gone.yaml"], "no recipe at gone.yaml"),
}


def start(arguments, folder):
    """A command in ``folder``; all of a test module's run at the same time, since most of each is import."""
    environment = os.environ | {"PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1", "HF_HUB_OFFLINE": "1"}
    command = [sys.executable, "-m", "nextgpt_lite.cli", *arguments]
    return subprocess.Popen(
        command, cwd=folder, env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )


@pytest.fixture(scope="module")
def ended(tmp_path_factory, tiny_folder):
    """Name -> (exit code, stdout, stderr, folder that it ran in, files that were there before)."""
    running = {}
    for name, (arguments, _) in BAD.items():
        folder = tmp_path_factory.mktemp("bad")
        (folder / "text.png").write_text("I am a text file.\n" * 20)
        Image.radial_gradient("L").save(folder / "whole.png")
        (folder / "cut.png").write_bytes((folder / "whole.png").read_bytes()[:400])
        (folder / "bad.yaml").write_text(RECIPE.replace("steps", "step"))
        (folder / "setting.yaml").write_text(RECIPE + "task_settings: {chanels: [4]}\n")
        running[name] = (start(arguments, folder), folder, files(folder))
    folder = tmp_path_factory.mktemp("good")
    for modality, suffix in (("image", "png"), ("audio", "wav")):
        part = medium(modality)
        save_medium(Medium(modality, part["array"], part["rate"]), folder / f"a.{suffix}")
    attached = ["--attach", "a.png", "--attach", "a.wav"]
    chat = ["chat", "What are these?", *attached, "--model", str(tiny_folder), "--json", "--out", "made"]
    running["chat"] = (start(chat, folder), folder, files(folder))
    running["help"] = (start(["--help"], folder), folder, files(folder))
    results = {}
    for name, (process, place, before) in running.items():
        out, error = process.communicate()
        results[name] = (process.returncode, out, error, place, before)
    return results


def files(folder):
    return sorted(path.relative_to(folder).as_posix() for path in folder.rglob("*"))


@pytest.mark.parametrize("name", BAD)
def test_bad_input_ends_in_one_line_and_leaves_nothing(ended, name):
    code, out, error, folder, before = ended[name]
    assert code == 2, error
    assert out == ""
    assert len(error.strip().splitlines()) == 1, error
    assert BAD[name][1] in error
    assert error.startswith(f"nextgpt-lite {BAD[name][0][0]}: ")
    assert files(folder) == before


def test_chat_prints_one_object_of_the_designs_form(ended):
    code, out, error, folder, before = ended["chat"]
    assert code == 0, error
    [line] = out.strip().splitlines()
    reply = json.loads(line)
    assert reply.keys() == {"text", "media", "seconds"}
    assert isinstance(reply["text"], str)
    assert reply["seconds"]["text"] > 0
    for made in reply["media"]:
        assert made.keys() == {"modality", "path", "signal_tokens"}
        assert (folder / made["path"]).is_file()
    assert len(files(folder)) == len(before) + len(reply["media"]) + bool(reply["media"])


def test_help_names_every_command(ended):
    from nextgpt_lite.cli import COMMANDS

    code, out, _, _, _ = ended["help"]
    assert code == 0
    assert all(command in out for command in COMMANDS)


def test_media_of_a_reply_are_written_and_named(tiny_model, tmp_path):
    messages = [{"role": "user", "content": "Draw, film and play."}]
    with saying(tiny_model, [messages], [("image", "video", "audio")]):
        reply = tiny_model.chat(messages, steps=1)
    written = write_reply_media(reply, tmp_path / "made", turn=2)
    assert [made["modality"] for made in written] == ["image", "video", "audio"]
    assert [made["signal_tokens"] for made in written] == [2, 3, 2]
    assert [Path(made["path"]).name for made in written] == [
        "reply-2-1-image.png", "reply-2-2-video.mp4", "reply-2-3-audio.wav",
    ]  # fmt: skip
    for made, medium_made in zip(written, reply.media, strict=True):
        back = load_medium(made["path"])
        assert back.modality == made["modality"]
        if made["modality"] == "image":
            assert (back.array == medium_made.array).all()
