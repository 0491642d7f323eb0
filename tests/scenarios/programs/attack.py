"""Sends what nobody should send to a TLS port and says "held off" where the server closed in time without an answer of use.

attack.py KIND HOST PORT
"""

import os
import socket
import ssl
import subprocess
import sys
import tempfile
import time

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


def slow_loris(host, port):
    hello = b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03"
    slow = [connect(host, port) for _ in range(50)]
    begin = time.monotonic()
    for connection in slow:
        send(connection, hello[:3])
    for connection in slow:
        drained(connection)
        connection.close()
    if time.monotonic() - begin > LIMIT:
        raise SystemExit("handshakes that never go on were held too long")


def half_a_hello(host, port):
    for _ in range(20):
        with connect(host, port) as connection:
            send(connection, b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + os.urandom(100))
    with connect(host, port) as connection:
        send(connection, b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + os.urandom(100))
        connection.shutdown(socket.SHUT_WR)
        drained(connection)


def huge_record(host, port):
    with connect(host, port) as connection:
        send(connection, b"\x16\x03\x01\xff\xff" + os.urandom(70_000))
        drained(connection)


def self_signed(host, port):
    with tempfile.TemporaryDirectory() as folder:
        cert, key = folder + "/cert.pem", folder + "/key.pem"
        subprocess.run(
            ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-days", "1"]
            + ["-subj", "/CN=x", "-addext", "subjectAltName=URI:spiffe://cluster.local/ns/shop/sa/client"]
            + ["-keyout", key, "-out", cert],
            check=True,
            capture_output=True,
        )
        for chain in (None, (cert, key)):
            context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
            context.check_hostname = False
            context.verify_mode = ssl.CERT_NONE
            context.set_alpn_protocols(["h2"])
            if chain:
                context.load_cert_chain(*chain)
            refused(context, host, port)


def refused(context, host, port):
    """With TLS 1.3 the client learns of the refusal with its first read."""
    try:
        with context.wrap_socket(connect(host, port)) as connection:
            connection.sendall(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + b"\x00\x00\x00\x04\x00\x00\x00\x00\x00")
            got = connection.recv(1000)
            # An HTTP/2 server's first frame is SETTINGS; a server that wants a certificate must not get that far.
            more = connection.recv(1000) if got else b""
            if got and more:
                raise SystemExit("a client without a certificate of the mesh was served")
    except (ssl.SSLError, ConnectionError):
        pass


if __name__ == "__main__":
    kinds = {f.__name__.replace("_", "-"): f for f in (garbage, plaintext_http, slow_loris, half_a_hello, huge_record, self_signed)}
    kinds[sys.argv[1]](sys.argv[2], int(sys.argv[3]))
    print("held off")
