"""How the language model itself is tuned, with the settings that the scaling study of LLaVA found good (2309.09958).

LoRA at learning rate 1e-4 with alpha = 2 r comes within 0.1 points of full tuning at 2e-5 (Table 2); the same rank at
2e-5 with alpha 16 loses six points. So alpha follows the rank unless a recipe says otherwise.
"""

from __future__ import annotations

from typing import Any

#: Name -> whether there is LoRA, whether the base is held in 4 bits.
TUNINGS = {"lora": (True, False), "qlora": (True, True), "full": (False, False)}


def lora_settings(settings: dict[str, Any]) -> dict[str, Any]:
    """Settings of peft.LoraConfig; where ``lora_alpha`` is left out it is twice the rank."""
    return {"lora_alpha": 2 * settings["r"], **settings}
