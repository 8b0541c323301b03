"""Measurements, each a command that writes JSON; runs of record are in `results/`."""
