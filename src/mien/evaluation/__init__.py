"""The judging wing: classifiers and datasets in, reports out; from arrays, so no torch is needed."""
