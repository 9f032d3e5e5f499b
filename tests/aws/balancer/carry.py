"""The program: reads the API, forwards, reports health. Ends with the cluster."""

import argparse
import http.client
import ipaddress
import json
import os
import socket
import subprocess
import sys
import time
import traceback
from pathlib import Path

from calls import client

from balancer import checks, rules
from balancer.model import Balancer, Group, Listener, Target, version
from balancer.places import Places
from balancer.proxy import MARK, Proxy
from balancer.read import Reader

PAUSE = 0.2
"""Seconds between two looks at the API."""
ANEW = 10
"""Seconds after which everything is read again, changed or not."""


class Control(http.client.HTTPConnection):
    """The wrapper's control socket."""

    def __init__(self, path: str) -> None:
        super().__init__("control", timeout=60)
        self.path = path

    def connect(self) -> None:
        self.sock = socket.socket(socket.AF_UNIX)
        self.sock.settimeout(self.timeout)
        self.sock.connect(self.path)


def control(path: str, method: str, name: str, body=None):
    connection = Control(path)
    try:
        connection.request(method, f"/herald/{name}", None if body is None else json.dumps(body))
        answer = connection.getresponse()
        text = answer.read().decode()
    finally:
        connection.close()
    if answer.status != 200:
        raise RuntimeError(f"{method} {name}: {answer.status}: {text}")
    return json.loads(text)


def run(*command: str, given: str | None = None, may_fail: bool = False) -> None:
    done = subprocess.run(command, input=given, capture_output=True, text=True)
    if done.returncode != 0 and not may_fail:
        raise RuntimeError(f"{' '.join(command)}: {done.stderr.strip()}\n{given or ''}")


class Carrier:
    """What is forwarded now."""

    def __init__(self, given: argparse.Namespace) -> None:
        self.given = given
        clients = [client(given.endpoint, given.region, service) for service in ("elbv2", "ec2")]
        self.reader = Reader(*clients, dict(one.split("=") for one in given.twin))
        self.places, self.proxy = Places(), Proxy(given.folder, given.certificates)
        self.checks = checks.Checks(self.report)
        self.balancers: list[Balancer] = []
        self.addresses: dict[str, tuple[str, ...]] = {}
        self.bare: list[Listener] = []
        """Listeners, their groups without targets."""
        self.listeners: list[Listener] = []
        self.rules, self.held = "", set()
        self.seen, self.read_at = -1, 0.0
        self.passes, self.names = 0, {}

    def prepare(self) -> None:
        """What a connection with the client's address needs to be found again on its way back."""
        for family, everything in (("-4", "0.0.0.0/0"), ("-6", "::/0")):
            run("ip", family, "rule", "add", "fwmark", str(MARK), "lookup", str(MARK))
            run("ip", family, "route", "replace", "local", everything, "dev", "lo", "table", str(MARK))

    def look(self) -> None:
        """One pass."""
        changes = control(self.given.control, "GET", "changes")["changes"]
        waits = any(not one.active for one in self.balancers)
        if changes != self.seen or waits or time.monotonic() > self.read_at + ANEW:
            self.read()
        groups = {one.group.arn: one.group for one in self.bare if one.group}
        full = {arn: self.reader.with_targets(group) for arn, group in groups.items()}
        listeners = [with_group(one, full) for one in self.bare]
        self.checks.want(self.probes(full))
        self.hold()
        self.forward(listeners)
        self.proxy.apply(listeners)
        self.cut(listeners)
        self.release()
        # Last: a pass that failed is done again, with the same differences.
        self.listeners, self.seen = listeners, changes
        self.passes += 1
        self.tell()

    def read(self) -> None:
        self.balancers = self.reader.balancers()
        self.addresses = self.places.give(self.balancers)
        groups = self.reader.groups() if self.balancers else {}
        self.bare = []
        for one in self.balancers:
            if one.active:
                self.bare += self.reader.listeners(one, self.addresses[one.arn], groups)
        self.read_at = time.monotonic()

    def probes(self, groups: dict[str, Group]) -> list[checks.Probe]:
        return [
            checks.probe(group, target, self.given.speed)
            for group in groups.values()
            for target in group.targets
            if target.state != "draining"
        ]

    def report(self, one: checks.Probe, state: str | None) -> None:
        health = {"region": self.given.region, "group": one.group, "id": one.target, "port": one.port, "state": state}
        try:
            control(self.given.control, "POST", "health", [health])
        except (OSError, RuntimeError) as error:
            print(f"cannot report {health}: {error}", file=sys.stderr, flush=True)
        print(f"{one.target}:{one.port} of {one.group.split('/')[-2]}: {state}", flush=True)

    def wanted(self) -> set[str]:
        return {address for one in self.balancers if one.active for address in self.addresses[one.arn]}

    def hold(self) -> None:
        for address in sorted(self.wanted() - self.held):
            nodad = ["nodad"] if version(address) == 6 else []
            bits = ipaddress.ip_address(address).max_prefixlen
            run("ip", "address", "add", f"{address}/{bits}", "dev", "lo", *nodad)
            self.held.add(address)

    def release(self) -> None:
        for address in sorted(self.held - self.wanted()):
            bits = ipaddress.ip_address(address).max_prefixlen
            run("ip", "address", "del", f"{address}/{bits}", "dev", "lo")
            self.held.discard(address)

    def forward(self, listeners: list[Listener]) -> None:
        text = rules.render(listeners, self.given.near, MARK)
        if text != self.rules:
            run("nft", "-f", "-", given=text)
            self.rules = text

    def cut(self, listeners: list[Listener]) -> None:
        """Ends the connections that AWS would end."""
        now = {(one.arn, address): one for one in listeners for address in one.addresses}
        for before in self.listeners:
            for address in before.addresses:
                left = now.get((before.arn, address))
                if left is None or left.port != before.port:
                    cut_listener(address, before.port)
                else:
                    for target in ended(before, left):
                        cut_target(address, before.port, target)

    def tell(self) -> None:
        """Says what names mean, and how many passes are done: what was so before a pass began is forwarded after it."""
        names = {one.name: self.addresses[one.arn] for one in self.balancers if one.active}
        if names != self.names:
            lines = [f"{address} {name}" for name, all_of_it in names.items() for address in all_of_it]
            write_in_place(self.given.hosts, "".join(f"{line}\n" for line in ["127.0.0.1 localhost", *lines]))
            self.names = names
        told = Path(f"{self.given.folder}/carried.json")
        new = told.with_suffix(".new")
        new.write_text(json.dumps({"passes": self.passes, "hostnames": names}))
        os.replace(new, told)


