//! The data path over time, on real nf_tables: changes under traffic, restarts, other writers, refusals, size. Needs root.

mod netns_data_path_lab;

use std::collections::BTreeSet;
use std::io::{BufRead as _, BufReader, Write as _};
use std::net::{IpAddr, SocketAddr, TcpStream, UdpSocket};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use herald_core::IpFamily;
use herald_nft::{Socket, table_flag};
use herald_speaker::data_path::{DataPath, DataPathReport};
use herald_speaker_core::ruleset::{Ruleset, SetId, table};
use herald_speaker_core::{ForwardConfig, ServiceProxy, ServiceView, TrafficPolicy};
use herald_tests::{Netns, wait_for};

use netns_data_path_lab::net::{Outcome, PATIENCE, Transport, ask, ask_often, tcp_once};
use netns_data_path_lab::proxy::{Proxy, endpoint, far, key, near, service, with_node_port};
use netns_data_path_lab::{Lab, both, node, skipped};

const DEADLINE: Duration = Duration::from_secs(30);

fn load_balancer() -> [IpAddr; 2] {
    both("203.0.113.10", "2001:db8:2::10")
}

fn web() -> ServiceView {
    let mut web = with_node_port(service("web"), 30080);
    web.load_balancer_ips = load_balancer().to_vec();
    web
}

fn target(address: IpAddr) -> SocketAddr {
    SocketAddr::new(address, 80)
}

/// A TCP connection that stays open; the server has said its name.
struct Held(BufReader<TcpStream>);

impl Held {
    fn open(from: &Netns, to: SocketAddr) -> Result<Self> {
        let stream = from.enter(|| TcpStream::connect_timeout(&to, PATIENCE))??;
        stream.set_read_timeout(Some(PATIENCE))?;
        let mut held = Self(BufReader::new(stream));
        let mut greeting = String::new();
        held.0.read_line(&mut greeting)?;
        Ok(held)
    }

    /// Sends a line and reads its echo.
    fn works(&mut self) -> Result<()> {
        self.0.get_mut().write_all(b"still there?\n")?;
        let mut line = String::new();
        self.0
            .read_line(&mut line)
            .context("an open connection broke")?;
        ensure!(line == "still there?\n", "{line:?}");
        Ok(())
    }
}

/// How many SYNs were sent again in a namespace: what a lost first packet shows as.
fn repeated_syns(namespace: &Netns) -> Result<u64> {
    let text = namespace.enter(|| std::fs::read_to_string("/proc/thread-self/net/netstat"))??;
    let mut lines = text.lines().filter_map(|l| l.strip_prefix("TcpExt: "));
    let (names, values) = (lines.next(), lines.next());
    let names = names.unwrap_or_default().split(' ');
    let mut columns = names.zip(values.unwrap_or_default().split(' '));
    let found = columns.find(|(name, _)| *name == "TCPSynRetrans");
    Ok(found.context("no TCPSynRetrans")?.1.parse()?)
}

