"""Verifies requests as AWS does: recomputes the SigV4 signature with botocore's signer."""

import calendar
import hashlib
import hmac
import re
import time

from botocore.auth import SigV4Auth
from botocore.awsrequest import AWSRequest
from botocore.credentials import Credentials
from moto.sts.models import sts_backends

CLOCK_SKEW = 15 * 60
HEADER = re.compile(
    r"AWS4-HMAC-SHA256 +Credential=([^/,]+)/(\d{8})/([^/,]+)/([^/,]+)/aws4_request, *"
    r"SignedHeaders=([a-z0-9;_-]+), *Signature=([0-9a-f]{64})$"
)
UNSIGNED = ("AssumeRoleWithWebIdentity", "AssumeRoleWithSAML")
"""Calls that need no signature: they are how a pod gets its credentials."""


class Refused(Exception):
    """The request is not let in."""

    def __init__(self, status: int, code: str, message: str) -> None:
        super().__init__(message)
        self.status, self.code, self.message = status, code, message


class Signer(SigV4Auth):
    """Signs exactly the headers that the client says it has signed."""

    def headers_to_sign(self, request):
        return request.headers


class Signatures:
    """The access keys that are let in: given ones, and those that moto's STS handed out."""

    def __init__(self, keys: dict[str, str]) -> None:
        self.keys = keys

    def check(self, request: dict) -> tuple[str, str, str]:
        """The access key, region and service of a request, or Refused.

        `request` holds method, scheme, path, query, headers (lower case), body, action and service, the last
        being what the request's version says it is for.
        """
        headers = request["headers"]
        given = headers.get("authorization")
        if not given:
            if request["action"] in UNSIGNED:
                return "", "us-east-1", "sts"
            raise Refused(403, "MissingAuthenticationToken", "Request is missing Authentication Token")
        if not (parts := HEADER.match(given)):
            raise Refused(400, "IncompleteSignature", f"Authorization header is not of SigV4 form: {given[:40]!r}")
        key, day, region, service, signed, signature = parts.groups()
        names = signed.split(";")
        stamp = headers.get("x-amz-date", "")
        for needed in ("host", "x-amz-date"):
            if needed not in names or needed not in headers:
                raise Refused(400, "IncompleteSignature", f"Header {needed} must be sent and signed")
        if missing := [name for name in names if name not in headers]:
            raise Refused(400, "IncompleteSignature", f"Signed headers are missing: {', '.join(missing)}")
        if unsigned := [name for name in headers if name.startswith("x-amz-") and name not in names]:
            raise Refused(403, "SignatureDoesNotMatch", f"Headers must be signed: {', '.join(unsigned)}")
        if names != sorted(names):
            raise Refused(400, "IncompleteSignature", "SignedHeaders must be sorted")
        if request["service"] and service != request["service"]:
            text = f"Credential should be scoped to correct service: '{request['service']}'."
            raise Refused(403, "SignatureDoesNotMatch", text)
        digest = hashlib.sha256(request["body"]).hexdigest()
        if headers.get("x-amz-content-sha256", digest) not in (digest, "UNSIGNED-PAYLOAD"):
            raise Refused(403, "SignatureDoesNotMatch", "X-Amz-Content-SHA256 does not match the body")
        self._check_time(stamp, day, service)
        credentials = self._credentials(key, headers.get("x-amz-security-token"))
        wanted = self._signature(request, credentials, region, service, names, stamp)
        if not hmac.compare_digest(wanted, signature):
            text = "The request signature we calculated does not match the signature you provided."
            raise Refused(403, "SignatureDoesNotMatch", text)
        return key, region, service

    @staticmethod
    def _check_time(stamp: str, day: str, service: str) -> None:
        try:
            sent = calendar.timegm(time.strptime(stamp, "%Y%m%dT%H%M%SZ"))
        except ValueError:
            raise Refused(400, "IncompleteSignature", f"X-Amz-Date is no date: {stamp!r}") from None
        if not stamp.startswith(day):
            raise Refused(403, "SignatureDoesNotMatch", "Date in Credential scope does not match X-Amz-Date")
        if abs(time.time() - sent) > CLOCK_SKEW:
            code = "RequestExpired" if service == "ec2" else "SignatureDoesNotMatch"
            raise Refused(403 if service != "ec2" else 400, code, f"Signature expired: {stamp}")

    def _credentials(self, key: str, token: str | None) -> Credentials:
        if key in self.keys and token is None:
            return Credentials(key, self.keys[key])
        for account in list(sts_backends.values()):
            for backend in list(account.values()):
                for role in backend.assumed_roles:
                    if role.access_key_id == key and role.session_token == token:
                        return Credentials(key, role.secret_access_key, token)
        raise Refused(403, "InvalidClientTokenId", "The security token included in the request is invalid")

    @staticmethod
    def _signature(request, credentials, region, service, names, stamp) -> str:
        url = f"{request['scheme']}://{request['headers']['host']}{request['path']}"
        if request["query"]:
            url += f"?{request['query']}"
        headers = {name: request["headers"][name] for name in names}
        again = AWSRequest(method=request["method"], url=url, headers=headers, data=request["body"])
        again.context["timestamp"] = stamp
        signer = Signer(credentials, service, region)
        return signer.signature(signer.string_to_sign(again, signer.canonical_request(again)), again)
