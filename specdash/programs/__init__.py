"""Programs that run in a process of their own, some in another Python; each names what it imports of ours."""
