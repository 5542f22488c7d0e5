"""The questions of the wizard, the profile that follows from the answers, and what a profile would do. Pure."""
