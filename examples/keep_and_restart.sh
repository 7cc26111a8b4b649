#!/bin/sh
# A container that keeps its files between two runs.
#
#   examples/keep_and_restart.sh [IMAGE]
set -eu
image=${1:-alpine:3.20}
id=$(onggi create "$image" sh -c 'echo once more >>/log; echo "run $(wc -l </log)"')
trap 'onggi rm -f "$id" >/dev/null' EXIT
onggi start -a "$id"
onggi start -a "$id"
onggi inspect --format 'exit code {{.State.ExitCode}}' "$id"
