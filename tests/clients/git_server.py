"""A git server over HTTP or HTTPS: `git http-backend` behind a small web server.

usage: git_server.py ROOT [CERTIFICATE KEY]

Listens on 127.0.0.1, port chosen by the system; prints the port as its first line. Anybody may push.
"""

import http.server
import os
import ssl
import subprocess
import sys
import tempfile


class Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def do_GET(self):
        if self.path == "/hello":
            self.send_response(200)
            self.send_header("Content-Length", "5")
            self.end_headers()
            self.wfile.write(b"hello")
            return
        self.backend()

    def do_POST(self):
        self.backend()

    def backend(self):
        path, _, query = self.path.partition("?")
        environment = {
            "PATH": os.environ["PATH"],
            "GIT_PROJECT_ROOT": self.server.root,
            "GIT_HTTP_EXPORT_ALL": "1",
            "REMOTE_USER": "tester",
            "REMOTE_ADDR": self.client_address[0],
            "REQUEST_METHOD": self.command,
            "PATH_INFO": path,
            "QUERY_STRING": query,
            "CONTENT_TYPE": self.headers.get("Content-Type", ""),
        }
        for field in ("Content-Encoding", "Git-Protocol"):
            if field in self.headers:
                environment["HTTP_" + field.upper().replace("-", "_")] = self.headers[field]
        with tempfile.TemporaryFile() as body:
            length = self.read_body(body)
            body.seek(0)
            environment["CONTENT_LENGTH"] = str(length)
            answer = subprocess.run(
                ["git", "http-backend"], stdin=body, stdout=subprocess.PIPE, env=environment, check=True
            ).stdout
        head, _, content = answer.partition(b"\r\n\r\n")
        status, fields = 200, []
        for line in head.decode().split("\r\n"):
            name, _, value = line.partition(":")
            if name.lower() == "status":
                status = int(value.split()[0])
            else:
                fields.append((name, value.strip()))
        self.send_response(status)
        for name, value in fields:
            self.send_header(name, value)
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)

    def read_body(self, out):
        if self.headers.get("Transfer-Encoding", "").lower() == "chunked":
            total = 0
            while True:
                size = int(self.rfile.readline().split(b";")[0], 16)
                out.write(self.rfile.read(size))
                total += size
                self.rfile.readline()
                if size == 0:
                    return total
        length = int(self.headers.get("Content-Length", 0))
        out.write(self.rfile.read(length))
        return length

    def log_message(self, *_):
        pass


def main():
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.root = sys.argv[1]
    if len(sys.argv) > 2:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(sys.argv[2], sys.argv[3])
        server.socket = context.wrap_socket(server.socket, server_side=True)
    print(server.server_address[1], flush=True)
    server.serve_forever()


main()
