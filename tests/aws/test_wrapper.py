"""Faults, call log, signatures, settings, reset."""

import datetime
import ssl
import time
import unittest
import urllib.request
from unittest import mock

from botocore.exceptions import ClientError
from case import ENDPOINT, Case, client, control


class Faults(Case):
    def test_a_fault_meets_the_calls_it_names_and_is_used_up(self):
        control("POST", "faults", [{"action": "DescribeLoadBalancers", "count": 2, "code": "Throttling"}])
        self.elb.describe_target_groups()
        for _ in range(2):
            answer = self.refused("Throttling", self.elb.describe_load_balancers)
            self.assertEqual(answer["ResponseMetadata"]["HTTPStatusCode"], 400)
        self.elb.describe_load_balancers()
        self.assertEqual(control("GET", "faults"), [])

    def test_a_fault_of_ec2_has_its_form_and_status(self):
        fault = {"action": "DescribeSubnets", "code": "RequestLimitExceeded", "status": 503}
        control("POST", "faults", [fault])
        answer = self.refused("RequestLimitExceeded", self.ec2.describe_subnets)
        self.assertEqual(answer["ResponseMetadata"]["HTTPStatusCode"], 503)

    def test_a_fault_before_changes_nothing_and_one_after_loses_the_answer(self):
        for when, there in (("before", 0), ("after", 1)):
            control("POST", "faults", [{"action": "changing", "status": 500, "code": "InternalFailure", "when": when}])
            self.refused("InternalFailure", self.group)
            self.assertEqual(len(self.elb.describe_target_groups()["TargetGroups"]), there)

    def test_faults_skip_and_choose_by_parameter(self):
        control("POST", "faults", [{"action": "CreateTargetGroup", "skip": 1, "holds": "web", "code": "Throttling"}])
        self.group("other")
        self.group("web1")
        self.group("another")
        self.refused("Throttling", self.group, name="web2")
        self.group("web2")

    def test_a_caller_is_cut_off_at_its_nth_change_and_others_are_not(self):
        fault = {"action": "changing", "skip": 1, "when": "after", "status": 500, "sticks": True}
        fault["access_key"] = "other"
        control("POST", "faults", [fault])
        theirs, mine = client("elbv2", key="other", secret="other"), self.elb

        def create(elb, name):
            elb.create_target_group(Name=name, Protocol="TCP", Port=1, VpcId=self.vpc)

        create(theirs, "one")
        for call in (lambda: create(theirs, "two"), lambda: create(theirs, "three"), theirs.describe_target_groups):
            self.assertRaises(ClientError, call)
        create(mine, "four")
        names = {group["TargetGroupName"] for group in mine.describe_target_groups()["TargetGroups"]}
        self.assertEqual(names, {"one", "two", "four"})
        control("DELETE", "faults")
        theirs.describe_target_groups()

    def test_a_delay_only_takes_longer(self):
        control("POST", "faults", [{"action": "DescribeLoadBalancers", "delay": 0.2}])
        self.elb.describe_load_balancers()
        (call,) = control("GET", "calls", action="DescribeLoadBalancers")
        self.assertGreaterEqual(call["seconds"], 0.2)
        self.assertEqual((call["status"], call["injected"]), (200, False))

    def test_a_fault_without_code_is_no_answer_of_aws(self):
        control("POST", "faults", [{"action": "*", "status": 502}])
        with self.assertRaises(ClientError) as caught:
            self.elb.describe_load_balancers()
        self.assertEqual(caught.exception.response["ResponseMetadata"]["HTTPStatusCode"], 502)

    def test_nonsense_is_refused(self):
        for fault in ({"acton": "x"}, {"action": "x", "when": "never"}):
            with self.assertRaises(ValueError):
                control("POST", "faults", [fault])
        with self.assertRaises(ValueError):
            control("POST", "settings", {"settings": {"provisioning": -1}})
        with self.assertRaises(ValueError):
            control("GET", "nothing")


class Log(Case):
    def test_calls_are_written_down_with_parameters_and_result(self):
        last = max(call["number"] for call in control("GET", "calls"))
        self.group("web", Tags=[{"Key": "a", "Value": "b"}])
        self.refused("TargetGroupNotFound", self.elb.describe_target_groups, Names=["none"])
        first, second = control("GET", "calls", after=last)
        self.assertEqual((first["action"], first["changing"]), ("CreateTargetGroup", True))
        self.assertEqual((first["status"], first["code"]), (200, ""))
        self.assertEqual(first["params"]["Tags.member.1.Key"], "a")
        self.assertEqual((second["changing"], second["status"], second["code"]), (False, 400, "TargetGroupNotFound"))
        self.assertEqual((second["service"], second["region"]), ("elasticloadbalancing", "us-east-1"))
        self.assertLess(abs(second["time"] - time.time()), 600)

    def test_calls_are_chosen_and_forgotten(self):
        client("elbv2", region="eu-west-1").describe_load_balancers()
        self.assertEqual(len(control("GET", "calls", region="eu-west-1")), 1)
        self.assertTrue(all(call["changing"] for call in control("GET", "calls", changing="true")))
        control("DELETE", "calls")
        self.assertEqual(control("GET", "calls"), [])

    def test_an_injected_failure_is_told_from_a_real_one(self):
        control("POST", "faults", [{"action": "DescribeTags", "code": "Throttling"}])
        self.refused("Throttling", self.elb.describe_tags, ResourceArns=["arn:x"])
        (call,) = control("GET", "calls", action="DescribeTags")
        self.assertEqual((call["code"], call["injected"]), ("Throttling", True))


