"""Tests of what the load balancer decides; lab_aws (Rust) is about what it does."""

import asyncio
import dataclasses
import threading
import unittest
from http.server import BaseHTTPRequestHandler, HTTPServer

from balancer import checks, proxy, rules
from balancer.carry import ended
from balancer.model import Balancer, Check, Group, Listener, Target, Zone
from balancer.places import Places

CHECK = Check("TCP", "/", "200-399", 10, 5, 3, 2)


def target(number: int, state="healthy") -> Target:
    return Target(f"10.0.0.{number}", f"10.0.0.{number}", 80, state)


def group(*targets: Target, protocol="TCP", version=4, **attributes) -> Group:
    given = {key.replace("__", "."): value for key, value in attributes.items()}
    return Group("arn/group/1", protocol, version, CHECK, given, targets)


def listener(to: Group, protocol="TCP", addresses=("10.79.1.10",), **more) -> Listener:
    return Listener("arn/listener/1", tuple(addresses), protocol, 80, to, **more)


class Choice(unittest.TestCase):
    def test_healthy_targets_alone_get_connections(self):
        all_states = [target(1), target(2, "unhealthy"), target(3, "initial"), target(4, "draining")]
        self.assertEqual([one.id for one in group(*all_states).chosen()], ["10.0.0.1"])

    def test_if_none_is_healthy_the_unhealthy_get_them(self):
        found = group(target(2, "unhealthy"), target(3, "initial"), target(4, "draining")).chosen()
        self.assertEqual([one.id for one in found], ["10.0.0.2"])
        self.assertEqual(group(target(3, "initial"), target(4, "draining")).chosen(), [])

    def test_the_kernel_forwards_what_needs_no_proxy(self):
        both = ("10.79.1.10", "fd00::10")
        kept = group(target(1), **{"preserve_client_ip__enabled": "true"})
        self.assertEqual(listener(kept, addresses=both).kernel(), [("10.79.1.10", "tcp")])
        self.assertTrue(listener(kept, addresses=both).proxied("fd00::10"))
        self.assertEqual(listener(group(target(1))).kernel(), [])
        self.assertEqual(listener(kept, "TLS").kernel(), [])
        udp = group(target(1), protocol="UDP")
        self.assertEqual(listener(udp, "UDP").kernel(), [("10.79.1.10", "udp")])
        mixed = group(target(1), protocol="TCP_UDP")
        self.assertEqual(listener(mixed, "TCP_UDP").kernel(), [("10.79.1.10", "tcp"), ("10.79.1.10", "udp")])
        headed = group(target(1), protocol="TCP_UDP", **{"proxy_protocol_v2__enabled": "true"})
        self.assertEqual(listener(headed, "TCP_UDP").kernel(), [("10.79.1.10", "udp")])

    def test_connections_end_only_where_an_attribute_says_so(self):
        gone = "deregistration_delay__connection_termination__enabled"
        failed = "target_health_state__unhealthy__connection_termination__enabled"
        for value, count in (("true", 1), ("false", 0)):
            given = {gone: value, failed: value}
            draining = listener(group(target(1), target(2, "draining"), **given))
            self.assertEqual(len(ended(draining, listener(group(target(1), **given)))), count)
            well = listener(group(target(1), target(2), **given))
            ill = listener(group(target(1), target(2, "unhealthy"), **given))
            self.assertEqual(len(ended(well, ill)), count)
            self.assertEqual(ended(well, draining), [])
        # All of them: they go on getting connections, and keep those they have.
        before, now = (listener(group(target(1, state), **{failed: "true"})) for state in ("healthy", "unhealthy"))
        self.assertEqual(ended(before, now), [])


class Rules(unittest.TestCase):
    def test_each_target_has_its_share(self):
        kept = group(target(1), target(2), **{"preserve_client_ip__enabled": "true"})
        text = rules.render([listener(kept)], ["10.77.0.0/24", "fd00::/64"], 78)
        pick = "dnat ip to numgen random mod 2 map { 0 : 10.0.0.1 . 80, 1 : 10.0.0.2 . 80 }"
        self.assertIn(f"targets ip daddr 10.79.1.10 tcp dport 80 {pick}\n", text)
        self.assertIn("ip saddr { 10.77.0.0/24 } masquerade\n", text)
        sticky = group(target(1), **KEPT_AND_STICKY)
        self.assertIn("dnat ip to jhash ip saddr mod 1 map", rules.render([listener(sticky)], [], 78))

    def test_without_targets_clients_are_told(self):
        kept = group(**{"preserve_client_ip__enabled": "true"})
        text = rules.render([listener(kept)], [], 78)
        self.assertIn("tcp dport 80 ct state new reject with tcp reset\n", text)
        self.assertNotIn("dnat", text)


