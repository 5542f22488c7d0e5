"""The list of earlier runs, and two of them side by side. Pure: nothing here reads a journal or knows a screen."""
