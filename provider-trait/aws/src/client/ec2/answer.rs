//! EC2's answers, as far as they are read.

use serde::Deserialize;
use serde::de::DeserializeOwned;

use crate::client::failure::Failure;
use crate::model::Tags;

/// A list in EC2's XML: `<set><item>…</item><item>…</item></set>`.
#[derive(Debug, Deserialize)]
pub(super) struct Items<T> {
    #[serde(default = "Vec::new")]
    pub(super) item: Vec<T>,
}

impl<T> Default for Items<T> {
    fn default() -> Self {
        Self { item: Vec::new() }
    }
}

/// A page of an answer.
pub(super) trait Page: DeserializeOwned {
    /// The token of the next page.
    fn next(&self) -> Option<&str>;
}

macro_rules! page {
    ($page:ident, $field:ident, $set:literal, $item:ty) => {
        #[derive(Debug, Deserialize)]
        pub(super) struct $page {
            #[serde(rename = $set, default)]
            pub(super) $field: Items<$item>,
            #[serde(rename = "nextToken")]
            next: Option<String>,
        }

        impl Page for $page {
            fn next(&self) -> Option<&str> {
                self.next.as_deref().filter(|token| !token.is_empty())
            }
        }
    };
}

page!(Subnets, subnets, "subnetSet", Subnet);
page!(Vpcs, vpcs, "vpcSet", VpcItem);
page!(RouteTables, tables, "routeTableSet", RouteTable);
page!(SecurityGroups, groups, "securityGroupInfo", Group);

#[derive(Debug, Deserialize)]
pub(super) struct Subnet {
    #[serde(rename = "subnetId")]
    pub(super) id: String,
    #[serde(rename = "availabilityZone")]
    pub(super) zone: String,
    #[serde(rename = "cidrBlock", default)]
    pub(super) net: String,
    #[serde(rename = "availableIpAddressCount", default)]
    pub(super) free: u32,
    #[serde(rename = "ipv6CidrBlockAssociationSet", default)]
    pub(super) v6: Items<Net6>,
    #[serde(rename = "tagSet", default)]
    pub(super) tags: Items<Tag>,
}

#[derive(Debug, Deserialize)]
pub(super) struct Net6 {
    #[serde(rename = "ipv6CidrBlock", default)]
    pub(super) net: String,
}

#[derive(Debug, Deserialize)]
pub(super) struct Net4 {
    #[serde(rename = "cidrBlock", default)]
    pub(super) net: String,
}

#[derive(Debug, Deserialize)]
pub(super) struct VpcItem {
    #[serde(rename = "cidrBlock")]
    pub(super) net: Option<String>,
    #[serde(rename = "cidrBlockAssociationSet", default)]
    pub(super) v4: Items<Net4>,
    #[serde(rename = "ipv6CidrBlockAssociationSet", default)]
    pub(super) v6: Items<Net6>,
}

#[derive(Debug, Deserialize)]
pub(super) struct RouteTable {
    #[serde(rename = "associationSet", default)]
    pub(super) associations: Items<Association>,
    #[serde(rename = "routeSet", default)]
    pub(super) routes: Items<Route>,
}

#[derive(Debug, Deserialize)]
pub(super) struct Association {
    #[serde(rename = "subnetId")]
    pub(super) subnet: Option<String>,
    #[serde(default)]
    pub(super) main: bool,
}

#[derive(Debug, Deserialize)]
pub(super) struct Route {
    #[serde(rename = "gatewayId")]
    pub(super) gateway: Option<String>,
}

#[derive(Debug, Deserialize)]
pub(super) struct Group {
    #[serde(rename = "groupId")]
    pub(super) id: String,
    #[serde(rename = "groupName", default)]
    pub(super) name: String,
    #[serde(rename = "ipPermissions", default)]
    pub(super) ingress: Items<Permission>,
    #[serde(rename = "tagSet", default)]
    pub(super) tags: Items<Tag>,
}

#[derive(Debug, Deserialize)]
pub(super) struct Permission {
    #[serde(rename = "ipProtocol", default)]
    pub(super) protocol: String,
    #[serde(rename = "fromPort")]
    pub(super) first: Option<i32>,
    #[serde(rename = "toPort")]
    pub(super) last: Option<i32>,
    #[serde(default)]
    pub(super) groups: Items<FromGroup>,
    #[serde(rename = "ipRanges", default)]
    pub(super) v4: Items<From4>,
    #[serde(rename = "ipv6Ranges", default)]
    pub(super) v6: Items<From6>,
    #[serde(rename = "prefixListIds", default)]
    pub(super) lists: Items<FromList>,
}

#[derive(Debug, Deserialize)]
pub(super) struct FromGroup {
    #[serde(rename = "groupId", default)]
    pub(super) id: String,
    #[serde(default)]
    pub(super) description: String,
}

