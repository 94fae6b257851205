#!/bin/sh
# Starts Prometheus with the key it needs to read /metrics: SCRAPE_KEY, of several the first.
# The key goes into a file in memory that only this user can read, never into the configuration.
set -eu
key_file=${KEY_FILE:-/run/mpanet/key}
umask 077
printf '%s' "${SCRAPE_KEY%%,*}" >"$key_file"
unset SCRAPE_KEY
exec prometheus "$@"
