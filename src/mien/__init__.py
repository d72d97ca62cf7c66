"""mien: facial-expression classifiers the whole way, from a dataset on disk to faces in a photo."""

__version__ = "0.1.0"
