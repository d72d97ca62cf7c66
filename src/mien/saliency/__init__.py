"""Explanations: on which places of a face the answer of a classifier depends. Any `Classifier` will do."""
