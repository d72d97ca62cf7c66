"""Datasets: any usual form on disk becomes a `FaceDataset` of NumPy arrays. It uses neither torch nor models."""
