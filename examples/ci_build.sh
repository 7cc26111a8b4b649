#!/bin/sh
# Builds an image on a machine that keeps nothing but one directory from job to job: what a job has done, the next need not do.
#
#   examples/ci_build.sh DIRECTORY CONTEXT NAME
set -eu
cache=${1:?where the cache is kept}
onggi build -q -t "${3:?what the image is called}" --cache-from "type=local,src=$cache" \
    --cache-to "type=local,dest=$cache.new,mode=max" "${2:?what to build}"
# What nobody needs any more goes with the old one.
rm -rf "$cache"
mv "$cache.new" "$cache"
