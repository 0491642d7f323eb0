"""A WebSocket echo server and a client that checks it (RFC 6455), standard library only.

websocket.py serve PORT | websocket.py check HOST PORT
"""

import base64
import hashlib
import os
import socket
import socketserver
import struct
import sys

GUID = b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11"


def accept_key(key):
    return base64.b64encode(hashlib.sha1(key + GUID).digest())


def read_head(stream):
    head = b""
    while not head.endswith(b"\r\n\r\n"):
        byte = stream.read(1)
        if not byte:
            raise EOFError("closed within the head")
        head += byte
    return head


def header(head, name):
    for line in head.split(b"\r\n"):
        if line.lower().startswith(name.lower() + b":"):
            return line.split(b":", 1)[1].strip()
    raise ValueError(f"no {name.decode()} in {head!r}")


def exactly(stream, count):
    data = stream.read(count)
    if len(data) != count:
        raise EOFError("closed within a frame")
    return data


def read_frame(stream):
    first, second = exactly(stream, 2)
    length = second & 0x7F
    if length == 126:
        (length,) = struct.unpack("!H", exactly(stream, 2))
    elif length == 127:
        (length,) = struct.unpack("!Q", exactly(stream, 8))
    mask = exactly(stream, 4) if second & 0x80 else None
    data = exactly(stream, length)
    if mask:
        data = bytes(b ^ mask[i % 4] for i, b in enumerate(data))
    return first & 0x0F, data


def frame(opcode, data, masked):
    flag = 0x80 if masked else 0
    if len(data) < 126:
        head = struct.pack("!BB", 0x80 | opcode, flag | len(data))
    else:
        head = struct.pack("!BBH", 0x80 | opcode, flag | 126, len(data))
    if not masked:
        return head + data
    mask = os.urandom(4)
    return head + mask + bytes(b ^ mask[i % 4] for i, b in enumerate(data))


class Echo(socketserver.StreamRequestHandler):
    def handle(self):
        head = read_head(self.rfile)
        key = accept_key(header(head, b"Sec-WebSocket-Key"))
        answer = b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
        self.wfile.write(answer + b"Sec-WebSocket-Accept: " + key + b"\r\n\r\n")
        while True:
            opcode, data = read_frame(self.rfile)
            if opcode == 8:
                self.wfile.write(frame(8, data, False))
                return
            self.wfile.write(frame(opcode, data, False))


class Server(socketserver.ThreadingTCPServer):
    address_family = socket.AF_INET6
    allow_reuse_address = True
    daemon_threads = True


def check(host, port):
    key = base64.b64encode(os.urandom(16))
    with socket.create_connection((host, port), 10) as connection:
        stream = connection.makefile("rb")
        request = f"GET /chat HTTP/1.1\r\nHost: {host}\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
        request += f"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: {key.decode()}\r\n\r\n"
        connection.sendall(request.encode())
        head = read_head(stream)
        assert head.startswith(b"HTTP/1.1 101"), head
        assert header(head, b"Sec-WebSocket-Accept") == accept_key(key), head
        for size in (1, 125, 126, 5000):
            data = os.urandom(size)
            connection.sendall(frame(2, data, True))
            assert read_frame(stream) == (2, data), f"message of {size} bytes"
        connection.sendall(frame(8, b"", True))
        assert read_frame(stream)[0] == 8
    print("websocket ok")


if __name__ == "__main__":
    if sys.argv[1] == "serve":
        Server(("::", int(sys.argv[2])), Echo).serve_forever()
    else:
        check(sys.argv[2], int(sys.argv[3]))
