"""Evaluation: classifiers and datasets in, reports out. It works on arrays, so no torch is needed."""
