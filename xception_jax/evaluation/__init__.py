"""Evaluation of what has been trained: a run's checkpoints, and converted weights."""
