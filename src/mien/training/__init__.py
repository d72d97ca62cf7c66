"""Training: a recipe and a `FaceDataset` in, a model bundle out. It needs torch."""
