"""The link between the engine process of a run and those that watch it: on this machine, through ssh, from a folder."""
