"""Runs that follow each other: sequences, sweeps, the demo and what they are estimated by."""
