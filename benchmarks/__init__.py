"""Timings and sizes of specdash, printed as tables; nothing is asserted here."""
