"""Training of the face detector: drawn scenes, a small network, its graph. `fit.train_detector` is the way in."""
