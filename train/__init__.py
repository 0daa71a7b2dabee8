"""Training: recipes, tasks and the engine that joins them."""

from pathlib import Path

import yaml

#: Recipe ``task:`` name -> "module:Class".
TASKS: dict[str, str] = yaml.safe_load((Path(__file__).parent / "tasks.yaml").read_text(encoding="utf-8"))
