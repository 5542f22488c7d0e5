"""Helpers that tests, benchmarks and tools share: recorded runs, worlds with known truth, machines, terminals."""
