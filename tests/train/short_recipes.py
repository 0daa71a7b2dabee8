"""Recipes of real tasks at sizes that train in seconds."""

from dataclasses import replace
from pathlib import Path

from tests.tiny_model import CORE
from train.recipe import Recipe, read_recipe

SOUND = Recipe(
    task="audio_vae",
    steps=60,
    batch_size=2,
    learning_rates={"vae": 2e-3},
    task_settings={"channels": [4, 4, 4, 4], "latent_channels": 2, "groups": 2, "held_out": 2},
    checkpoint_every=4,
    log_every=10,
    ema=0.9,
    tracker="none",
)
PICTURE = Recipe(
    task="image_vae",
    steps=3,
    batch_size=2,
    learning_rates={"encoder": 0.0, "decoder": 1e-2},
    task_settings={"block_out_channels": [4, 4], "latent_channels": 2, "pictures": 8, "held_out": 2},
    log_every=1,
    tracker="none",
)
FILES = {
    "model.safetensors", "ema.safetensors", "optimizer.pt", "scheduler.pt", "rng_state.pth", "trainer_state.json",
    "log_window.json", "recipe.json", "hashes.json",
}  # fmt: skip

RECIPES = Path(__file__).parents[2] / "train/recipes"
LORA = {"r": 2, "lora_alpha": 4, "target_modules": ["q_proj", "v_proj", "up_proj"]}
STAGES = {
    "encoding_alignment": CORE,
    "decoding_alignment": {"lora": LORA, "word_weight": 1.0},
    "instruction_tuning": {"lora": LORA, "word_weight": 1.0},
}


def stage(name, folder, **changes):
    """The shipped recipe of a stage, on the tiny model and short; its learning rates are the shipped ones."""
    settings = {"dialogues": 20, "tokens_per_bin": 500, "held_out": 3, **STAGES[name]}
    short = {"steps": 4, "checkpoint_every": 2, "log_every": 2, "tracker": "none", "bf16": False}
    recipe = read_recipe(next(RECIPES.rglob(f"{name}.yaml")))
    return replace(recipe, model=str(folder), task_settings=settings, **short | changes)
