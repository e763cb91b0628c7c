"""Runs one after the other: sequences, sweeps and the demo, with measurements and estimates."""
