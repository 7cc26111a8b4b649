#!/bin/sh
# A step of a CI job in a clean root file system: no network, no new privileges, scratch space in memory.
#
#   examples/build_step.sh IMAGE COMMAND [ARGUMENT…]
set -eu
image=${1:?which image}
shift
exec onggi run --rm --network none --read-only --tmpfs /tmp:size=256m,exec \
    --security-opt no-new-privileges --cap-drop ALL --env CI=true "$image" "$@"
