#!/bin/bash
# The cache in 8 bits.
exec "$(dirname "$0")/start_server.sh" --no-ssd --kv-bits 8 --kv-group-size 64 --block-size 16 --num-blocks 2048 "$@"
