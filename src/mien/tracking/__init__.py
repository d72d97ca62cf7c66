"""Faces followed through a video: which of them are one person, and what that person shows over time."""