#[test]
fn scaling_under_traffic_loses_no_connection() -> Result<()> {
    if skipped() {
        return Ok(());
    }
    let lab = Lab::with_servers("flip")?;
    let mut proxy = Proxy::start(&lab.node, ServiceProxy::External)?;
    let sets = [near(), [near(), far()].concat(), far()];
    proxy.put(web(), &sets[0]);
    proxy.replace()?;
    let before = repeated_syns(&lab.client)?;
    let done = AtomicBool::new(false);
    let flips = AtomicUsize::new(0);
    let connects = std::thread::scope(|scope| -> Result<usize> {
        let clients: Vec<_> = load_balancer()
            .into_iter()
            .map(|address| {
                let (lab, done) = (&lab, &done);
                scope.spawn(move || {
                    lab.client.enter(|| -> Result<usize> {
                        let mut connects = 0;
                        while !done.load(Ordering::Relaxed) {
                            let outcome = tcp_once(target(address), PATIENCE)?;
                            ensure!(outcome.server().is_some(), "{address}: {outcome:?}");
                            connects += 1;
                        }
                        Ok(connects)
                    })?
                })
            })
            .collect();
        // Until enough of both has happened; a client that fails ends the test at its join.
        for round in 1.. {
            proxy.endpoints(&key("web"), &sets[round % sets.len()]);
            proxy.change(&[key("web")])?;
            flips.fetch_add(1, Ordering::Relaxed);
            if round >= 3000
                || clients
                    .iter()
                    .any(std::thread::ScopedJoinHandle::is_finished)
            {
                break;
            }
        }
        done.store(true, Ordering::Relaxed);
        let counts = clients.into_iter().map(|c| match c.join() {
            Ok(count) => count,
            Err(panic) => std::panic::resume_unwind(panic),
        });
        counts.sum()
    })?;
    let repeated = repeated_syns(&lab.client)? - before;
    println!("{connects} connects during {flips:?} changes, {repeated} repeated SYNs");
    ensure!(connects > 1000, "only {connects} connects");
    ensure!(
        repeated == 0,
        "{repeated} of {connects} first packets were lost"
    );
    lab.listing()?;
    Ok(())
}

/// Why a restarted speaker would not take the tables over as they are.
fn mismatches(lab: &Lab, config: &ForwardConfig) -> Result<Vec<String>> {
    let mut socket = lab.node.enter(Socket::open)??;
    let mut ruleset = Ruleset::new(config);
    ruleset.set_table_flags(table_flag::OWNER | table_flag::PERSIST);
    let listings = [IpFamily::V4, IpFamily::V6]
        .into_iter()
        .map(|family| Ok((family, socket.list(&table(family))?)))
        .collect::<Result<_>>()?;
    let mismatches = ruleset.observe(&listings).into_iter();
    Ok(mismatches
        .map(|(family, m)| format!("{family}: {m}"))
        .collect())
}

#[test]
fn restart_adopts_what_is_there() -> Result<()> {
    if skipped() {
        return Ok(());
    }
    let lab = Lab::with_servers("adopt")?;
    let mut proxy = Proxy::start(&lab.node, ServiceProxy::All)?;
    let mut full = web();
    full.external_policy = TrafficPolicy::Local;
    full.source_ranges = vec!["192.0.2.0/24".parse()?, "2001:db8:1::/64".parse()?];
    full.cluster_ips = both("10.96.0.10", "fd00:96::10").to_vec();
    proxy.put(full, &[near(), far()].concat());
    let mut other = service("other");
    other.load_balancer_ips = both("203.0.113.11", "2001:db8:2::11").to_vec();
    proxy.put(other, &[near(), far()].concat());
    proxy.replace()?;
    let mut held: Vec<_> = load_balancer()
        .into_iter()
        .map(|a| Held::open(&lab.client, target(a)))
        .collect::<Result<_>>()?;
    let handles = || lab.node.run(&["nft", "-a", "list", "ruleset"]);
    let owner = |text: String| text.replace("flags owner", "");
    let before = owner(handles()?);
    ensure!(before.contains("counter packets 1 "), "{before}");
    let (config, snapshot) = (proxy.config.clone(), proxy.snapshot.clone());
    ensure!(
        mismatches(&lab, &config)?.is_empty(),
        "{:?}",
        mismatches(&lab, &config)?
    );
    drop(proxy);
    // Nobody runs: the rules go on working.
    for held in &mut held {
        held.works()?;
    }
    wait_for(
        "the first data path to let go of its tables",
        DEADLINE,
        || Ok((!lab.listing()?.contains("progname")).then_some(())),
    )?;
    let mut proxy = Proxy::with(&lab.node, config, snapshot)?;
    proxy.replace()?;
    let after = owner(handles()?);
    let plain = |text: &str| -> Vec<String> {
        let lines = text
            .lines()
            .map(|l| l.split(" # progname").next().unwrap_or(l));
        lines
            .map(|l| l.trim().to_owned())
            .filter(|l| !l.is_empty())
            .collect()
    };
    ensure!(
        plain(&before) == plain(&after),
        "before:\n{before}\nafter:\n{after}"
    );
    for held in &mut held {
        held.works()?;
    }
    let counted = proxy.connections(load_balancer()[0])?;
    ensure!(counted == Some(1), "counters were lost: {counted:?}");

    // What changed while nobody ran is made up for, without touching the rest.
    let (config, mut snapshot) = (proxy.config.clone(), proxy.snapshot.clone());
    drop(proxy);
    wait_for(
        "the second data path to let go of its tables",
        DEADLINE,
        || Ok((!lab.listing()?.contains("progname")).then_some(())),
    )?;
    snapshot.services.remove(&key("other"));
    snapshot.slices.remove(&key("other"));
    let mut proxy = Proxy::with(&lab.node, config, snapshot)?;
    proxy.endpoints(&key("web"), &near());
    proxy.replace()?;
    let elements = lab.elements("services")?.join(" ");
    ensure!(!elements.contains("203.0.113.11"), "{elements}");
    ensure!(proxy.connections(load_balancer()[0])? == Some(1));
    for held in &mut held {
        held.works()?;
    }
    Ok(())
}

