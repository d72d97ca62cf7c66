"""Many training runs for one answer: cross-validation over folds, and a search for better options."""
