//! A form-encoded, signed request.

use std::fmt::Write;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use aws_credential_types::Credentials;
use aws_credential_types::provider::{ProvideCredentials, SharedCredentialsProvider};
use aws_sigv4::http_request::{SignableBody, SignableRequest, SigningSettings, sign};
use aws_sigv4::sign::v4;
use aws_smithy_runtime_api::client::http::{HttpConnector, SharedHttpConnector};
use aws_smithy_runtime_api::client::orchestrator::HttpRequest;
use aws_smithy_types::body::SdkBody;
use aws_smithy_types::error::display::DisplayErrorContext;
use tokio::sync::Mutex;

use super::answer;
use crate::client::failure::Failure;

const VERSION: &str = "2016-11-15";
const FORM: &str = "application/x-www-form-urlencoded; charset=utf-8";
/// Credentials are renewed this long before they expire.
const EARLY: Duration = Duration::from_mins(5);
/// Larger answers are not EC2's.
const LARGEST: usize = 64 << 20;

/// The parameters of a request, in order.
#[derive(Clone, Debug, Default)]
pub(super) struct Form(Vec<(String, String)>);

impl Form {
    /// A form with one filter.
    pub(super) fn filter<'a>(name: &str, values: impl IntoIterator<Item = &'a str>) -> Self {
        let mut form = Self::default();
        form.add_filter(1, name, values);
        form
    }

    pub(super) fn add_filter<'a>(
        &mut self,
        number: usize,
        name: &str,
        values: impl IntoIterator<Item = &'a str>,
    ) {
        self.set(&format!("Filter.{number}.Name"), name);
        for (n, value) in (1..).zip(values) {
            self.set(&format!("Filter.{number}.Value.{n}"), value);
        }
    }

    pub(super) fn set(&mut self, name: &str, value: &str) {
        self.0.push((name.to_owned(), value.to_owned()));
    }

    /// `Action=…&Version=…&name=value…`, percent-encoded (RFC 3986 unreserved characters stay).
    fn body(&self, action: &str) -> String {
        let mut body = format!("Action={action}&Version={VERSION}");
        for (name, value) in &self.0 {
            body.push('&');
            encode(name, &mut body);
            body.push('=');
            encode(value, &mut body);
        }
        body
    }
}

fn encode(text: &str, out: &mut String) {
    for byte in text.bytes() {
        if byte.is_ascii_alphanumeric() || b"-._~".contains(&byte) {
            out.push(byte.into());
        } else {
            // Writing to a String does not fail.
            let _ = write!(out, "%{byte:02X}");
        }
    }
}

/// Where and as whom requests are made.
#[derive(Clone, Debug)]
pub(super) struct Connection {
    connector: SharedHttpConnector,
    credentials: SharedCredentialsProvider,
    cached: Arc<Mutex<Option<Credentials>>>,
    region: String,
    endpoint: String,
}

impl Connection {
    pub(super) fn new(
        connector: SharedHttpConnector,
        credentials: SharedCredentialsProvider,
        region: String,
        endpoint: Option<String>,
    ) -> Self {
        let endpoint = endpoint.unwrap_or_else(|| endpoint_of(&region));
        let endpoint = format!("{}/", endpoint.trim_end_matches('/'));
        Self {
            connector,
            credentials,
            cached: Arc::default(),
            region,
            endpoint,
        }
    }

    /// Sends a request and returns the text of a successful answer.
    pub(super) async fn send(&self, action: &str, form: &Form) -> Result<String, Failure> {
        let credentials = self.credentials().await?;
        let body = form.body(action);
        let request = self.signed(&body, &credentials, SystemTime::now())?;
        let answer = self.connector.call(request).await;
        let answer = answer.map_err(|error| Failure::unreachable(format!("{error:?}")))?;
        let status = answer.status().as_u16();
        let bytes = aws_smithy_types::byte_stream::ByteStream::new(answer.into_body())
            .collect()
            .await
            .map_err(Failure::unreachable)?
            .into_bytes();
        if bytes.len() > LARGEST {
            return Err(Failure::unreachable("an answer beyond all measure"));
        }
        let text = String::from_utf8_lossy(&bytes).into_owned();
        if (200..300).contains(&status) {
            return Ok(text);
        }
        let failure = answer::failure(status, &text);
        if failure.code == "ExpiredToken" || failure.code == "RequestExpired" {
            *self.cached.lock().await = None;
        }
        Err(failure)
    }

    fn signed(
        &self,
        body: &str,
        credentials: &Credentials,
        now: SystemTime,
    ) -> Result<HttpRequest, Failure> {
        let broken = |error: &dyn std::fmt::Display| {
            Failure::unreachable(format!(
                "the request to {} cannot be made: {error}",
                self.endpoint
            ))
        };
        let mut request = HttpRequest::new(SdkBody::from(body));
        request.set_method("POST").map_err(|error| broken(&error))?;
        request
            .set_uri(self.endpoint.as_str())
            .map_err(|error| broken(&error))?;
        let host = self.endpoint.split("://").nth(1).unwrap_or_default();
        let host = host.split('/').next().unwrap_or_default().to_owned();
        request.headers_mut().insert("host", host);
        request.headers_mut().insert("content-type", FORM);
        let identity = credentials.clone().into();
        let params = v4::SigningParams::builder()
            .identity(&identity)
            .region(&self.region)
            .name("ec2")
            .time(now)
            .settings(SigningSettings::default())
            .build()
            .map_err(|error| broken(&error))?
            .into();
        let headers = request.headers().iter();
        let signable = SignableRequest::new(
            "POST",
            self.endpoint.as_str(),
            headers,
            SignableBody::Bytes(body.as_bytes()),
        );
        let signed = sign(signable.map_err(|error| broken(&error))?, &params);
        let (instructions, _) = signed.map_err(|error| broken(&error))?.into_parts();
        let headers: Vec<(String, String)> = instructions
            .headers()
            .map(|(name, value)| (name.to_owned(), value.to_owned()))
            .collect();
        for (name, value) in headers {
            request.headers_mut().insert(name, value);
        }
        Ok(request)
    }

