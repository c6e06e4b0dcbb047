"""A web server on this machine that answers each request as a test has it."""

import contextlib
import http.server
import re
import socket
import struct
import threading

from tiny_sets import ARCHIVE, OTHER_ARCHIVE


class Server(http.server.ThreadingHTTPServer):
    """Serves `files`; `answers` are the first requests' answers, in order, `ranged` every later one's."""

    def __init__(self):
        super().__init__(("127.0.0.1", 0), Handler)
        self.files = {"/tiny.tar.gz": ARCHIVE, "/other.tar.gz": OTHER_ARCHIVE}
        self.answers = []
        self.requests = []  # the Range header of each, None without one
        self.asked, self.go_on = threading.Event(), threading.Event()

    def url(self, path):
        return f"http://127.0.0.1:{self.server_port}/{path}"


class Handler(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        self.server.requests.append(self.headers["Range"])
        answers = self.server.answers
        with contextlib.suppress(BrokenPipeError, ConnectionResetError):
            (answers.pop(0) if answers else ranged)(self, self.server.files[self.path])

    def log_message(self, *arguments):
        pass

    def answer(self, status, body, sent=None, **headers):
        """Announces all of `body`, sends the first `sent` bytes of it and hangs up."""
        self.send_response(status)
        for name, value in {"Content-Length": len(body), **headers}.items():
            self.send_header(name.replace("_", "-"), str(value))
        self.end_headers()
        self.wfile.write(body[:sent])


def whole(request, content, sent=None):
    """A server that does not know Range."""
    request.answer(200, content, sent)


def ranged(request, content, sent=None):
    asked = request.headers["Range"]
    start = int(re.fullmatch(r"bytes=(\d+)-", asked)[1]) if asked else 0
    if start >= len(content):
        request.answer(416, b"", Content_Range=f"bytes */{len(content)}")
    elif asked:
        span = f"bytes {start}-{len(content) - 1}/{len(content)}"
        request.answer(206, content[start:], sent, Content_Range=span)
    else:
        request.answer(200, content, sent)


def first(count, answer=ranged):
    """Breaks off after `count` bytes of the answer."""
    return lambda request, content: answer(request, content, sent=count)


def without_length(request, content):
    request.send_response(200)
    request.end_headers()
    request.wfile.write(content)


def wrong_span(request, content):
    request.answer(206, content[5:], Content_Range=f"bytes 5-{len(content) - 1}/{len(content)}")


def reset(request, content):
    """Resets the connection in place of an answer."""
    request.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    request.connection.close()


def hang_up(request, content):
    """Closes the connection without an answer."""


def stall(request, content):
    """Sends half of the file, and no more until the test says so."""
    request.send_response(200)
    request.send_header("Content-Length", str(len(content)))
    request.end_headers()
    request.wfile.write(content[: len(content) // 2])
    request.server.asked.set()
    request.server.go_on.wait(20)
    request.wfile.write(content[len(content) // 2 :])


def failing(status):
    return lambda request, content: request.send_error(status)


def sending(body):
    return lambda request, content: request.answer(200, body)


@contextlib.contextmanager
def serving():
    """A Server that runs until the end of the block."""
    with Server() as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        try:
            yield server
        finally:
            server.go_on.set()
            server.shutdown()
            thread.join()
