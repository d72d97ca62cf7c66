"""Tracking: which faces of a video are one person, and this person's probabilities over time."""
