"""Asks URLs over and over and prints twice a second what came of it so far, as one line of JSON.

Each argument is KIND:NAME=URL; KIND is `new` (a connection for each request) or `keep` (after a few such, one connection for all)."""

import http.client
import json
import sys
import threading
import time
import urllib.parse

PAUSE = 0.05
LIMIT = 10
# Where the kernel may make a connection itself, it does so once the first one, through the tunnel, was allowed.
FRESH_FIRST = 5


class Target(threading.Thread):
    def __init__(self, word):
        super().__init__(daemon=True)
        kind, rest = word.split(":", 1)
        self.label, url = rest.split("=", 1)
        self.kept = kind == "keep"
        parts = urllib.parse.urlsplit(url)
        self.host, self.port, self.path = parts.hostname, parts.port or 80, parts.path or "/"
        self.counts = {"ok": 0, "failed": 0, "slowest_ms": 0, "first_ok": 0, "why": "", "by": {}}
        self.connection = None

    def run(self):
        while True:
            began = time.time()
            try:
                self.once()
            except (OSError, http.client.HTTPException) as error:
                self.counts["failed"] += 1
                self.counts["why"] = f"{time.strftime('%H:%M:%S')} {type(error).__name__}: {error}"
                self.connection = None
            took = round((time.time() - began) * 1000)
            self.counts["slowest_ms"] = max(self.counts["slowest_ms"], took)
            time.sleep(PAUSE)

    def once(self):
        connection = self.connection or http.client.HTTPConnection(self.host, self.port, timeout=LIMIT)
        connection.request("GET", self.path)
        response = connection.getresponse()
        body = response.read().decode()
        if response.status != 200:
            raise http.client.HTTPException(f"status {response.status}")
        if self.kept and self.counts["ok"] >= FRESH_FIRST:
            self.connection = connection
        else:
            connection.close()
        self.counts["first_ok"] = self.counts["first_ok"] or time.time()
        self.counts["ok"] += 1
        self.counts["by"][body] = self.counts["by"].get(body, 0) + 1


targets = [Target(word) for word in sys.argv[1:]]
for target in targets:
    target.start()
while True:
    time.sleep(0.5)
    print(json.dumps({target.label: dict(target.counts, by=dict(target.counts["by"])) for target in targets}), flush=True)
