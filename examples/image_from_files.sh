#!/bin/sh
# An image without a Dockerfile: files and settings become a layer and a config.
#
#   examples/image_from_files.sh [BASE IMAGE]
set -eu
base=${1:-alpine:3.20}
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT

# The files of the base come out of a container, ours go on top.
onggi run --rm "$base" tar -c bin lib etc/os-release >"$work/root.tar"
mkdir -p "$work/srv"
echo 'hello from a file' >"$work/srv/greeting"
tar -r -f "$work/root.tar" -C "$work" srv

onggi import --change 'WORKDIR /srv' --change 'CMD ["cat", "greeting"]' "$work/root.tar" greeting:1 >/dev/null
onggi run --rm greeting:1
onggi rmi greeting:1 >/dev/null
