"""Checkpoints turned into files that run without lastkd."""
