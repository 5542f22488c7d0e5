"""Processes and the sweep: what is started, watched, measured and ended."""
