"""The oracles: forms of input, saving and loading, and how well the shipped ones see real renders."""

import numpy as np
import pytest
import torch

from data import toybox
from evaluation.classifiers import log_mel
from evaluation.toybox.oracles import MODALITIES, WEIGHTS, Oracle, OracleNetwork, accuracy, label, prepare, scenes

SCENE = toybox.sample(12_345, 0, "all")


@pytest.mark.parametrize("modality", MODALITIES)
def test_every_oracle_has_at_most_half_a_million_parameters(modality):
    assert sum(p.numel() for p in OracleNetwork(modality).parameters()) <= 500_000


@pytest.mark.parametrize("modality", MODALITIES)
def test_an_oracle_names_every_attribute_and_survives_saving(modality, tmp_path):
    torch.manual_seed(0)
    oracle = Oracle(OracleNetwork(modality, width=8))
    oracle.save_pretrained(tmp_path)
    loaded = Oracle.from_pretrained(modality, tmp_path)
    renders = [toybox.render(scene, modality) for scene in scenes(5, 3)]
    answers = loaded.predict(renders, batch_size=2)
    assert [set(answer) for answer in answers] == [set(toybox.CARRIES[modality])] * 3
    scores = [o.network.logits(prepare(modality, renders)) for o in (oracle, loaded)]
    for name in toybox.CARRIES[modality]:
        torch.testing.assert_close(scores[0][name], scores[1][name], atol=0.05, rtol=0.05)
    assert {path.name for path in tmp_path.iterdir()} == {f"{modality}.safetensors", f"{modality}.json"}


def test_an_unknown_modality_is_refused():
    with pytest.raises(ValueError, match=r"'points'.*image, video, audio"):
        OracleNetwork("points")


def test_the_loss_falls_when_the_labels_are_learnt():
    torch.manual_seed(0)
    network = OracleNetwork("image", width=8)
    drawn = scenes(1, 8)
    inputs = prepare("image", [toybox.render(scene, "image") for scene in drawn])
    labels = torch.tensor([label(scene, "image") for scene in drawn])
    optimiser = torch.optim.AdamW(network.parameters(), lr=3e-3)
    losses = []
    for _ in range(12):
        loss = network(inputs, labels)["loss"]
        loss.backward()
        optimiser.step()
        optimiser.zero_grad()
        losses.append(loss.item())
    assert losses[-1] < 0.6 * losses[0]


def test_media_of_other_sizes_are_brought_to_the_oracles_own():
    assert prepare("image", [np.zeros((64, 64, 3), np.uint8), np.zeros((200, 200, 3), np.uint8)]).shape == (
        2,
        3,
        128,
        128,
    )
    assert prepare("video", [np.zeros((16, 128, 128, 3), np.uint8)]).shape == (1, 8, 3, 64, 64)
    assert prepare("audio", [np.zeros(20_000, np.float32), np.zeros(40_000, np.float32)]).shape == (2, 1, 64, 128)


def test_the_log_mel_follows_a_tone():
    time = np.arange(32_000) / 16_000
    low, high = (torch.from_numpy(np.sin(2 * np.pi * f * time)).float() for f in (200, 3000))
    bands = log_mel(torch.stack((low, high))).mean(2).argmax(1)
    assert bands[0] < 10 < 30 < bands[1]


@pytest.mark.parametrize("modality", MODALITIES)
def test_the_shipped_oracle_sees_real_renders(modality):
    assert (WEIGHTS / f"{modality}.safetensors").stat().st_size < 1_100_000
    torch.set_num_threads(2)
    shares = accuracy(Oracle.from_pretrained(modality), 12_345, 200)
    assert all(shares[name] >= 0.98 for name in ("thing", "colour", "motion", "pitch") if name in shares), shares
    assert min(shares.values()) >= 0.95, shares


def test_labels_follow_the_order_of_the_heads():
    assert label(SCENE, "audio") == [
        toybox.THINGS.index(SCENE.thing),
        toybox.VALUES["pitch"].index(SCENE.pitch),
        toybox.VALUES["pace"].index(SCENE.pace),
        toybox.VALUES["repeats"].index(SCENE.repeats),
    ]
