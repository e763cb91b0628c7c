"""The version of lastkd, as checkpoints, stores and events record it."""

__version__ = "0.1.0"