#[test]
fn foreign_table_of_that_name_is_replaced_at_once() -> Result<()> {
    if skipped() {
        return Ok(());
    }
    let lab = Lab::with_servers("alien")?;
    let mut proxy = Proxy::start(&lab.node, ServiceProxy::External)?;
    proxy.put(web(), &near());
    proxy.replace()?;
    let mut held = Held::open(&lab.client, target(load_balancer()[0]))?;
    let (config, snapshot) = (proxy.config.clone(), proxy.snapshot.clone());
    drop(proxy);
    for command in [
        "add chain ip herald alien",
        "add rule ip herald alien counter accept",
        "add set ip6 herald alien { type inet_service; }",
    ] {
        wait_for("the tables to be free", DEADLINE, || {
            Ok(Some(lab.node.run(
                &[&["nft"], &command.split(' ').collect::<Vec<_>>()[..]].concat(),
            )?))
        })?;
    }
    let mut proxy = Proxy::with(&lab.node, config, snapshot)?;
    proxy.replace()?;
    let listing = lab.listing()?;
    ensure!(!listing.contains("alien"), "{listing}");
    held.works()?;
    for address in load_balancer() {
        let outcome = ask(&lab.client, Transport::Tcp, address, 80)?;
        ensure!(outcome.server() == Some("near"), "{address}: {outcome:?}");
    }
    Ok(())
}

#[test]
fn owned_tables_are_safe_from_others_and_waited_for() -> Result<()> {
    if skipped() {
        return Ok(());
    }
    let lab = Lab::with_servers("own")?;
    let mut first = Proxy::start(&lab.node, ServiceProxy::External)?;
    first.put(web(), &near());
    first.replace()?;
    let flush = lab.node.output(&["nft", "flush", "ruleset"])?;
    let outcome = ask(&lab.client, Transport::Tcp, load_balancer()[0], 80)?;
    ensure!(
        outcome.server() == Some("near"),
        "after {flush:?}: {outcome:?}"
    );

    let mut second = Proxy::with(&lab.node, first.config.clone(), first.snapshot.clone())?;
    second.endpoints(&key("web"), &far());
    let error = second.replace().map(drop);
    let error = error.err().context("two owners at once")?.to_string();
    ensure!(
        error.contains("Unavailable") && error.contains("own the tables"),
        "{error}"
    );
    drop(first);
    loop {
        match second.report()? {
            DataPathReport::Ready => break,
            DataPathReport::Synced { .. } => {}
            other => anyhow::bail!("{other:?}"),
        }
    }
    let outcome = ask(&lab.client, Transport::Tcp, load_balancer()[0], 80)?;
    ensure!(outcome.server() == Some("far"), "{outcome:?}");
    Ok(())
}