def with_group(listener: Listener, groups: dict[str, Group]) -> Listener:
    group = groups.get(listener.group.arn) if listener.group else None
    return Listener(**{**vars(listener), "group": group})


def ended(before: Listener, now: Listener) -> list[Target]:
    """Targets whose connections end now: AWS ends them only where an attribute says so."""
    if before.group is None or now.group is None or before.group.arn != now.group.arn:
        return []
    there = {(one.id, one.port): one for one in now.group.targets}
    chosen = {(one.id, one.port) for one in now.group.chosen()}
    found = []
    for target in before.group.targets:
        left = there.get((target.id, target.port))
        if left is None:
            gone = now.group.on("deregistration_delay.connection_termination.enabled")
        else:
            failed = (left.state, target.state) == ("unhealthy", "healthy") and (left.id, left.port) not in chosen
            gone = failed and now.group.on("target_health_state.unhealthy.connection_termination.enabled")
        if gone:
            found.append(target)
    return found


def family(address: str) -> tuple[str, str]:
    return ("-f", "ipv6") if version(address) == 6 else ("-f", "ipv4")


def cut_listener(address: str, port: int) -> None:
    for protocol in ("tcp", "udp"):
        flow = ["-p", protocol, "--orig-dst", address, "--orig-port-dst", str(port)]
        run("conntrack", "-D", *family(address), *flow, may_fail=True)
    run("ss", "-K", "-tn", "src", address, "sport", "=", f":{port}", may_fail=True)


def cut_target(address: str, port: int, target: Target) -> None:
    if version(address) == version(target.address):
        for protocol in ("tcp", "udp"):
            flow = ["-p", protocol, "--orig-dst", address, "--orig-port-dst", str(port)]
            flow += ["--reply-src", target.address, "--reply-port-src", str(target.port)]
            run("conntrack", "-D", *family(address), *flow, may_fail=True)
    run("ss", "-K", "-tn", "dst", target.address, "dport", "=", f":{target.port}", may_fail=True)


def write_in_place(path: str, text: str) -> None:
    """By one write, and never shorter than before: the file is mounted where it is, and read at any time."""
    there = os.path.getsize(path) if os.path.exists(path) else 0
    content = text.encode().ljust(there, b"\n")
    file = os.open(path, os.O_WRONLY | os.O_CREAT, 0o644)
    try:
        os.pwrite(file, content, 0)
    finally:
        os.close(file)


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--endpoint", required=True, help="of EC2 and ELBv2")
    parser.add_argument("--region", required=True)
    parser.add_argument("--control", required=True, help="the wrapper's control socket")
    parser.add_argument("--folder", required=True, help="for what the program writes")
    parser.add_argument("--certificates", required=True, help="folder of PEM files, named by ARN")
    parser.add_argument("--hosts", required=True, help="file that gets load balancers' names and addresses")
    parser.add_argument("--speed", type=float, default=1, help="how many times faster than said targets are checked")
    parser.add_argument("--near", action="append", default=[], help="network whose hosts' addresses are not kept")
    parser.add_argument("--twin", action="append", default=[], metavar="V4=V6", help="an instance's IPv6 address")
    return parser.parse_args()


def main() -> None:
    carrier = Carrier(arguments())
    carrier.prepare()
    while True:
        try:
            carrier.look()
        except Exception:  # whatever it is, the next pass may fare better
            traceback.print_exc()
            time.sleep(1)
        time.sleep(PAUSE)


if __name__ == "__main__":
    main()
