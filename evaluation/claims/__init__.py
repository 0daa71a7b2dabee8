"""The papers' central claims as experiments of named arms: ``nextgpt-lite claims`` (docs/claims.md)."""
