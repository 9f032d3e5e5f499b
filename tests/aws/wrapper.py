"""moto as strict as AWS: a WSGI layer around moto's server, for tests of Herald's AWS provider.

Each request is verified (signatures.py), written down (log.py), met by a fault if one is due (faults.py), and carried
out by moto with the rules it lacks (rules/), on a clock that tests control (clocks.py). control.py is how tests talk
to it, on the same port and on a Unix socket that needs no network and no TLS.

    python wrapper.py --socket /tmp/moto.sock

prints one line of JSON with the endpoint once it listens.
"""

import argparse
import io
import json
import os
import re
import shutil
import signal
import sys
import threading
import time
from urllib.parse import parse_qsl
from xml.sax.saxutils import escape

# Before moto is imported: neither the machine's credentials nor its metadata service are any of our business.
os.environ["AWS_EC2_METADATA_DISABLED"] = "true"

from calls import KEY, Calls
from control import PREFIX, Control
from faults import Faults
from log import Log
from moto.server import DomainDispatcherApplication, create_backend_app
from rules import install
from signatures import Refused, Signatures
from werkzeug.serving import WSGIRequestHandler, make_server

SERVICES = {"2015-12-01": "elasticloadbalancing", "2016-11-15": "ec2", "2011-06-15": "sts"}
"""Version of a query request to the service it is for."""
REASONS = {400: "Bad Request", 403: "Forbidden", 500: "Internal Server Error", 503: "Service Unavailable"}
CODE = re.compile(rb"<Code>([^<]+)</Code>")


def error(service: str, status: int, code: str | None, message: str) -> tuple[int, str, bytes]:
    """An error in the form the service gives it: status, content type, body."""
    if code is None:
        return status, "text/html", f"<html>{escape(message)}</html>".encode()
    inner = f"<Code>{escape(code)}</Code><Message>{escape(message)}</Message>"
    kind = "Sender" if status < 500 else "Receiver"
    if service == "ec2":
        body = f"<Response><Errors><Error>{inner}</Error></Errors><RequestID>herald</RequestID></Response>"
    elif service in ("elasticloadbalancing", "sts"):
        body = f"<ErrorResponse><Error><Type>{kind}</Type>{inner}</Error><RequestId>herald</RequestId></ErrorResponse>"
    else:
        return status, "application/x-amz-json-1.1", json.dumps({"__type": code, "message": message}).encode()
    return status, "text/xml", body.encode()


class Quiet(WSGIRequestHandler):
    """Leaves the log of requests to log.py, and keeps connections open as AWS does."""

    protocol_version = "HTTP/1.1"

    def log_request(self, *_arguments):
        pass


