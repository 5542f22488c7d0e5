"""The log of a server as a screen needs it: a bounded window of a file of any size, search in all of it, and its rows.

Pure: nothing here reads a file or knows a terminal.
"""
