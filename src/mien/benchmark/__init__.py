"""Benchmark: time, memory and size of any model in any runtime; each row in a process of its own, timed in turn."""