class Wrapper:
    """The WSGI application."""

    def __init__(self, keys: dict[str, str]) -> None:
        self.faults, self.log, self.signatures = Faults(), Log(), Signatures(keys)
        self.control = Control(self.faults, self.log)
        self.calls: Calls | None = None
        self.moto = DomainDispatcherApplication(create_backend_app)
        # moto's stores are plain dictionaries: one call at a time keeps every call whole.
        self.one_at_a_time = threading.Lock()

    def __call__(self, environ, start_response):
        path = environ.get("PATH_INFO", "/")
        body = environ["wsgi.input"].read(int(environ.get("CONTENT_LENGTH") or 0))
        if path == f"{PREFIX}aws" and self.calls:
            # It comes back as a call to AWS: not under the lock.
            status, found = self.calls.answer(body)
            answer = status, "application/json", json.dumps(found, default=str).encode()
        elif path.startswith(PREFIX):
            with self.one_at_a_time:
                status, found = self.control.answer(environ["REQUEST_METHOD"], path, environ["QUERY_STRING"], body)
            answer = status, "application/json", json.dumps(found).encode()
        else:
            answer = self._call(environ, path, body)
        status, kind, content = answer
        start_response(
            f"{status} {REASONS.get(status, 'OK' if status < 400 else 'Error')}",
            [("Content-Type", kind), ("Content-Length", str(len(content)))],
        )
        return [content]

    def _call(self, environ, path: str, body: bytes) -> tuple[int, str, bytes]:
        """A call to AWS."""
        sent = {key[5:]: value for key, value in environ.items() if key.startswith("HTTP_")}
        headers = {name.replace("_", "-").lower(): value for name, value in sent.items()}
        if "CONTENT_TYPE" in environ:
            headers["content-type"] = environ["CONTENT_TYPE"]
        if environ.get("CONTENT_LENGTH"):
            headers["content-length"] = environ["CONTENT_LENGTH"]
        form = dict(parse_qsl(body.decode("utf-8", "replace"), keep_blank_values=True))
        form = form or dict(parse_qsl(environ["QUERY_STRING"], keep_blank_values=True))
        action = form.pop("Action", "") or headers.get("x-amz-target", "").rpartition(".")[2]
        service = SERVICES.get(form.pop("Version", ""), "")
        request = {
            "method": environ["REQUEST_METHOD"],
            "scheme": environ["wsgi.url_scheme"],
            "path": environ.get("REQUEST_URI", path).partition("?")[0],
            "query": environ["QUERY_STRING"],
            "headers": headers,
            "body": body,
            "action": action,
            "service": service,
        }
        try:
            key, region, service = self.signatures.check(request)
        except Refused as refused:
            call = self.log.begin(service, action, "", "", form)
            self.log.end(call, refused.status, refused.code, False)
            return error(service, refused.status, refused.code, refused.message)
        hidden = key == KEY
        call = self.log.begin(service, action, region, key, form, hidden)
        fault = None if hidden else self.faults.take(action, region, key, form)
        answer, injected = None, False
        fails = fault is not None and (fault.status is not None or fault.code is not None)
        if not fails or fault.when == "after":
            answer = self._moto(environ, body)
        if fault is not None:
            time.sleep(fault.delay)
        if fails:
            answer, injected = error(service, fault.status or 503, fault.code, fault.message), True
        status, _, content = answer
        found = CODE.search(content) if status >= 400 else None
        code = found.group(1).decode() if found else f"Http{status}" if status >= 400 else ""
        self.log.end(call, status, code, injected)
        return answer

    def _moto(self, environ, body: bytes) -> tuple[int, str, bytes]:
        """Carried out by moto."""
        answered = {}

        def start(status, headers, _exc_info=None):
            answered["status"] = int(status.split()[0])
            answered["kind"] = dict(headers).get("Content-Type", "text/xml")

        environ["wsgi.input"] = io.BytesIO(body)
        with self.one_at_a_time:
            try:
                chunks = self.moto(environ, start)
                content = b"".join(chunks)
                if hasattr(chunks, "close"):
                    chunks.close()
            except Exception as problem:  # a defect of moto or of the rules: told to the test, as AWS would
                print(f"moto failed: {problem!r}", file=sys.stderr, flush=True)
                raise
        return answered["status"], answered["kind"], content


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--host", default="127.0.0.1", help="address to listen on")
    parser.add_argument("--port", type=int, default=0, help="port; 0 takes a free one")
    parser.add_argument("--socket", required=True, help="Unix socket for control calls")
    parser.add_argument("--certificate", help="PEM file: serve over TLS")
    parser.add_argument("--key", help="PEM file of the certificate's key")
    parser.add_argument("--with-parent", action="store_true", help="end when the process that started it has ended")
    parser.add_argument("--folder", help="removed when that process has ended")
    keys = "let in besides test=test and other=other"
    parser.add_argument("--access-key", action="append", default=[], metavar="ID=SECRET", help=keys)
    return parser.parse_args()


def end_with(parent: int, folder: str | None) -> None:
    """Ends this process when its parent has ended, even by kill -9, and removes the folder it was given."""
    while os.getppid() == parent:
        time.sleep(1)
    if folder:
        shutil.rmtree(folder, ignore_errors=True)
    os._exit(0)


def main() -> None:
    given = arguments()
    if given.with_parent:
        threading.Thread(target=end_with, args=(os.getppid(), given.folder), daemon=True).start()
    keys = {"test": "test", "other": "other", KEY: KEY} | dict(one.split("=", 1) for one in given.access_key)
    install()
    application = Wrapper(keys)
    tls = (given.certificate, given.key) if given.certificate else None
    common = {"threaded": True, "request_handler": Quiet}
    aws = make_server(given.host, given.port, application, ssl_context=tls, **common)
    control = make_server(f"unix://{given.socket}", 0, application, **common)
    for one in (aws, control):
        one.daemon_threads = True
    signal.signal(signal.SIGTERM, lambda *_: os._exit(0))
    threading.Thread(target=control.serve_forever, daemon=True).start()
    host = f"[{given.host}]" if ":" in given.host else given.host
    endpoint = f"http{'s' if tls else ''}://{host}:{aws.server_port}"
    application.calls = Calls(endpoint)
    print(json.dumps({"endpoint": endpoint}), flush=True)
    aws.serve_forever()


if __name__ == "__main__":
    main()
