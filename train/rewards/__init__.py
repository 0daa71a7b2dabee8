"""Training by rewards: what a model makes is judged, and what is judged better becomes likelier."""
