"""Networks that moto does not make: IPv6 blocks of one's own for a VPC (AssociateVpcCidrBlock with Ipv6CidrBlock and
Ipv6Pool), and subnets of four addresses.

AWS has no subnet below /28. The lab's nodes follow each other on one LAN, and are in two zones all the same.
"""

import ipaddress

from moto.core.responses import ActionResult
from moto.ec2.models.subnets import Subnet
from moto.ec2.responses.vpcs import VPCs
from moto.ec2.utils import random_vpc_cidr_association_id


def install() -> None:
    _own_blocks()
    _small_subnets()


def _small_subnets() -> None:
    """Moto wants room for the addresses that AWS keeps to itself."""
    original = Subnet.__init__

    def __init__(self, ec2_backend, subnet_id, vpc_id, cidr_block, *arguments, **named):
        wanted = ipaddress.IPv4Network(cidr_block) if cidr_block else None
        small = wanted is not None and wanted.prefixlen > 29
        made_as = str(wanted.supernet(new_prefix=29)) if small else cidr_block
        original(self, ec2_backend, subnet_id, vpc_id, made_as, *arguments, **named)
        if small:
            self.cidr_block, self.cidr = cidr_block, wanted

    Subnet.__init__ = __init__


def _own_blocks() -> None:
    original = VPCs.associate_vpc_cidr_block

    def associate_vpc_cidr_block(self):
        block = self._get_param("Ipv6CidrBlock")
        if not block:
            return original(self)
        vpc = self.ec2_backend.get_vpc(self._get_param("VpcId"))
        identity = random_vpc_cidr_association_id()
        made = {
            "association_id": identity,
            "cidr_block": block,
            "cidr_block_state": {"state": "associated", "StatusMessage": None},
            "ipv6_pool": self._get_param("Ipv6Pool"),
            "ipv6_cidr_block_network_border_group": self.region,
        }
        vpc._cidr_block_association_set[identity] = made
        association = {
            "AssociationId": identity,
            "Ipv6CidrBlock": block,
            "Ipv6CidrBlockState": {"State": "associating"},
            "Ipv6Pool": made["ipv6_pool"],
        }
        return ActionResult({"VpcId": vpc.id, "Ipv6CidrBlockAssociation": association})

    VPCs.associate_vpc_cidr_block = associate_vpc_cidr_block
