"""Result files of other tools, read into the document that reports are made from, and written in their format."""
