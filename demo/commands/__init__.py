"""The commands ``nextgpt-lite demo``, ``nextgpt-lite serve`` and ``nextgpt-lite bench serve``."""
