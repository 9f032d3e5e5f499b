"""AWS's own client for a test: a line of JSON in, a line of JSON out.

in:  {"service": "elbv2", "call": "describe_listeners", "with": {"LoadBalancerArn": "…"}}
out: {"answer": {…}}, all pages in one, or {"error": "LoadBalancerNotFound: …"}
"""

import json
import os
import sys

import boto3
from botocore.config import Config
from botocore.exceptions import BotoCoreError, ClientError

# A machine's own bundle would be used instead of what `verify` says.
for name in ("REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE", "AWS_CA_BUNDLE"):
    os.environ.pop(name, None)
# Each call once and straight to the server, whatever proxy the machine has.
CONFIG = Config(retries={"total_max_attempts": 1}, proxies={})
clients = {}


def client(service: str):
    if service not in clients:
        clients[service] = boto3.client(
            service,
            endpoint_url=os.environ["HERALD_MOTO_ENDPOINT"],
            region_name=os.environ["HERALD_MOTO_REGION"],
            aws_access_key_id=os.environ["HERALD_MOTO_KEY"],
            aws_secret_access_key=os.environ["HERALD_MOTO_KEY"],
            verify=os.environ.get("HERALD_MOTO_CA", True),
            config=CONFIG,
        )
    return clients[service]


def call(asked: dict) -> dict:
    to, name, arguments = client(asked["service"]), asked["call"], asked["with"]
    if to.can_paginate(name):
        return to.get_paginator(name).paginate(**arguments).build_full_result()
    return getattr(to, name)(**arguments)


for line in sys.stdin:
    try:
        said = {"answer": call(json.loads(line))}
    except ClientError as error:
        said = {"error": f"{error.response['Error']['Code']}: {error}"}
    except (BotoCoreError, AttributeError, ValueError, TypeError, KeyError) as error:
        said = {"error": f"{type(error).__name__}: {error}"}
    print(json.dumps(said, default=str), flush=True)
