"""AWS's errors, in the form that moto answers with."""

from moto.ec2.exceptions import EC2ClientError
from moto.elbv2.exceptions import ELBClientError


def refuse(code: str, message: str):
    """Ends an ELBv2 call with an error."""
    raise ELBClientError(code, message)


def invalid(message: str):
    refuse("ValidationError", message)


def misconfigured(message: str):
    refuse("InvalidConfigurationRequest", message)


def refuse_ec2(code: str, message: str):
    """Ends an EC2 call with an error."""
    raise EC2ClientError(code, message)
