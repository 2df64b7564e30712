"""Evaluation of trained models: checkpoints of runs, and converted weights."""
