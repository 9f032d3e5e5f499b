"""Runs the emulator: prints `{"url": …}` on its first line once it answers, and ends with its standard input."""

import argparse
import json
import logging
import sys
import threading

from moto.moto_server.werkzeug_app import DomainDispatcherApplication, MotoRequestHandler, create_backend_app
from werkzeug.serving import make_server

from . import cluster, rules
from .front import Front
from .worlds import WORLDS


def main():
    parser = argparse.ArgumentParser(prog="emulator", description=__doc__)
    parser.add_argument("--host", default="127.0.0.1")
    parser.add_argument("--port", type=int, default=0, help="0 picks a free one")
    parser.add_argument("--tls-certificate", help="PEM file; with --tls-key serves HTTPS")
    parser.add_argument("--tls-key", help="PEM file")
    for name, what in (("provisioning", "a new load balancer is active"), ("registration", "a new target is healthy"),
                       ("draining", "a deregistered target is gone")):
        parser.add_argument(f"--{name}", type=float, default=0, help=f"seconds until {what}")
    parser.add_argument("--detach", action="store_true", help="do not end with the standard input")
    args = parser.parse_args()
    for name in ("provisioning", "registration", "draining"):
        WORLDS.defaults[name] = getattr(args, name)
    logging.getLogger("werkzeug").setLevel(logging.ERROR)
    rules.apply()
    tls = (args.tls_certificate, args.tls_key) if args.tls_certificate else None
    app = Front(DomainDispatcherApplication(create_backend_app))
    server = make_server(args.host, args.port, app, threaded=True, ssl_context=tls, request_handler=MotoRequestHandler)
    cluster.URL = f"{'https' if tls else 'http'}://{args.host}:{server.server_port}"
    print(json.dumps({"url": cluster.URL}), flush=True)
    if not args.detach:
        threading.Thread(target=lambda: (sys.stdin.read(), server.shutdown()), daemon=True).start()
    server.serve_forever()


if __name__ == "__main__":
    main()