#[test]
fn damage_by_others_is_repaired_at_the_next_change() -> Result<()> {
    if skipped() {
        return Ok(());
    }
    let lab = Lab::with_servers("drift")?;
    let mut proxy = Proxy::start_shared(&lab.node, ServiceProxy::External)?;
    proxy.put(web(), &near());
    proxy.replace()?;
    for damage in ["flush ruleset", "delete table ip herald"] {
        lab.node
            .run(&[&["nft"], &damage.split(' ').collect::<Vec<_>>()[..]].concat())?;
        for endpoints in [[near(), far()].concat(), far()] {
            proxy.endpoints(&key("web"), &endpoints);
            proxy.change(&[key("web")])?;
        }
        for address in load_balancer() {
            let outcome = ask(&lab.client, Transport::Tcp, address, 80)?;
            ensure!(
                outcome.server() == Some("far"),
                "{damage}, {address}: {outcome:?}"
            );
        }
    }
    lab.listing()?;
    Ok(())
}

#[test]
fn refused_service_holds_up_no_other() -> Result<()> {
    if skipped() {
        return Ok(());
    }
    let lab = Lab::with_servers("isol")?;
    let mut proxy = Proxy::start(&lab.node, ServiceProxy::External)?;
    proxy.put(web(), &near());
    // The kernel refuses an IPv6 backend in the IPv4 map; no snapshot leads to one.
    let mut broken = service("broken");
    broken.load_balancer_ips = vec!["203.0.113.66".parse()?];
    proxy.put(broken, &near());
    for at_start in [true, false] {
        let mut bad = proxy.forwarding("broken");
        for frontend in &mut bad.frontends {
            frontend.cluster = [herald_speaker_core::Backend {
                address: "[fd00::1]:80".parse()?,
                node: None,
                local: false,
            }]
            .into();
        }
        let good = proxy.forwarding("web");
        if at_start {
            proxy.send_replace(vec![bad, good])?;
        } else {
            proxy.send_change(vec![bad, good])?;
        }
        let (mut failed, mut synced) = (false, false);
        while !(failed && synced) {
            match proxy.report()? {
                DataPathReport::Failed { keys, error } => {
                    ensure!(
                        keys == [key("broken")] && error.contains("Invalid argument"),
                        "{error}"
                    );
                    failed = true;
                }
                DataPathReport::Synced { services } => {
                    ensure!(services.iter().all(|s| s.key == key("web")), "{services:?}");
                    synced = true;
                }
                DataPathReport::Ready => {}
                other @ DataPathReport::Unavailable { .. } => anyhow::bail!("{other:?}"),
            }
        }
        let outcome = ask(&lab.client, Transport::Tcp, load_balancer()[0], 80)?;
        ensure!(outcome.server() == Some("near"), "{outcome:?}");
    }
    proxy.change(&[key("broken")])?;
    let outcome = ask(&lab.client, Transport::Tcp, "203.0.113.66".parse()?, 80)?;
    ensure!(outcome.server() == Some("near"), "{outcome:?}");
    lab.listing()?;
    Ok(())
}

/// What kube-proxy's chains look like to us: later in the same hooks, with an answer of their own for the same address.
const KUBE_PROXY: &str = "
table ip kube-proxy {
  map service-ips {
    type ipv4_addr . inet_proto . inet_service : verdict
    elements = { 203.0.113.10 . tcp . 80 : goto to-far, 10.96.0.10 . tcp . 80 : goto to-far }
  }
  chain to-far {
    meta mark set meta mark or 0x4000
    ip protocol tcp dnat to 10.244.2.12:8080
  }
  chain nat-prerouting {
    type nat hook prerouting priority -100;
    ip daddr . meta l4proto . th dport vmap @service-ips
  }
  chain nat-output {
    type nat hook output priority -100;
    ip daddr . meta l4proto . th dport vmap @service-ips
  }
  chain nat-postrouting {
    type nat hook postrouting priority 100;
    meta mark and 0x4000 == 0 return
    meta mark set meta mark xor 0x4000
    masquerade fully-random
  }
}";

