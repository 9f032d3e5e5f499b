"""Calls to AWS on behalf of those who have no client: by boto3, to this server's own endpoint.

    POST /herald/aws {"region": "us-east-1", "service": "elbv2", "operation": "describe_load_balancers", "arguments": {}}

Calls with this module's access key are not written down and meet no fault: they are the lab's own.
"""

import json
import threading

import boto3
from botocore.config import Config
from botocore.exceptions import ClientError

KEY = "lab"
"""Access key and secret of calls that the log and the faults leave out."""


def client(endpoint: str, region: str, service: str):
    """A client that calls once and straight, whatever proxy the machine has."""
    config = Config(retries={"total_max_attempts": 1}, proxies={})
    keys = {"aws_access_key_id": KEY, "aws_secret_access_key": KEY}
    return boto3.session.Session().client(
        service, endpoint_url=endpoint, region_name=region, verify=False, config=config, **keys
    )


class Calls:
    """Makes the calls; clients are made once and kept."""

    def __init__(self, endpoint: str) -> None:
        self.endpoint = endpoint
        self._lock = threading.Lock()
        self._clients: dict = {}

    def answer(self, body: bytes) -> tuple[int, object]:
        """Status and JSON of the answer."""
        try:
            given = json.loads(body)
            operation = getattr(self._client(given["region"], given["service"]), given["operation"])
            found = operation(**given.get("arguments", {}))
        except ClientError as error:
            return 400, {"error": f"{error.response['Error']['Code']}: {error.response['Error']['Message']}"}
        except Exception as error:  # a wrong request, or an answer that boto3 cannot read: told to the test
            return 400, {"error": f"{type(error).__name__}: {error}"}
        found.pop("ResponseMetadata", None)
        return 200, found

    def _client(self, region: str, service: str):
        with self._lock:
            if (region, service) not in self._clients:
                self._clients[region, service] = client(self.endpoint, region, service)
            return self._clients[region, service]
