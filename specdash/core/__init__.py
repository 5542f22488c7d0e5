"""Frozen values, pure functions and protocols; the standard library only."""
