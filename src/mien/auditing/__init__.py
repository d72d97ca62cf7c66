"""What is wrong with a dataset: duplicates, leaks, damaged images, doubtful labels; a cleaned copy."""
