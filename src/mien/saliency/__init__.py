"""Seeing why: which places of a face a classifier's answer depends on. It works for any `Classifier`."""