#[derive(Debug, Deserialize)]
pub(super) struct From4 {
    #[serde(rename = "cidrIp", default)]
    pub(super) net: String,
    #[serde(default)]
    pub(super) description: String,
}

#[derive(Debug, Deserialize)]
pub(super) struct From6 {
    #[serde(rename = "cidrIpv6", default)]
    pub(super) net: String,
    #[serde(default)]
    pub(super) description: String,
}

#[derive(Debug, Deserialize)]
pub(super) struct FromList {
    #[serde(default)]
    pub(super) description: String,
}

#[derive(Debug, Deserialize)]
pub(super) struct Tag {
    key: String,
    #[serde(default)]
    value: String,
}

impl Items<Tag> {
    pub(super) fn tags(&self) -> Tags {
        self.item
            .iter()
            .map(|tag| (tag.key.clone(), tag.value.clone()))
            .collect()
    }
}

#[derive(Debug, Deserialize)]
pub(super) struct Created {
    #[serde(rename = "groupId")]
    pub(super) id: String,
}

/// Reads an answer.
pub(super) fn parse<T: DeserializeOwned>(text: &str) -> Result<T, Failure> {
    Ok(quick_xml::de::from_str(text)?)
}

#[derive(Debug, Default, Deserialize)]
struct ErrorAnswer {
    #[serde(rename = "Errors", default)]
    errors: Errors,
}

#[derive(Debug, Default, Deserialize)]
struct Errors {
    #[serde(rename = "Error", default)]
    error: Vec<ErrorItem>,
}

#[derive(Debug, Default, Deserialize)]
struct ErrorItem {
    #[serde(rename = "Code", default)]
    code: String,
    #[serde(rename = "Message", default)]
    message: String,
}

/// What an answer that is not a success says.
pub(super) fn failure(status: u16, text: &str) -> Failure {
    let answer: ErrorAnswer = quick_xml::de::from_str(text).unwrap_or_default();
    let error = answer.errors.error.into_iter().next().unwrap_or_default();
    Failure::answered(&error.code, &error.message, status)
}

#[cfg(test)]
mod tests {
    use herald_provider::ErrorKind;

    use super::*;

    #[test]
    fn reads_groups_with_every_kind_of_source() {
        let text = r#"<?xml version="1.0"?><DescribeSecurityGroupsResponse xmlns="http://ec2.amazonaws.com/doc/2016-11-15/">
            <requestId>1</requestId><securityGroupInfo><item><ownerId>1</ownerId><groupId>sg-1</groupId>
            <groupName>a</groupName><ipPermissions>
            <item><ipProtocol>tcp</ipProtocol><fromPort>80</fromPort><toPort>81</toPort>
              <groups><item><groupId>sg-2</groupId><description>d</description></item></groups>
              <ipRanges><item><cidrIp>10.0.0.0/8</cidrIp></item><item><cidrIp>192.0.2.0/24</cidrIp></item></ipRanges>
              <ipv6Ranges><item><cidrIpv6>::/0</cidrIpv6></item></ipv6Ranges><prefixListIds/></item>
            <item><ipProtocol>-1</ipProtocol><groups/><ipRanges/><prefixListIds><item><prefixListId>pl-1</prefixListId></item></prefixListIds></item>
            </ipPermissions><tagSet><item><key>k</key><value>v</value></item><item><key>e</key><value/></item></tagSet>
            </item></securityGroupInfo></DescribeSecurityGroupsResponse>"#;
        let page: SecurityGroups = parse(text).unwrap();
        assert_eq!(page.next(), None);
        let group = &page.groups.item[0];
        assert_eq!(group.tags.tags().len(), 2);
        assert_eq!(group.ingress.item[0].v4.item.len(), 2);
        assert_eq!(group.ingress.item[0].first, Some(80));
        assert_eq!(group.ingress.item[1].lists.item.len(), 1);
        let empty: SecurityGroups =
            parse("<R><securityGroupInfo/><nextToken>t</nextToken></R>").unwrap();
        assert!(empty.groups.item.is_empty());
        assert_eq!(empty.next(), Some("t"));
    }

    #[test]
    fn reads_errors_and_survives_what_is_none() {
        let text = "<Response><Errors><Error><Code>InvalidGroup.NotFound</Code><Message>no</Message></Error></Errors><RequestID>1</RequestID></Response>";
        let found = failure(400, text);
        assert_eq!(
            (found.code.as_str(), found.message.as_str()),
            ("InvalidGroup.NotFound", "no")
        );
        let page = failure(502, "<html>bad gateway");
        assert_eq!(
            (page.kind, page.code.as_str()),
            (ErrorKind::Retryable, "Http502")
        );
        assert!(parse::<Subnets>("nonsense").is_err());
    }
}
