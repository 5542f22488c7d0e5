"""Kinds of servers: how each is started, addressed and understood."""
