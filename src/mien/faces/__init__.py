"""Training of the face detector: drawn scenes, a small network, its graph. Begin with `run.train_detector`."""
