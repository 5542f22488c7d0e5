"""What one sees before there is a run: what was found, what a profile would do, the questions of the wizard. Pure."""
