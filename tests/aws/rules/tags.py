"""Tags: limits, and removal with their resource."""

from moto.elbv2.models import ELBv2Backend

from rules.errors import invalid, refuse

PER_RESOURCE = 50
DESCRIBED = 20


def check(tags: list[dict] | None, existing: dict | None = None) -> None:
    """Refuses what cannot be added to `existing`."""
    keys = [tag.get("Key", "") for tag in tags or []]
    if len(set(keys)) < len(keys):
        refuse("DuplicateTagKeys", "A tag key was specified more than once.")
    for tag in tags or []:
        key, value = tag.get("Key", ""), tag.get("Value") or ""
        if not 1 <= len(key) <= 128 or len(value) > 256:
            invalid(f"Tag {key!r}: a key has 1 to 128 characters, a value at most 256")
        if key.lower().startswith("aws:"):
            invalid(f"Tag {key!r}: the prefix aws: is reserved")
    if len(set(keys) | set(existing or {})) > PER_RESOURCE:
        refuse("TooManyTags", f"A resource can have {PER_RESOURCE} tags.")


class Tags(ELBv2Backend):
    """AddTags, RemoveTags, DescribeTags."""

    def tags_of(self, arn: str) -> dict[str, str]:
        return self.tagging_service.get_tag_dict_for_resource(arn)

    def add_tags(self, resource_arns, tags):
        for arn in resource_arns:
            self._get_resource_by_arn(arn)
            check(tags, self.tags_of(arn))
        for arn in resource_arns:
            self.tagging_service.tag_resource(arn, tags)

    def describe_tags(self, resource_arns):
        if not 1 <= len(resource_arns) <= DESCRIBED:
            invalid(f"DescribeTags takes 1 to {DESCRIBED} resources, not {len(resource_arns)}")
        for arn in resource_arns:
            self._get_resource_by_arn(arn)
        return super().describe_tags(resource_arns)
