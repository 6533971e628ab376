"""Benchmarks: named problems, contenders timed in one run, records, and their table."""