class Signatures(Case):
    def test_a_wrong_secret_is_refused_by_every_service(self):
        self.refused("SignatureDoesNotMatch", client("elbv2", secret="wrong").describe_load_balancers)
        answer = self.refused("SignatureDoesNotMatch", client("ec2", secret="wrong").describe_subnets)
        self.assertEqual(answer["ResponseMetadata"]["HTTPStatusCode"], 403)

    def test_an_unknown_key_is_refused(self):
        self.refused("InvalidClientTokenId", client("elbv2", key="unknown").describe_load_balancers)
        self.refused("InvalidClientTokenId", client("elbv2", aws_session_token="x").describe_load_balancers)

    def changed(self, change):
        """The error code of a request changed after it was signed."""
        elb = client("elbv2")
        elb.meta.events.register("before-send.elastic-load-balancing-v2.*", lambda request, **_: change(request))
        with self.assertRaises(ClientError) as caught:
            elb.describe_load_balancers()
        return caught.exception.response["Error"]["Code"]

    def test_what_was_signed_cannot_be_changed(self):
        def body(request):
            request.body += "&PageSize=7"
            request.headers["Content-Length"] = str(len(request.body))

        def query(request):
            request.url += "?PageSize=7"

        def header(request):
            request.headers["Content-Type"] = "text/plain"

        def extra(request):
            request.headers["X-Amz-Security-Token"] = "added"

        for change in (body, query, header, extra):
            self.assertEqual(self.changed(change), "SignatureDoesNotMatch", change.__name__)

    def test_a_signature_must_be_there_and_whole(self):
        def none(request):
            del request.headers["Authorization"]

        def half(request):
            request.headers["Authorization"] = request.headers["Authorization"].partition(b"Signature=")[0]

        def undated(request):
            del request.headers["X-Amz-Date"]

        self.assertEqual(self.changed(none), "MissingAuthenticationToken")
        self.assertEqual(self.changed(half), "IncompleteSignature")
        self.assertEqual(self.changed(undated), "IncompleteSignature")

    def test_an_old_signature_is_refused(self):
        old = datetime.datetime.now(datetime.timezone.utc) - datetime.timedelta(hours=1)
        with mock.patch("botocore.auth.get_current_datetime", return_value=old):
            self.refused("SignatureDoesNotMatch", self.elb.describe_load_balancers)
            self.refused("RequestExpired", self.ec2.describe_subnets)

    def test_a_signature_for_another_service_is_refused(self):
        elb = client("elbv2")
        # The signer is asked for by the name of the service; a request keeps what it says it is for.
        elb._request_signer._signing_name = "ec2"
        answer = self.refused("SignatureDoesNotMatch", elb.describe_load_balancers)
        self.assertIn("correct service", answer["Error"]["Message"])

    def test_credentials_from_sts_are_let_in_with_their_token(self):
        role = "arn:aws:iam::123456789012:role/herald"
        sts = client("sts")
        arguments = {"RoleArn": role, "RoleSessionName": "pod", "WebIdentityToken": "token"}
        given = sts.assume_role_with_web_identity(**arguments)["Credentials"]
        keys = {"key": given["AccessKeyId"], "secret": given["SecretAccessKey"]}
        client("elbv2", aws_session_token=given["SessionToken"], **keys).describe_load_balancers()
        self.refused("InvalidClientTokenId", client("elbv2", **keys).describe_load_balancers)


class Reset(Case):
    def test_reset_leaves_nothing(self):
        self.balancer()
        control("POST", "faults", [{"action": "x", "code": "y"}])
        control("POST", "reset")
        self.assertEqual(self.elb.describe_load_balancers()["LoadBalancers"], [])
        self.assertEqual(control("GET", "faults"), [])
        self.assertEqual([call["action"] for call in control("GET", "calls")], ["DescribeLoadBalancers"])

    def test_regions_are_apart(self):
        control("POST", "settings", {"region": "eu-west-1", "settings": {"page_size": 1}})
        control("POST", "faults", [{"action": "*", "region": "eu-west-1", "code": "Throttling"}])
        self.elb.describe_load_balancers()
        west = client("elbv2", region="eu-west-1")
        self.refused("Throttling", west.describe_load_balancers)

    def test_control_is_also_served_at_the_endpoint(self):
        trust = ssl._create_unverified_context()
        handlers = urllib.request.ProxyHandler({}), urllib.request.HTTPSHandler(context=trust)
        opener = urllib.request.build_opener(*handlers)
        with opener.open(f"{ENDPOINT}/herald/ready", timeout=60) as answer:
            self.assertEqual(answer.status, 200)


if __name__ == "__main__":
    unittest.main()
