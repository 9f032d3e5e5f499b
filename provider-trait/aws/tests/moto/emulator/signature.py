"""Signatures, computed again by botocore: what moto does not look at."""

import re

from botocore.auth import SigV4Auth
from botocore.awsrequest import AWSRequest
from botocore.credentials import Credentials

from .worlds import SECRET

_AUTHORIZATION = re.compile(
    r"AWS4-HMAC-SHA256 Credential=(?P<key>[^/]+)/(?P<date>\d{8})/(?P<region>[^/]+)/(?P<service>[^/]+)/aws4_request, "
    r"SignedHeaders=(?P<headers>[^,]+), Signature=(?P<signature>[0-9a-f]{64})"
)


class Unsigned(Exception):
    """The request carries no signature, or a wrong one."""


def parts(authorization):
    """Key, region, service, signed headers and signature of an Authorization header."""
    match = _AUTHORIZATION.fullmatch(authorization or "")
    if not match:
        raise Unsigned("no SigV4 Authorization header")
    return match.groupdict()


def check(method, url, headers, body, found):
    """Raises `Unsigned` unless the signature is the one botocore computes for this request."""
    signed = found["headers"].split(";")
    missing = [name for name in ("host", "x-amz-date") if name not in signed]
    if missing:
        raise Unsigned(f"not signed: {', '.join(missing)}")
    request = AWSRequest(method=method, url=url, data=body)
    for name in signed:
        if name not in headers:
            raise Unsigned(f"signed header {name} was not sent")
        request.headers[name] = headers[name]
    request.context["timestamp"] = headers["x-amz-date"]
    token = headers.get("x-amz-security-token")
    auth = SigV4Auth(Credentials(found["key"], SECRET, token), found["service"], found["region"])
    canonical = auth.canonical_request(request)
    expected = auth.signature(auth.string_to_sign(request, canonical), request)
    if expected != found["signature"]:
        raise Unsigned("the signature does not match the request")
