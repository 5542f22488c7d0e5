#!/bin/bash
# No SSD, no quantised cache, no speculation.
exec "$(dirname "$0")/start_server.sh" --no-ssd --kv-bits 0 "$@"
