"""What the results screen shows: figures of a run, kept up to date a little at a time, and lines made from them."""
