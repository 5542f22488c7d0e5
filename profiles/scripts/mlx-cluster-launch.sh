#!/bin/bash
# Starts the MLX server on every node of the hostfile and leaves it running; the arguments are the server's own.
# Its output is this script's, which specdash keeps as the log of the load. specdash waits for /health by itself.
set -u
nohup mlx.launch --backend jaccl --hostfile "${MLX_HOSTFILE:-hosts.json}" -- \
    "${MLX_PYTHON:-python3}" -m mlx_lm_server "$@" </dev/null &
echo $! >"$MLX_PID_FILE"
