"""Run folders, the journal, and what is derived from it."""
