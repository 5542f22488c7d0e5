"""What the user names: profiles, model files, prompts."""