#[test]
fn kube_proxy_beside_us_is_preceded_and_left_alone() -> Result<()> {
    if skipped() {
        return Ok(());
    }
    let lab = Lab::with_servers("kube")?;
    let file = tempfile::NamedTempFile::new()?;
    std::fs::write(file.path(), KUBE_PROXY)?;
    let path = file.path().to_str().context("odd path")?;
    lab.node.run(&["nft", "-f", path])?;
    let theirs = || {
        lab.node
            .run(&["nft", "-a", "list", "table", "ip", "kube-proxy"])
    };
    let before = theirs()?;
    let mut proxy = Proxy::start(&lab.node, ServiceProxy::External)?;
    let mut web = web();
    web.cluster_ips = vec!["10.96.0.10".parse()?];
    proxy.put(web, &near());
    proxy.replace()?;
    for place in [&lab.client, &lab.node] {
        for outcome in ask_often(place, Transport::Tcp, target(load_balancer()[0]), 10)? {
            ensure!(
                outcome.server() == Some("near"),
                "{outcome:?}: kube-proxy came first"
            );
        }
        // Cluster IPs are kube-proxy's in mode external.
        let outcome = ask(place, Transport::Tcp, "10.96.0.10".parse()?, 80)?;
        ensure!(outcome.server() == Some("far"), "{outcome:?}");
    }
    ensure!(theirs()? == before, "kube-proxy's table changed");
    proxy.remove(&key("web"));
    proxy.change(&[key("web")])?;
    let outcome = ask(&lab.client, Transport::Tcp, load_balancer()[0], 80)?;
    ensure!(
        outcome.server() == Some("far"),
        "{outcome:?}: without us it is kube-proxy's again"
    );
    Ok(())
}

#[test]
fn udp_flow_moves_when_its_backend_goes() -> Result<()> {
    if skipped() {
        return Ok(());
    }
    let lab = Lab::with_servers("udp")?;
    let mut proxy = Proxy::start(&lab.node, ServiceProxy::External)?;
    for address in load_balancer() {
        proxy.put(web(), &near());
        if address.is_ipv4() {
            proxy.replace()?;
        } else {
            proxy.change(&[key("web")])?;
        }
        let any = if address.is_ipv4() {
            "0.0.0.0:0"
        } else {
            "[::]:0"
        };
        let socket = lab.client.enter(|| UdpSocket::bind(any))??;
        socket.connect(target(address))?;
        socket.set_read_timeout(Some(Duration::from_millis(500)))?;
        let ask = || -> Result<Option<String>> {
            socket.send(b"who?")?;
            let mut buffer = [0; 128];
            let length = socket.recv(&mut buffer)?;
            let text = String::from_utf8_lossy(&buffer[..length]).into_owned();
            Ok(text.split(' ').next().map(str::to_owned))
        };
        let served_by = |name: &str| -> Result<()> {
            wait_for(&format!("an answer of {name}"), DEADLINE, || {
                Ok((ask()?.as_deref() == Some(name)).then_some(()))
            })
        };
        served_by("near")?;
        // A backend that terminates but still serves keeps its flows: other endpoints alone are no reason to move.
        let mut draining = near();
        for endpoint in &mut draining {
            (endpoint.ready, endpoint.terminating) = (false, true);
        }
        proxy.endpoints(&key("web"), &[draining, far()].concat());
        proxy.change(&[key("web")])?;
        ensure!(
            ask()?.as_deref() == Some("near"),
            "the flow of a draining backend moved"
        );
        proxy.endpoints(&key("web"), &far());
        proxy.change(&[key("web")])?;
        served_by("far")?;
        proxy.endpoints(&key("web"), &[]);
        proxy.change(&[key("web")])?;
        wait_for("refusal", DEADLINE, || Ok(ask().is_err().then_some(())))?;
        proxy.endpoints(&key("web"), &near());
        proxy.change(&[key("web")])?;
        served_by("near")?;
    }
    Ok(())
}

