"""llama.cpp: its server, or its command-line programs, one for each answer."""
