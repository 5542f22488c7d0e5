"""The dashboard: a Textual application that looks at one run at a time and holds none of it.

Every pane is a pure function of a `RunFeed` that returns lines; widgets only keep what is on the screen and repaint
what differs. Nothing here reads a journal, a socket or a file of a run: a `Source` does.
"""
