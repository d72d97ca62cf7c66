"""The data wing: anything on disk -> a `FaceDataset` of NumPy arrays. It knows neither torch nor models."""
