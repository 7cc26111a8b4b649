#!/bin/sh
# A tool from an image as a filter: streams in, streams out, its exit code, nothing left behind.
#
#   examples/one_shot.sh IMAGE < text
set -eu
exec onggi run --rm -i --network none --read-only "${1:?which image}" sort -u
