"""The parts of the queue editor: what is staged, how it is drawn, and its dialogs."""
