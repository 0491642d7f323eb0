"""Answers every HTTP request with the host's name, and keeps connections. Tells when the kubelet first found it ready."""

import http.server
import signal
import socket
import sys
import threading
import time


class Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True
    probed = False

    def do_GET(self):
        body = socket.gethostname().encode()
        self.send_response(200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)
        if not Handler.probed and self.headers.get("User-Agent", "").startswith("kube-probe"):
            Handler.probed = True
            print(f"ready {time.time():.3f}", flush=True)

    def log_message(self, *_):
        pass


class Server(http.server.ThreadingHTTPServer):
    address_family = socket.AF_INET6
    daemon_threads = True
    request_queue_size = 128


print(f"started {time.time():.3f}", flush=True)
server = Server(("::", int(sys.argv[1])), Handler)
signal.signal(signal.SIGTERM, lambda *_: threading.Thread(target=server.shutdown).start())
server.serve_forever(poll_interval=0.1)
