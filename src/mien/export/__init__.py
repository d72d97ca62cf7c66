"""The conversion wing: a trained network -> the file that ships, kept only after its own check."""
