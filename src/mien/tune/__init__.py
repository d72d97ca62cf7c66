"""Many runs of `training` for one answer: folds of the training images, and a search for better options."""
