"""The HTTP service: a client of `mien.pipeline.Pipeline` that many people share. It decides nothing about faces."""
