"""HAProxy for what cannot be sent on packet by packet: TLS, proxy protocol, a client address that is not kept.

A new set of listeners is a reload, which hands the sockets over and leaves the connections there are with the old
process. A new set of targets goes through the runtime API.
"""

import hashlib
import os
import signal
import socket
import subprocess
import time
from pathlib import Path

from balancer.model import Listener, Target, version

MARK = 0x4E
"""Packets that come back to a connection made with the client's address."""
ALPN = {
    "HTTP1Only": "http/1.1",
    "HTTP2Only": "h2",
    "HTTP2Optional": "http/1.1,h2",
    "HTTP2Preferred": "h2,http/1.1",
}


def bound(address: str, port: int) -> str:
    return f"[{address}]:{port}" if version(address) == 6 else f"{address}:{port}"


def certificate(folder: str, arn: str) -> str:
    """Where the certificate and key of that ARN are."""
    return str(Path(folder) / (arn.replace("/", "_").replace(":", "_") + ".pem"))


class Backend:
    """Where connections to a listener's addresses of one IP version go."""

    def __init__(self, listener: Listener, addresses: list[str]) -> None:
        self.listener, self.addresses, self.group = listener, addresses, listener.group
        identity = hashlib.sha256(listener.arn.encode()).hexdigest()[:12]
        self.name = f"nlb_{identity}_{version(addresses[0])}"

    @property
    def options(self) -> str:
        """What every connection to a target is made with."""
        proxy = " send-proxy-v2" if self.group.proxy_protocol else ""
        return proxy + (" ssl verify none" if self.group.protocol == "TLS" else "")

    def server(self, target: Target) -> str:
        return f"{target.name} {bound(target.address, target.port)}{self.options}"

    def section(self, certificates: str, targets: bool = False) -> str:
        """Of the configuration; the targets are left out where it is compared with another."""
        group, lines = self.group, [f"frontend {self.name}"]
        tls = ""
        if self.listener.protocol == "TLS":
            tls = " ssl" + "".join(f" crt {certificate(certificates, arn)}" for arn in self.listener.certificates)
            alpn = ALPN.get(self.listener.alpn)
            tls += f" alpn {alpn}" if alpn else ""
        lines += [f"    bind {bound(address, self.listener.port)}{tls}" for address in self.addresses]
        lines += [f"    timeout client {self.listener.idle}s", f"    default_backend {self.name}"]
        lines += [f"backend {self.name}", f"    timeout server {self.listener.idle}s"]
        # Hashes and `random` forget some of the servers that were added by the runtime API.
        lines.append("    balance roundrobin")
        if group.sticks:
            lines += ["    stick-table type ipv6 size 64k expire 1h", "    stick on src"]
        if group.keeps_client and group.version == version(self.addresses[0]):
            lines.append(f"    source {bound('::' if group.version == 6 else '0.0.0.0', 0)} usesrc clientip")
        else:
            own = [one for one in self.listener.addresses if version(one) == group.version]
            lines += [f"    source {bound(own[0], 0)}"] if own else []
        # Part of the text, so that a change of it is a reload.
        lines.append(f"    # targets:{self.options}")
        lines += [f"    server {self.server(target)}" for target in group.chosen()] if targets else []
        return "".join(f"{line}\n" for line in lines)


def backends(listeners: list[Listener]) -> list[Backend]:
    found = []
    for listener in listeners:
        for family in (4, 6):
            addresses = [one for one in listener.addresses if version(one) == family and listener.proxied(one)]
            if addresses:
                found.append(Backend(listener, addresses))
    return found


def render(all_backends: list[Backend], folder: str, certificates: str, number: int | None = None) -> str:
    """The configuration with targets and number, or to compare it without."""
    head = f"""global
    description load-{number}
    stats socket {folder}/haproxy.sock mode 600 level admin expose-fd listeners
    stats timeout 10s
    maxconn 8192
    nbthread 1
defaults
    mode tcp
    timeout connect 5s
    timeout client 350s
    timeout server 350s
    retries 0
frontend idle
    bind unix@{folder}/idle.sock mode 600
"""
    return head + "".join(one.section(certificates, number is not None) for one in all_backends)