#[test]
fn node_changes_reach_the_kernel() -> Result<()> {
    if skipped() {
        return Ok(());
    }
    let lab = Lab::with_servers("node")?;
    let mut proxy = Proxy::start(&lab.node, ServiceProxy::External)?;
    proxy.put(web(), &near());
    proxy.replace()?;
    let [address, _] = node();
    let outcome = ask(&lab.client, Transport::Tcp, address, 30080)?;
    ensure!(outcome.server() == Some("near"), "{outcome:?}");
    let own = proxy
        .snapshot
        .nodes
        .values_mut()
        .next()
        .context("no node")?;
    own.addresses = vec!["10.244.1.1".parse()?];
    own.pod_cidrs = vec!["10.244.0.0/16".parse()?];
    proxy.node()?;
    wait_for("node ports on the new address only", DEADLINE, || {
        let new = ask(&lab.client, Transport::Tcp, "10.244.1.1".parse()?, 30080)?;
        let old = ask(&lab.client, Transport::Tcp, address, 30080)?;
        Ok((new.server() == Some("near") && old == Outcome::Refused).then_some(()))
    })?;
    ensure!(
        lab.elements("pods")? == ["10.244.0.0/16"],
        "{:?}",
        lab.elements("pods")?
    );
    lab.listing()?;
    Ok(())
}

#[test]
fn node_ports_can_answer_on_every_local_address() -> Result<()> {
    if skipped() {
        return Ok(());
    }
    let lab = Lab::with_servers("npa")?;
    let mut proxy = Proxy::start(&lab.node, ServiceProxy::External)?;
    proxy.config.nodeport_addresses = Some(vec!["0.0.0.0/0".parse()?, "::/0".parse()?]);
    proxy.put(web(), &near());
    proxy.replace()?;
    for address in [
        "192.0.2.1",
        "10.244.1.1",
        "10.244.2.1",
        "2001:db8:1::1",
        "fd00:244:1::1",
    ] {
        let outcome = ask(&lab.client, Transport::Tcp, address.parse()?, 30080)?;
        ensure!(outcome.server() == Some("near"), "{address}: {outcome:?}");
    }
    // Neither loopback, nor addresses that are not this node's.
    for address in ["127.0.0.1", "::1"] {
        let outcome = ask(&lab.node, Transport::Tcp, address.parse()?, 30080)?;
        ensure!(outcome == Outcome::Refused, "{address}: {outcome:?}");
    }
    let transit = ask(&lab.client, Transport::Tcp, "10.244.2.12".parse()?, 30080)?;
    ensure!(transit == Outcome::Refused, "{transit:?}");
    lab.listing()?;
    Ok(())
}

#[test]
fn ten_thousand_services_load_and_change() -> Result<()> {
    if skipped() {
        return Ok(());
    }
    const SERVICES: u32 = 10_000;
    const ENDPOINTS: u32 = 10;
    let lab = Lab::with_servers("scale")?;
    let mut proxy = Proxy::start(&lab.node, ServiceProxy::External)?;
    for number in 0..SERVICES {
        let mut one = service(&format!("s{number}"));
        one.ports.truncate(1);
        let [_, _, high, low] = number.to_be_bytes();
        one.load_balancer_ips = vec![IpAddr::from([198, 18, high, low])];
        let endpoints: Vec<_> = (0..ENDPOINTS)
            .map(|e| {
                endpoint(
                    IpAddr::from([10, 128 + e.to_be_bytes()[3], high, low]),
                    "n2",
                )
            })
            .collect();
        proxy.put(one, &endpoints);
    }
    proxy.put(web(), &near());
    proxy.replace()?;
    let count = |set: SetId| -> Result<usize> {
        lab.node.enter(|| -> Result<usize> {
            let name = table(IpFamily::V4).set(set.name());
            Ok(Socket::open()?.elements(&name)?.len())
        })?
    };
    let rows = count(SetId::Endpoints)?;
    // Those of the many, and of the one both protocols.
    ensure!(
        rows == usize::try_from(SERVICES * ENDPOINTS)? + 2,
        "{rows} rows"
    );
    let outcome = ask(&lab.client, Transport::Tcp, load_balancer()[0], 80)?;
    ensure!(outcome.server() == Some("near"), "{outcome:?}");
    proxy.endpoints(&key("web"), &far());
    proxy.change(&[key("web")])?;
    let outcome = ask(&lab.client, Transport::Tcp, load_balancer()[0], 80)?;
    ensure!(outcome.server() == Some("far"), "{outcome:?}");
    // A restart reads all of it back and finds nothing to change.
    let (config, snapshot) = (proxy.config.clone(), proxy.snapshot.clone());
    drop(proxy);
    wait_for("the tables to be free", DEADLINE, || {
        let tables = lab.node.run(&["nft", "list", "tables"])?;
        Ok((!tables.contains("progname")).then_some(()))
    })?;
    Proxy::with(&lab.node, config, snapshot)?.replace()?;
    ensure!(count(SetId::Endpoints)? == rows);
    Ok(())
}

