"""Counts visits in PostgreSQL, which it finds by name, anew for each visit: it may have been started again elsewhere."""

import http.server
import socket

import psycopg2


def count(client):
    """The number of the visit of this client, of all."""
    database = psycopg2.connect(host="db", user="postgres", connect_timeout=5)
    with database, database.cursor() as cursor:
        cursor.execute("create table if not exists visit (client text)")
        cursor.execute("insert into visit values (%s)", [client])
        cursor.execute("select count(*) from visit")
        (number,) = cursor.fetchone()
    database.close()
    return number


class Visit(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        client = self.headers["X-Real-IP"]
        try:
            status, text = 200, f"visit {count(client)}, from {client}\n"
        except psycopg2.Error as error:
            status, text = 503, f"no database: {error}"
        self.send_response(status)
        self.end_headers()
        self.wfile.write(text.encode())


class Server(http.server.ThreadingHTTPServer):
    # A socket of IPv6 hears IPv4 as well; a name in a network has addresses of both.
    address_family = socket.AF_INET6


Server(("::", 8000), Visit).serve_forever()