class Proxy:
    """A running HAProxy, from the first listener it is needed for."""

    def __init__(self, folder: str, certificates: str) -> None:
        self.folder, self.certificates = folder, certificates
        self.process: subprocess.Popen | None = None
        self.text, self.number = "", 0
        self.missing: set[str] = set()
        self.servers: dict[tuple[str, str], str] = {}
        """(backend, server) to its state: `ready`, or `maint`, which leaves it the connections it has."""

    def apply(self, listeners: list[Listener]) -> None:
        # One listener that cannot be served holds up no other.
        wanted = [one for one in backends(listeners) if not self._lacks(one)]
        text = render(wanted, self.folder, self.certificates)
        if self.process is None and not wanted:
            return
        if self.process is not None and self.process.poll() is not None:
            self.process, self.text = None, ""
        if text != self.text:
            self._load(wanted)
            self.text = text
        self._targets(wanted)

    def _lacks(self, backend: Backend) -> bool:
        """Whether a certificate of it is not in the folder; says so once."""
        arns = backend.listener.certificates if backend.listener.protocol == "TLS" else ()
        files = {certificate(self.certificates, arn) for arn in arns}
        missing = sorted(file for file in files if not os.path.exists(file))
        for file in missing:
            if file not in self.missing:
                print(f"port {backend.listener.port} is not served: there is no {file}", flush=True)
                self.missing.add(file)
        return bool(missing)

    def _load(self, wanted: list[Backend]) -> None:
        """Starts with this configuration, or goes over to it: with its targets, or new connections had none at first."""
        self.number += 1
        path = f"{self.folder}/haproxy.cfg"
        Path(f"{path}.new").write_text(render(wanted, self.folder, self.certificates, self.number))
        checked = subprocess.run(["haproxy", "-c", "-f", f"{path}.new"], capture_output=True, text=True)
        if checked.returncode != 0:
            raise RuntimeError(f"HAProxy refuses its configuration: {checked.stderr.strip()}")
        os.replace(f"{path}.new", path)
        if self.process is None:
            self.process = subprocess.Popen(["haproxy", "-W", "-f", path])
        else:
            self.process.send_signal(signal.SIGUSR2)
        limit = time.monotonic() + 60
        while f"description: load-{self.number}\n" not in self._try("show info").lower():
            if self.process.poll() is not None:
                raise RuntimeError(f"HAProxy ended with {self.process.returncode}")
            if time.monotonic() > limit:
                raise RuntimeError("HAProxy did not take its configuration over")
            time.sleep(0.02)
        self.servers = {(one.name, target.name): "ready" for one in wanted for target in one.group.chosen()}

    def _targets(self, wanted: list[Backend]) -> None:
        for one in wanted:
            there = {target.name: target for target in one.group.targets}
            chosen = {target.name: target for target in one.group.chosen()}
            for name, target in chosen.items():
                self._ready(one, name, target)
            for backend, name in list(self.servers):
                if backend == one.name and name not in chosen:
                    self._leave(backend, name, name in there)

    def _ready(self, backend: Backend, name: str, target: Target) -> None:
        key = backend.name, name
        server = f"{backend.name}/{name}"
        if key not in self.servers:
            answer = self._ask(f"add server {backend.name}/{backend.server(target)}")
            if "New server registered" not in answer:
                raise RuntimeError(f"HAProxy does not add {server}: {answer.strip()}")
        if self.servers.get(key) != "ready":
            self._must(f"set server {server} state ready")
            self.servers[key] = "ready"

    def _leave(self, backend: str, name: str, registered: bool) -> None:
        """No new connections; gone as soon as it has none."""
        server = f"{backend}/{name}"
        if self.servers[backend, name] == "ready":
            self._must(f"set server {server} state maint")
            self.servers[backend, name] = "maint"
        if not registered:
            if "Server deleted" in self._ask(f"del server {server}"):
                del self.servers[backend, name]

    def _must(self, command: str) -> None:
        if answer := self._ask(command).strip():
            raise RuntimeError(f"HAProxy says to {command!r}: {answer}")

    def _try(self, command: str) -> str:
        try:
            return self._ask(command)
        except OSError:
            return ""

    def _ask(self, command: str) -> str:
        """The runtime API's answer."""
        with socket.socket(socket.AF_UNIX) as client:
            client.settimeout(10)
            client.connect(f"{self.folder}/haproxy.sock")
            client.sendall(f"{command}\n".encode())
            answer = b""
            while part := client.recv(65_536):
                answer += part
        return answer.decode()
