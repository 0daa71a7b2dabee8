"""The stages of NExT-GPT: encoding-side alignment, decoding-side alignment, instruction tuning."""