#[test]
fn cleanup_removes_every_trace() -> Result<()> {
    if skipped() {
        return Ok(());
    }
    let lab = Lab::with_servers("clean")?;
    lab.node.enter(DataPath::cleanup)??;
    let mut proxy = Proxy::start(&lab.node, ServiceProxy::External)?;
    proxy.put(web(), &near());
    proxy.replace()?;
    ensure!(lab.listing()?.contains("table ip6 herald"));
    drop(proxy);
    wait_for("the tables to be free", DEADLINE, || {
        Ok(lab.node.enter(DataPath::cleanup)?.is_ok().then_some(()))
    })?;
    ensure!(lab.listing()?.trim().is_empty(), "{}", lab.listing()?);
    Ok(())
}

#[test]
fn mode_off_leaves_nothing_in_the_way() -> Result<()> {
    if skipped() {
        return Ok(());
    }
    let lab = Lab::with_servers("off")?;
    let mut proxy = Proxy::start(&lab.node, ServiceProxy::External)?;
    proxy.put(web(), &near());
    proxy.replace()?;
    let (mut config, snapshot) = (proxy.config.clone(), proxy.snapshot.clone());
    drop(proxy);
    wait_for("the tables to be free", DEADLINE, || {
        Ok((!lab.listing()?.contains("progname")).then_some(()))
    })?;
    config.mode = ServiceProxy::Off;
    Proxy::with(&lab.node, config, snapshot)?.replace()?;
    ensure!(lab.listing()?.trim().is_empty(), "{}", lab.listing()?);
    Ok(())
}

/// Set in the child of [`two_capabilities_are_enough`].
const CHILD: &str = "HERALD_TEST_CAPABILITIES";

/// The speaker's container: root without any capability but NET_ADMIN and NET_RAW.
#[test]
fn two_capabilities_are_enough() -> Result<()> {
    if skipped() {
        return Ok(());
    }
    if std::env::var_os(CHILD).is_some() {
        let mut proxy = Proxy::start_here(ServiceProxy::External)?;
        proxy.put(web(), &near());
        proxy.replace()?;
        return Ok(());
    }
    let lab = Lab::with_servers("caps")?;
    let own = std::env::current_exe()?;
    let mut child = lab.node.command("setpriv")?;
    child
        .args([
            "--bounding-set",
            "-all,+net_admin,+net_raw",
            "--no-new-privs",
        ])
        .arg(own)
        .args(["--exact", "two_capabilities_are_enough", "--nocapture"])
        .env(CHILD, "1");
    let output = child.output()?;
    ensure!(
        output.status.success(),
        "{}{}",
        String::from_utf8_lossy(&output.stdout),
        String::from_utf8_lossy(&output.stderr)
    );
    let answers: BTreeSet<_> = load_balancer()
        .into_iter()
        .map(|a| ask(&lab.client, Transport::Tcp, a, 80))
        .collect::<Result<_>>()?;
    ensure!(
        answers.iter().all(|o| o.server() == Some("near")),
        "{answers:?}"
    );
    lab.listing()?;
    Ok(())
}
