"""What this machine tells about itself: memory, GPUs, processor."""