KEPT_AND_STICKY = {"preserve_client_ip__enabled": "true", "stickiness__enabled": "true"}


class Proxies(unittest.TestCase):
    def section(self, one: Listener) -> str:
        return "".join(backend.section("/c") for backend in proxy.backends([one]))

    def test_tls_is_ended_with_all_certificates_and_begun_again(self):
        one = listener(group(protocol="TLS"), "TLS", certificates=("arn:a/1", "arn:a/2"), alpn="HTTP2Preferred")
        text = self.section(one)
        self.assertIn("bind 10.79.1.10:80 ssl crt /c/arn_a_1.pem crt /c/arn_a_2.pem alpn h2,http/1.1\n", text)
        self.assertIn("# targets: ssl verify none\n", text)

    def test_the_client_is_kept_if_it_can_be(self):
        both = ("10.79.1.10", "fd00::10")
        kept = listener(group(**{"preserve_client_ip__enabled": "true"}), "TLS", both, certificates=("arn:a/1",))
        text = self.section(kept)
        self.assertIn("source 0.0.0.0:0 usesrc clientip\n", text)
        self.assertIn("bind [fd00::10]:80 ssl", text)
        self.assertIn("source 10.79.1.10:0\n", text)

    def test_a_header_is_sent_where_it_is_asked_for(self):
        text = self.section(listener(group(**{"proxy_protocol_v2__enabled": "true"})))
        self.assertIn("# targets: send-proxy-v2\n", text)


class Addresses(unittest.TestCase):
    def test_a_load_balancer_keeps_its_addresses(self):
        places = Places()
        zones = (Zone("a", ("10.79.1.0/24",), ()), Zone("b", ("10.79.2.0/24", "fd00:2::/64"), ()))
        one, two = (Balancer(name, name, True, True, zones) for name in ("one", "two"))
        first = places.give([one, two])
        self.assertEqual(first["one"], ("10.79.1.10", "10.79.2.10", "fd00:2::a"))
        self.assertEqual(first["two"], ("10.79.1.11", "10.79.2.11", "fd00:2::b"))
        self.assertEqual(places.give([two])["two"], first["two"])
        self.assertEqual(places.give([two, one])["one"], first["one"])

    def test_wanted_addresses_are_given_as_wanted(self):
        places = Places()
        free = Balancer("free", "free", True, False, (Zone("a", ("10.79.1.0/24",), ()),))
        wants = Balancer("wants", "wants", True, False, (Zone("a", ("10.79.1.0/24",), ("10.79.1.10",)),))
        found = places.give([free, wants])
        self.assertEqual((found["free"], found["wants"]), (("10.79.1.11",), ("10.79.1.10",)))


class Answering(BaseHTTPRequestHandler):
    def do_GET(self):
        self.send_response(int(self.path.removeprefix("/")))
        self.end_headers()

    def log_message(self, *_arguments):
        pass


class Checks(unittest.TestCase):
    def test_codes(self):
        for code, codes, fits in ((204, "200-399", True), (404, "200-399", False), (404, "200,404", True)):
            self.assertEqual(checks.fits(code, codes), fits, (code, codes))

    def test_a_check_is_what_the_target_answers(self):
        server = HTTPServer(("127.0.0.1", 0), Answering)
        threading.Thread(target=server.serve_forever, daemon=True).start()
        well = Target("127.0.0.1", "127.0.0.1", server.server_port, "initial")
        for path, found in (("/200", True), ("/503", False)):
            http = dataclasses.replace(group(well), check=dataclasses.replace(CHECK, protocol="HTTP", path=path))
            self.assertEqual(asyncio.run(checks.is_well(checks.probe(http, well, 1))), found, path)
        tcp = checks.probe(group(well), well, 1)
        self.assertTrue(asyncio.run(checks.is_well(tcp)))
        server.shutdown()
        server.server_close()
        self.assertFalse(asyncio.run(checks.is_well(tcp)))

    def test_a_check_is_as_often_as_the_speed_says(self):
        self.assertEqual(checks.probe(group(target(1)), target(1), 10).interval, 1)


if __name__ == "__main__":
    unittest.main()
