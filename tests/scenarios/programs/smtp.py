"""A mail server that speaks first, and a client that sends it a message, standard library only.

smtp.py serve PORT | smtp.py check HOST PORT
"""

import smtplib
import socket
import socketserver
import sys


class Session(socketserver.StreamRequestHandler):
    def say(self, text):
        self.wfile.write(text.encode() + b"\r\n")

    def handle(self):
        self.say("220 ready")
        while line := self.rfile.readline():
            verb = line[:4].upper()
            if verb == b"DATA":
                self.say("354 go on")
                size = 0
                while (line := self.rfile.readline()) != b".\r\n":
                    size += len(line)
                self.say(f"250 took {size} bytes")
            elif verb == b"QUIT":
                self.say("221 bye")
                return
            else:
                self.say("250 ok")


class Server(socketserver.ThreadingTCPServer):
    address_family = socket.AF_INET6
    allow_reuse_address = True
    daemon_threads = True


def check(host, port):
    with smtplib.SMTP(host, port, "client.example", timeout=10) as server:
        refused = server.sendmail("a@example.com", ["b@example.com"], "Subject: hello\r\n\r\n" + "text\r\n" * 1000)
        assert refused == {}, refused
    print("smtp ok")


if __name__ == "__main__":
    if sys.argv[1] == "serve":
        Server(("::", int(sys.argv[2])), Session).serve_forever()
    else:
        check(sys.argv[2], int(sys.argv[3]))
