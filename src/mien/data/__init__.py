"""Datasets: any usual form on disk in, a `FaceDataset` of NumPy arrays out. It knows neither torch nor models."""
