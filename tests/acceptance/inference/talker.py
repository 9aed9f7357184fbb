"""Owns: conversations from inside a sandbox, byte for byte, for as long as the test lasts.

Run there by the system's Python: `python3 -I -c TEXT`. Standard library only. Each line of its
standard input is one conversation (JSON); each runs on a thread of its own; the answer is a line
of JSON with the same `id`, in the order in which they end. It ends with its input.

A conversation: id, to (host:port), tls (the name in the ClientHello; absent: plain), acts. Acts:

    {"send": text}                       latin-1, at once
    {"flood": text, "times": n}          the same text again and again, as far as it is taken
    {"drip": text, "gap_s": s}           byte by byte, until something comes back
    {"read": until, "wait_s": s}         until is {"responses": n}, {"count": [text, n]} or
                                         {"end": true}; silence of wait_s ends it, too
    {"pause": s}                         do nothing
    {"leave": true}                      close at once, without a good-bye

The answer: received (latin-1), pieces ([seconds, bytes] as they came), fails, end (open, closed,
reset, left), seconds.
"""

import json
import re
import select
import socket
import ssl
import struct
import sys
import threading
import time

CONNECT_S = 5.0
LENGTH = re.compile(r"(?i)\r\ncontent-length: *(\d+)")
CHUNKED = re.compile(r"(?i)\r\ntransfer-encoding: *chunked")
writing = threading.Lock()


def body_end(text, start, head):
    """Where the body ends that begins at `start`; None where it is not all there."""
    length = LENGTH.search(head)
    if length:
        end = start + int(length[1])
        return end if len(text) >= end else None
    if not CHUNKED.search(head):
        return start
    while True:
        line = text.find("\r\n", start)
        if line < 0:
            return None
        size = int(text[start:line], 16)
        start = line + 2 + size + 2
        if start > len(text):
            return None
        if size == 0:
            return start


def whole_responses(text):
    """How many final responses are complete."""
    count, start = 0, 0
    while True:
        head = text.find("\r\n\r\n", start)
        if head < 0:
            return count
        fields = text[start : head + 2]
        interim = fields.startswith("HTTP/1.1 1")
        end = head + 4 if interim else body_end(text, head + 4, fields)
        if end is None:
            return count
        count, start = count + (not interim), end


class Conversation:
    """One connection and what came over it."""

    def __init__(self, words):
        self.words = words
        self.began = time.monotonic()
        self.text = ""
        self.said = {"id": words["id"], "fails": None, "end": "open", "pieces": []}

    def run(self):
        """Do every act."""
        try:
            with self.connect() as sock:
                for act in self.words["acts"]:
                    self.act(sock, act)
        except OSError as error:
            if isinstance(error, ConnectionError) and self.text:
                self.said["end"] = "reset"
            else:
                self.said["fails"] = repr(error)
        self.said["received"] = self.text
        self.said["seconds"] = time.monotonic() - self.began
        with writing:
            print(json.dumps(self.said), flush=True)

    def connect(self):
        host, _, port = self.words["to"].rpartition(":")
        sock = socket.create_connection((host, int(port)), CONNECT_S)
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        if "tls" in self.words:
            context = ssl.create_default_context()
            context.set_alpn_protocols(["http/1.1"])
            sock = context.wrap_socket(sock, server_hostname=self.words["tls"])
        return sock

    def act(self, sock, act):
        if self.said["end"] != "open":
            return
        if "send" in act:
            sock.sendall(act["send"].encode("latin-1"))
        elif "flood" in act:
            self.flood(sock, act["flood"].encode("latin-1"), act["times"])
        elif "drip" in act:
            self.drip(sock, act["drip"].encode("latin-1"), act["gap_s"])
        elif "read" in act:
            sock.settimeout(act["wait_s"])
            while self.said["end"] == "open" and not self.enough(act["read"]):
                self.read(sock)
        elif "pause" in act:
            time.sleep(act["pause"])
        else:
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            self.said["end"] = "left"

    def flood(self, sock, data, times):
        for _ in range(times):
            try:
                sock.sendall(data)
            except ConnectionError:  # refused in mid-flood: the answer may be there all the same
                return

    def drip(self, sock, data, gap_s):
        for at in range(len(data)):
            sock.sendall(data[at : at + 1])
            if select.select([sock], [], [], gap_s)[0]:
                sock.settimeout(gap_s)
                self.read(sock)
                if self.text or self.said["end"] != "open":
                    return

    def read(self, sock):
        try:
            data = sock.recv(65536)
        except TimeoutError:
            self.said["end"] = "silent"
            return
        except ssl.SSLEOFError:  # the end of the connection without the end of TLS: cut off
            self.said["end"] = "cut"
            return
        self.said["pieces"].append([time.monotonic() - self.began, len(data)])
        self.text += data.decode("latin-1")
        if not data:
            self.said["end"] = "closed"

    def enough(self, until):
        if "responses" in until:
            return whole_responses(self.text) >= until["responses"]
        if "count" in until:
            text, times = until["count"]
            return self.text.count(text) >= times
        return False


def main():
    """One thread per line."""
    for line in sys.stdin:
        threading.Thread(target=Conversation(json.loads(line)).run, daemon=True).start()


main()
