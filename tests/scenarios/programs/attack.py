"""Sends what nobody should send to a TLS port and says "held off" where the server closed in time without an answer of use.

attack.py KIND HOST PORT
"""

import os
import socket
import sys

LIMIT = 40


def connect(host, port):
    connection = socket.create_connection((host, port), 10)
    connection.settimeout(LIMIT)
    return connection


def drained(connection):
    """Everything that comes until the server closes; a reset counts as closed."""
    got = b""
    try:
        while data := connection.recv(65536):
            got += data
            if len(got) > 1 << 20:
                raise SystemExit("more than a mebibyte came back")
    except (ConnectionResetError, BrokenPipeError):
        pass
    except TimeoutError:
        raise SystemExit(f"still open after {LIMIT} s")
    return got


def send(connection, data):
    try:
        connection.sendall(data)
    except (ConnectionResetError, BrokenPipeError):
        pass


def garbage(host, port):
    for size in (1, 64, 4096, 200_000):
        with connect(host, port) as connection:
            send(connection, os.urandom(size))
            try:
                connection.shutdown(socket.SHUT_WR)
            except OSError:
                pass
            drained(connection)


def plaintext_http(host, port):
    with connect(host, port) as connection:
        send(connection, b"GET / HTTP/1.1\r\nHost: x\r\n\r\n" + b"x" * 10_000)
        got = drained(connection)
        if got.startswith(b"HTTP"):
            raise SystemExit("plaintext HTTP was answered")


if __name__ == "__main__":
    kinds = {f.__name__.replace("_", "-"): f for f in (garbage, plaintext_http)}
    kinds[sys.argv[1]](sys.argv[2], int(sys.argv[3]))
    print("held off")
