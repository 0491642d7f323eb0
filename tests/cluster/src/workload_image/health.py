"""The smallest gRPC server that a kubelet's probe takes for healthy: every call is answered with status SERVING."""

import socketserver
import socket
import struct
import sys

DATA, HEADERS, SETTINGS, PING = 0, 1, 4, 6
END_STREAM, END_HEADERS, ACK = 1, 4, 1
PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
SERVING = b"\0" + struct.pack(">I", 2) + b"\x08\x01"


def literal(name, value):
    """HPACK, without indexing: RFC 7541, section 6.2.2."""
    return b"\0" + bytes([len(name)]) + name + bytes([len(value)]) + value


def frame(kind, flags, stream, payload):
    return struct.pack(">I", len(payload))[1:] + struct.pack(">BBI", kind, flags, stream) + payload


ANSWER = b"\x88" + literal(b"content-type", b"application/grpc")
TRAILERS = literal(b"grpc-status", b"0")


class Handler(socketserver.StreamRequestHandler):
    def handle(self):
        if self.rfile.read(len(PREFACE)) != PREFACE:
            return
        self.wfile.write(frame(SETTINGS, 0, 0, b""))
        while head := self.rfile.read(9):
            length = int.from_bytes(head[:3], "big")
            kind, flags, stream = head[3], head[4], int.from_bytes(head[5:], "big")
            payload = self.rfile.read(length)
            if kind in (SETTINGS, PING) and not flags & ACK:
                self.wfile.write(frame(kind, ACK, 0, payload if kind == PING else b""))
            if kind in (HEADERS, DATA) and flags & END_STREAM:
                self.wfile.write(frame(HEADERS, END_HEADERS, stream, ANSWER))
                self.wfile.write(frame(DATA, 0, stream, SERVING))
                self.wfile.write(frame(HEADERS, END_HEADERS | END_STREAM, stream, TRAILERS))


class Server(socketserver.ThreadingTCPServer):
    address_family = socket.AF_INET6
    allow_reuse_address = True
    daemon_threads = True


Server(("::", int(sys.argv[1])), Handler).serve_forever()