    async fn credentials(&self) -> Result<Credentials, Failure> {
        let mut cached = self.cached.lock().await;
        let fresh = cached.as_ref().filter(|credentials| {
            credentials
                .expiry()
                .is_none_or(|expiry| SystemTime::now() + EARLY < expiry)
        });
        if let Some(credentials) = fresh {
            return Ok(credentials.clone());
        }
        let credentials = self
            .credentials
            .provide_credentials()
            .await
            .map_err(|error| {
                let reason = DisplayErrorContext(&error);
                Failure::no_credentials(format!("no credentials: {reason}"))
            })?;
        // Without an expiry they may still change under us (a mounted file): asked for again each time.
        *cached = credentials.expiry().is_some().then(|| credentials.clone());
        Ok(credentials)
    }
}

/// EC2's public endpoint in a region, in all partitions.
fn endpoint_of(region: &str) -> String {
    let suffix = match region {
        r if r.starts_with("cn-") => "amazonaws.com.cn",
        r if r.starts_with("us-isob-") => "sc2s.sgov.gov",
        r if r.starts_with("us-isof-") => "csp.hci.ic.gov",
        r if r.starts_with("eu-isoe-") => "cloud.adc-e.uk",
        r if r.starts_with("us-iso-") => "c2s.ic.gov",
        r if r.starts_with("eusc-") => "amazonaws.eu",
        _ => "amazonaws.com",
    };
    format!("https://ec2.{region}.{suffix}")
}

#[cfg(test)]
mod tests {
    use aws_smithy_runtime_api::client::http::HttpConnectorFuture;

    use super::*;

    #[derive(Debug)]
    struct Nowhere;

    impl HttpConnector for Nowhere {
        fn call(&self, _: HttpRequest) -> HttpConnectorFuture {
            HttpConnectorFuture::new(std::future::pending())
        }
    }

    fn connection(region: &str, endpoint: Option<&str>) -> Connection {
        Connection::new(
            SharedHttpConnector::new(Nowhere),
            SharedCredentialsProvider::new(credentials()),
            region.into(),
            endpoint.map(Into::into),
        )
    }

    fn credentials() -> Credentials {
        let (key, secret) = ("AKIDEXAMPLE", "wJalrXUtnFEMI/K7MDENG+bPxRfiCYEXAMPLEKEY");
        Credentials::new(key, secret, None, None, "test")
    }

    #[test]
    fn forms_are_encoded_as_aws_reads_them() {
        let mut form = Form::filter("tag:a b", ["", "1/2"]);
        form.set("Description", "ä&=+~*");
        assert_eq!(
            form.body("DescribeSubnets"),
            "Action=DescribeSubnets&Version=2016-11-15&Filter.1.Name=tag%3Aa%20b&Filter.1.Value.1=\
             &Filter.1.Value.2=1%2F2&Description=%C3%A4%26%3D%2B~%2A"
        );
    }

    #[test]
    fn requests_are_signed_and_a_session_token_is_sent() {
        let with_token = Credentials::new("AKID", "secret", Some("token".into()), None, "test");
        let connection = connection("eu-west-1", None);
        let time = SystemTime::UNIX_EPOCH + Duration::from_secs(1_440_938_160);
        let request = connection.signed("Action=A", &with_token, time).unwrap();
        let header = |name| request.headers().get(name).unwrap_or_default();
        assert_eq!(header("host"), "ec2.eu-west-1.amazonaws.com");
        assert_eq!(header("x-amz-date"), "20150830T123600Z");
        assert_eq!(header("x-amz-security-token"), "token");
        let authorization = header("authorization");
        assert!(
            authorization.starts_with(
                "AWS4-HMAC-SHA256 Credential=AKID/20150830/eu-west-1/ec2/aws4_request, \
                 SignedHeaders=content-type;host;x-amz-date;x-amz-security-token, Signature="
            ),
            "{authorization}"
        );
    }

    #[test]
    fn endpoints_follow_the_partition() {
        for (region, host) in [
            ("us-east-1", "https://ec2.us-east-1.amazonaws.com/"),
            ("us-gov-west-1", "https://ec2.us-gov-west-1.amazonaws.com/"),
            ("cn-north-1", "https://ec2.cn-north-1.amazonaws.com.cn/"),
        ] {
            assert_eq!(connection(region, None).endpoint, host);
        }
        let own = connection("us-east-1", Some("http://127.0.0.1:5000/"));
        assert_eq!(own.endpoint, "http://127.0.0.1:5000/");
    }
}
