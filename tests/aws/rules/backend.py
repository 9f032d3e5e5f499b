"""The strict backend, put into moto's place."""

import moto.elb.urls
import moto.elbv2.urls
from moto.elbv2.models import elbv2_backends

from rules import networks, security
from rules.answers import Answers
from rules.attributes import Attributes
from rules.balancers import Balancers
from rules.certificates import Certificates
from rules.groups import Groups
from rules.listeners import Listeners
from rules.tags import Tags
from rules.targets import Targets


class Strict(Balancers, Groups, Listeners, Certificates, Targets, Attributes, Tags):
    """ELBv2 of one account and region."""

    def __init__(self, region_name: str, account_id: str) -> None:
        super().__init__(region_name, account_id)
        self.held: list = []

    @property
    def _url_module(self):
        return moto.elbv2.urls


def install() -> None:
    """From now on moto's ELBv2 is strict. Called once, before the first request."""
    elbv2_backends.backend = Strict
    moto.elb.urls.ELBV2Response = Answers
    networks.install()
    security.install()
