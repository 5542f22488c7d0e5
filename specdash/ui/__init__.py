"""Skins: they read facts and decide nothing."""
