#!/bin/sh
# Data in a volume, a copy of it in a file, and a new volume from that copy.
#
#   examples/back_up_a_volume.sh FILE.tar [IMAGE]
set -eu
file=$1
image=${2:-alpine:3.20}
trap 'onggi volume rm -f notes-$$ copy-$$ >/dev/null' EXIT
onggi run --rm -v "notes-$$:/notes" "$image" sh -c 'echo one note >/notes/one'
onggi volume export --output "$file" "notes-$$"
onggi volume create "copy-$$" >/dev/null
onggi volume import "copy-$$" "$file"
onggi run --rm -v "copy-$$:/notes:ro" "$image" sed 's/^/restored: /' /notes/one
