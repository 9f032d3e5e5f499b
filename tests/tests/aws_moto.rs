//! The AWS test base: its own tests pass, in plain text and over TLS, and it is driven from Rust.

use std::fs;
use std::net::TcpStream;
use std::path::PathBuf;
use std::time::Duration;

use herald_tests::moto::{self, Fault, Health, Moto, Options, Settings};
use herald_tests::{run, wait_for};

/// Python with a client of `moto` at hand, as `elb` and `ec2`; gives what it printed.
fn python(moto: &Moto, verify: Option<&PathBuf>, script: &str) -> anyhow::Result<String> {
    let prelude =
        "from case import client, ClientError\nelb, ec2 = client('elbv2'), client('ec2')\n";
    let mut command = std::process::Command::new(moto::ensure()?);
    command
        .current_dir(concat!(env!("CARGO_MANIFEST_DIR"), "/aws"))
        .args(["-B", "-c", &format!("{prelude}{script}")])
        .env("HERALD_MOTO_ENDPOINT", moto.endpoint())
        .env("HERALD_MOTO_SOCKET", moto.socket());
    if let Some(verify) = verify {
        command.env("HERALD_MOTO_CA", verify);
    }
    run(&mut command)
}

#[test]
fn it_is_as_strict_as_its_own_tests_say() {
    let moto = Moto::start().unwrap();
    let report = moto.run_own_tests(None).unwrap();
    assert!(
        report.contains("test_a_target_is_an_id_and_a_port"),
        "{report}"
    );
}

#[test]
fn it_is_served_over_tls_with_a_given_certificate() {
    let folder = tempfile::tempdir().unwrap();
    let pair = rcgen::generate_simple_self_signed(["127.0.0.1".to_owned()]).unwrap();
    let (certificate, key) = (folder.path().join("crt"), folder.path().join("key"));
    fs::write(&certificate, pair.cert.pem()).unwrap();
    fs::write(&key, pair.signing_key.serialize_pem()).unwrap();
    let options = Options {
        tls: Some((&certificate, &key)),
        ..Options::default()
    };
    let moto = Moto::start_with(&options).unwrap();
    assert!(moto.endpoint().starts_with("https://127.0.0.1:"));
    let script =
        "print(elb.describe_load_balancers()['LoadBalancers'], len(ec2.describe_vpcs()['Vpcs']))";
    let printed = python(&moto, Some(&certificate), script).unwrap();
    assert_eq!(printed.trim(), "[] 1");
    let other = rcgen::generate_simple_self_signed(["127.0.0.1".to_owned()]).unwrap();
    fs::write(&certificate, other.cert.pem()).unwrap();
    let error = python(&moto, Some(&certificate), script).unwrap_err();
    assert!(
        format!("{error:#}").contains("CERTIFICATE_VERIFY_FAILED"),
        "{error:#}"
    );
}

#[test]
fn it_is_told_and_asked_from_rust() {
    let moto = Moto::start().unwrap();
    let manual = Settings {
        clock: Some("manual"),
        provisioning: Some(60.0),
        draining: Some(None),
        ..Settings::default()
    };
    moto.settings(Some("us-east-1"), &manual).unwrap();
    let throttled = Fault {
        action: "CreateLoadBalancer".into(),
        code: Some("Throttling".into()),
        ..Fault::default()
    };
    moto.faults(&[throttled.clone(), throttled.clone()])
        .unwrap();
    assert_eq!(moto.faults_left().unwrap().len(), 2);
    let create = "
subnet = ec2.describe_subnets()['Subnets'][0]
def create():
    elb.create_load_balancer(Name='web', Type='network', Scheme='internal', Subnets=[subnet['SubnetId']])
for n in range(3):
    try:
        create()
        print('created')
    except ClientError as error:
        print(error.response['Error']['Code'])
";
    let state = "print(elb.describe_load_balancers()['LoadBalancers'][0]['State']['Code'])";
    let printed = python(&moto, None, create).unwrap();
    assert_eq!(
        printed.lines().collect::<Vec<_>>(),
        ["Throttling", "Throttling", "created"]
    );
    assert!(moto.faults_left().unwrap().is_empty());
    assert_eq!(python(&moto, None, state).unwrap().trim(), "provisioning");
    moto.advance(None, Duration::from_mins(1)).unwrap();
    assert_eq!(python(&moto, None, state).unwrap().trim(), "active");

    let calls = moto.calls_in("us-east-1").unwrap();
    let codes = |changing| {
        calls
            .iter()
            .filter(move |call| call.changing == changing)
            .map(|call| call.code.as_str())
    };
    assert_eq!(
        codes(true).collect::<Vec<_>>(),
        ["Throttling", "Throttling", ""]
    );
    assert!(codes(false).all(str::is_empty));
    let injected = calls.iter().filter(|call| call.injected);
    assert!(
        injected
            .clone()
            .all(|call| call.params["Name"] == "web" && call.status == Some(400))
    );
    assert_eq!(injected.count(), 2);
    assert!(
        moto.calls_after(calls[calls.len() - 1].number)
            .unwrap()
            .is_empty()
    );

    moto.fault(&Fault {
        count: None,
        ..throttled
    })
    .unwrap();
    moto.heal(None).unwrap();
    assert!(moto.faults_left().unwrap().is_empty());
    let nonsense = Health {
        region: "us-east-1".into(),
        state: Some("well".into()),
        ..Health::default()
    };
    assert!(format!("{:#}", moto.health(&[nonsense]).unwrap_err()).contains("unhealthy"));
    moto.reset().unwrap();
    assert!(moto.calls().unwrap().is_empty());
    assert_eq!(
        python(
            &moto,
            None,
            "print(elb.describe_load_balancers()['LoadBalancers'])"
        )
        .unwrap()
        .trim(),
        "[]"
    );
    moto.forget_calls().unwrap();
    assert!(moto.calls().unwrap().is_empty());
}

#[test]
fn it_goes_with_its_handle() {
    let mut moto = Moto::start().unwrap();
    let address = moto.endpoint().trim_start_matches("http://").to_owned();
    let pid = moto.process().pid();
    TcpStream::connect(&address).unwrap();
    let folder = moto.socket().parent().unwrap().to_owned();
    drop(moto);
    wait_for("end of moto", Duration::from_secs(30), || {
        let gone = !PathBuf::from(format!("/proc/{pid}")).exists();
        Ok((gone && !folder.exists() && TcpStream::connect(&address).is_err()).then_some(()))
    })
    .unwrap();
}

#[test]
fn a_server_that_cannot_start_says_why() {
    let missing = PathBuf::from("/nonexistent/certificate");
    let options = Options {
        tls: Some((&missing, &missing)),
        ..Options::default()
    };
    let error = Moto::start_with(&options).unwrap_err();
    assert!(format!("{error:#}").contains("No such file"), "{error:#}");
}
