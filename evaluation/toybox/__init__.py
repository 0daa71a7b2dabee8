"""The suite ``any_to_any``: Toybox's cases, the oracles that judge generated media, metrics and targets."""
