"""Statistics and the result of a run; pure functions of what was measured."""
