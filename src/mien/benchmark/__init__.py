"""Benchmark: time, memory and size of any model in any runtime; each row has its own process, rows take turns."""
