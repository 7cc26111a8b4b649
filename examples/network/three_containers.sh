#!/bin/sh
# Three containers in a network of their own: nginx before an application before PostgreSQL. They find each other by name, and
# nginx alone is published: `curl http://127.0.0.1:8080/` tells the number of the visit and where it came from.
#
#   examples/network/three_containers.sh IMAGE [PORT [OPTION OF THE DATABASE…]]
#
# The image has all three, such as one that was made of Debian's packages by
#   mmdebstrap --include nginx-light,postgresql,python3-psycopg2 stable servers.tar && onggi import servers.tar servers
# Where the host gives you a single id, the database is to have that, since it refuses to be root:
#   examples/network/three_containers.sh servers 8080 --userns keep-id:uid=102,gid=104
# (what `onggi run --rm servers id postgres` says of it).
set -eu
image=$1 port=${2:-8080}
[ $# -lt 2 ] || shift
shift
here=$(cd "$(dirname "$0")" && pwd)
onggi network create shop
onggi run -d --name db --network shop --user postgres -v shop:/var/lib/postgresql -v "$here/database.sh:/database.sh:ro" "$@" "$image" sh /database.sh
onggi run -d --name app --network shop --init -v "$here/application.py:/application.py:ro" "$image" python3 /application.py
onggi run -d --name web --network shop -p "$port:80" -v "$here/nginx.conf:/etc/nginx/nginx.conf:ro" "$image" nginx
