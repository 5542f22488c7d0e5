"""The panes of the main screen: pure functions from a feed to lines."""
