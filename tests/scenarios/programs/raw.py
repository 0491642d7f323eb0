"""Opens a TCP connection with packets made by hand, past every hook on sockets, and prints what came back as one JSON line.

raw.py SOURCE SOURCE_PORT DESTINATION PORT TEXT

Needs root: the pod's own kernel knows no such connection, so its resets are kept back by a rule for the time being.
"""

import ipaddress
import json
import random
import socket
import struct
import subprocess
import sys
import time

FIN, SYN, RST, PSH, ACK = 1, 2, 4, 8, 16
LIMIT = 1.0
TABLE = "raw-test"


def checksum(data):
    data += b"\0" * (len(data) % 2)
    total = sum(struct.unpack(f"!{len(data) // 2}H", data))
    while total >> 16:
        total = (total & 0xFFFF) + (total >> 16)
    return ~total & 0xFFFF


class Connection:
    def __init__(self, source, source_port, destination, port):
        self.source, self.destination = map(ipaddress.ip_address, (source, destination))
        self.ports = (source_port, port)
        self.v4 = self.source.version == 4
        family = socket.AF_INET if self.v4 else socket.AF_INET6
        # IPPROTO_RAW: the packet's own header is sent as it is, whatever address it names.
        self.out = socket.socket(family, socket.SOCK_RAW, socket.IPPROTO_RAW)
        self.tap = socket.socket(socket.AF_PACKET, socket.SOCK_DGRAM, socket.htons(3))
        self.seq, self.ack = random.getrandbits(32), 0

    def send(self, flags, data=b""):
        offset = 5 << 4
        head = struct.pack("!HHIIBBHHH", *self.ports, self.seq, self.ack, offset, flags, 65535, 0, 0)
        ends = self.source.packed + self.destination.packed
        length = struct.pack("!I", len(head) + len(data))
        total = checksum(ends + length + struct.pack("!I", socket.IPPROTO_TCP) + head + data)
        segment = head[:16] + struct.pack("!H", total) + head[18:] + data
        if self.v4:
            ip = struct.pack("!BBHHHBBH", 0x45, 0, 20 + len(segment), 0, 0, 64, socket.IPPROTO_TCP, 0)
        else:
            ip = struct.pack("!IHBB", 6 << 28, len(segment), socket.IPPROTO_TCP, 64)
        self.out.sendto(ip + ends + segment, (str(self.destination), 0))
        self.seq = self.seq + len(data) + (1 if flags & (SYN | FIN) else 0) & 0xFFFFFFFF

    def receive(self, limit):
        """Segments of this connection until the limit: (flags, sequence number, data)."""
        end = time.monotonic() + limit
        while (left := end - time.monotonic()) > 0:
            self.tap.settimeout(left)
            try:
                packet, where = self.tap.recvfrom(65536)
            except TimeoutError:
                return
            if where[2] == socket.PACKET_OUTGOING:
                continue
            if segment := self.mine(packet):
                yield segment

    def mine(self, packet):
        if self.v4 and packet[0] >> 4 == 4 and packet[9] == socket.IPPROTO_TCP:
            size, ends = (packet[0] & 15) * 4, packet[12:20]
            packet = packet[: int.from_bytes(packet[2:4], "big")]
        elif not self.v4 and packet[0] >> 4 == 6 and packet[6] == socket.IPPROTO_TCP:
            size, ends = 40, packet[8:40]
            packet = packet[: 40 + int.from_bytes(packet[4:6], "big")]
        else:
            return None
        tcp = packet[size:]
        if ends != self.destination.packed + self.source.packed or tcp[:4] != struct.pack("!HH", *self.ports[::-1]):
            return None
        return tcp[13], int.from_bytes(tcp[4:8], "big"), tcp[(tcp[12] >> 4) * 4 :]


def attempt(connection, text):
    seen = {"answered": False, "reset": False, "data": ""}
    connection.send(SYN)
    for flags, number, _ in connection.receive(LIMIT):
        seen["reset"] |= bool(flags & RST)
        if flags & (SYN | ACK) == SYN | ACK:
            seen["answered"] = True
            connection.ack = number + 1 & 0xFFFFFFFF
            break
    # Without an answer, the attacker guesses on.
    connection.send(ACK)
    connection.send(PSH | ACK, text.encode())
    for flags, _, data in connection.receive(LIMIT):
        seen["reset"] |= bool(flags & RST)
        seen["data"] += data.decode(errors="replace")
    connection.send(RST | ACK)
    return seen


def main():
    source, source_port, destination, port, text = sys.argv[1:]
    rules = f"add table inet {TABLE}; add chain inet {TABLE} out {{ type filter hook output priority 0; }}"
    # Packets made here pass the hook as well; only the kernel's own resets come without ACK.
    rules += f"; add rule inet {TABLE} out tcp sport {source_port} tcp flags & (rst | ack) == rst drop"
    subprocess.run(["nft", rules], check=True)
    try:
        seen = attempt(Connection(source, int(source_port), destination, int(port)), text)
    finally:
        subprocess.run(["nft", f"delete table inet {TABLE}"], check=True)
    print(json.dumps(seen))


main()
