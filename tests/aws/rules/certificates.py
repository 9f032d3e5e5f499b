"""Certificates, policies and ALPN of TLS listeners."""

from moto.elbv2.models import ELBv2Backend
from moto.elbv2.ssl_policies import SSL_POLICIES

from rules.errors import invalid, misconfigured, refuse

ALPN = ("HTTP1Only", "HTTP2Only", "HTTP2Optional", "HTTP2Preferred", "None")
PER_LISTENER = 25


class Certificates(ELBv2Backend):
    """Checks, and the calls on further certificates (SNI)."""

    def check_tls(self, protocol: str, certificates: list[str], policy: str | None, alpn: list[str]) -> None:
        """Refuses what a listener of that protocol cannot have, or lacks."""
        if protocol != "TLS":
            if certificates or alpn or policy:
                invalid(f"A certificate, SSL policy or ALPN policy cannot be specified for {protocol} listeners")
            return
        if not certificates:
            invalid("A certificate must be specified for TLS listeners")
        if len(certificates) > 1:
            invalid("Only one default certificate can be specified")
        self.check_certificates(certificates)
        if policy and policy not in SSL_POLICIES:
            refuse("SSLPolicyNotFound", f"SSL policy '{policy}' not found")
        if len(alpn) > 1 or any(one not in ALPN for one in alpn):
            refuse("ALPNPolicyNotFound", f"ALPN policy must be one of {', '.join(ALPN)}")

    def check_certificates(self, certificates: list[str]) -> None:
        for arn in certificates:
            if not self._certificate_exists(certificate_arn=arn):
                refuse("CertificateNotFound", f"Certificate '{arn}' not found")

    def add_listener_certificates(self, arn, certificates):
        listener = self.listener(arn)
        if listener.protocol not in ("TLS", "HTTPS"):
            misconfigured(f"Listener {arn} has protocol {listener.protocol}, which takes no certificates")
        given = [one["CertificateArn"] for one in certificates]
        self.check_certificates(given)
        together = list(dict.fromkeys([*listener.certificates, *given]))
        if len(together) > PER_LISTENER:
            refuse("TooManyCertificates", f"A load balancer can have {PER_LISTENER} certificates")
        listener.certificates = together
        return given

    def remove_listener_certificates(self, arn, certificates):
        listener = self.listener(arn)
        given = [one["CertificateArn"] for one in certificates]
        if listener.certificate in given:
            refuse("OperationNotPermitted", "The default certificate cannot be removed")
        listener.certificates = [one for one in listener.certificates if one not in given]
