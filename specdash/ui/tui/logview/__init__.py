"""The log of a server: a file of any size, and the part of it that a screen shows. Pure: nothing here reads a file."""
