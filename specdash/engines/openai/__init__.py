"""Servers with an OpenAI-style API, whoever made them."""
