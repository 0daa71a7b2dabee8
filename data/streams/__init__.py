"""Records that are read while training runs: archives, Hugging Face datasets, and their mixture."""
