"""The HTTP service: many clients share one `mien.pipeline.Pipeline`, which does all the work on faces."""
