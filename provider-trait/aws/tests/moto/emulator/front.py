"""The front: a WSGI application around moto's."""

import json
import threading
import time
from urllib.parse import parse_qs

from . import control, signature
from .worlds import TEST_KEY, WORLDS, account_of

_ELB = (
    "<ErrorResponse><Error><Type>Sender</Type><Code>{code}</Code><Message>{message}</Message></Error>"
    "<RequestId>0</RequestId></ErrorResponse>"
)
_EC2 = (
    "<Response><Errors><Error><Code>{code}</Code><Message>{message}</Message></Error></Errors>"
    "<RequestID>0</RequestID></Response>"
)


class Front:
    """Checks, disturbs, records, and passes on."""

    def __init__(self, moto):
        self._moto = moto
        # moto is not made for threads.
        self._lock = threading.Lock()

    def __call__(self, environ, start_response):
        path = environ.get("PATH_INFO", "/")
        length = int(environ.get("CONTENT_LENGTH") or 0)
        body = environ["wsgi.input"].read(length) if length else b""
        if path.startswith("/_herald/"):
            status, answer = control.handle(environ["REQUEST_METHOD"], path, body, self._lock)
            data = json.dumps(answer).encode()
            start_response(status, [("Content-Type", "application/json"), ("Content-Length", str(len(data)))])
            return [data]
        headers = _headers(environ)
        try:
            found = signature.parts(headers.get("authorization"))
            query = environ.get("QUERY_STRING", "")
            url = f"{environ['wsgi.url_scheme']}://{headers.get('host', '')}{path}" + (f"?{query}" if query else "")
            signature.check(environ["REQUEST_METHOD"], url, headers, body, found)
        except signature.Unsigned as error:
            service = "ec2" if "/ec2/aws4_request" in headers.get("authorization", "") else "elasticloadbalancing"
            return _error(start_response, service, 403, "SignatureDoesNotMatch", str(error))
        account = account_of(found["key"])
        environ["HTTP_X_MOTO_ACCOUNT_ID"] = account
        action = parse_qs(body.decode("utf-8", "replace")).get("Action", ["?"])[0]
        own = found["key"].startswith(TEST_KEY)
        return self._pass(environ, start_response, body, action, found["service"], WORLDS.of(account), own)

    def _pass(self, environ, start_response, body, action, service, world, own):
        if own:
            return self._moto_answer(environ, start_response, body)
        changes = not action.startswith("Describe")
        with world.lock:
            dead = world.dead
            lost = False
            if changes and not dead:
                crash = world.crash
                hit = crash is not None and crash[0] == world.changing
                world.changing += 1
                if hit:
                    world.dead = True
                    dead, lost = crash[1] == "before", crash[1] == "after"
            fault = None if dead else _fault(world, action, changes)
            entry = {"action": action, "service": service, "changes": changes, "code": "ok", "at": world.now()}
        if dead:
            return _error(start_response, service, 503, "InternalFailure", "the caller died")
        if fault:
            time.sleep(fault.get("delay", 0))
            if fault.get("code"):
                entry["code"] = fault["code"]
                world.calls.append(entry)
                return _error(start_response, service, fault.get("status", 400), fault["code"], "injected by the test")
        answer = []
        status = []
        inner = self._moto_answer(environ, lambda s, h, e=None: (status.append(s), answer.append(h)), body)
        if not status[0].startswith("2"):
            entry["code"] = status[0]
        world.calls.append(entry)
        if lost:
            return _error(start_response, service, 503, "InternalFailure", "the answer was lost")
        start_response(status[0], answer[0])
        return inner

    def _moto_answer(self, environ, start_response, body):
        import io

        environ["wsgi.input"] = io.BytesIO(body)
        with self._lock:
            return list(self._moto(environ, start_response))


def _headers(environ):
    headers = {k[5:].replace("_", "-").lower(): v for k, v in environ.items() if k.startswith("HTTP_")}
    for name in ("CONTENT_TYPE", "CONTENT_LENGTH"):
        if environ.get(name):
            headers[name.replace("_", "-").lower()] = environ[name]
    return headers


def _fault(world, action, changes):
    for fault in world.faults:
        which = fault.get("action", "")
        if fault["count"] > 0 and (which == action or (which == "" and changes)):
            fault["count"] -= 1
            return fault
    return None


def _error(start_response, service, status, code, message):
    text = (_EC2 if service == "ec2" else _ELB).format(code=code, message=message).encode()
    start_response(f"{status} {code}", [("Content-Type", "text/xml"), ("Content-Length", str(len(text)))])
    return [text]
