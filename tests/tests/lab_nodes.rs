//! What tests do to nodes: pull their cable, crash them, run a speaker on them by hand. Needs root.

use std::path::Path;
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};
use herald_tests::{Cluster, ClusterOptions, Place, down, wait_for};

const DEADLINE: Duration = Duration::from_secs(120);

#[test]
fn nodes_lose_their_cable_crash_and_run_speakers() -> Result<()> {
    let name = format!("nodes-{}", std::process::id());
    let cluster = Cluster::up(&ClusterOptions {
        nodes: 2,
        ..ClusterOptions::new(&name)
    })?;
    let result = pull_the_cable(&cluster)
        .and_then(|()| run_a_speaker(&cluster))
        .and_then(|()| reach_services(&cluster))
        .and_then(|()| crash(&cluster))
        .and_then(|()| read_a_dump(&cluster));
    down(&name)?;
    result
}

fn pull_the_cable(cluster: &Cluster) -> Result<()> {
    let carrier = |up: bool| {
        let link = cluster.run(Place::Node(1), &["ip", "link", "show", "eth0"])?;
        ensure!(link.contains("NO-CARRIER") != up, "{link}");
        Ok(Some(()))
    };
    cluster.link(1, false)?;
    wait_for("loss of carrier on n1", DEADLINE, || carrier(false))?;
    cluster.link(1, true)?;
    wait_for("carrier on n1", DEADLINE, || carrier(true))?;
    for address in ["10.77.0.11", "fd00:77::11"] {
        wait_for("n1 after its cable is back", DEADLINE, || {
            cluster
                .run(Place::Client, &["ping", "-c1", "-W1", address])
                .map(Some)
        })?;
    }
    ensure!(cluster.link(3, false).is_err(), "there is no n3");
    Ok(())
}

/// Something that says who it is to the API server, in place of a speaker.
fn run_a_speaker(cluster: &Cluster) -> Result<()> {
    cluster.kubectl(&["create", "namespace", "herald-system"])?;
    cluster.kubectl(&[
        "create",
        "serviceaccount",
        "herald-speaker",
        "-n",
        "herald-system",
    ])?;
    let kubectl = cluster.folder().join("bin/kubectl");
    let mut speaker = cluster.spawn_speaker(2, &kubectl, &["auth", "whoami", "-o", "json"])?;
    let status = speaker.wait(DEADLINE)?;
    let output = speaker.output()?;
    ensure!(status.success(), "{output}");
    let answer: serde_json::Value = serde_json::from_str(&output).context(output)?;
    let user = &answer["status"]["userInfo"];
    ensure!(
        user["username"] == "system:serviceaccount:herald-system:herald-speaker",
        "{user}"
    );
    let node = &user["extra"]["authentication.kubernetes.io/node-name"][0];
    ensure!(node == "n2", "the token is bound to the node: {user}");

    let hostname = cluster.spawn_speaker(2, Path::new("/bin/hostname"), &[])?;
    wait_for("host name", DEADLINE, || {
        Ok((hostname.output()? == "n2\n").then_some(()))
    })
}

/// kube-proxy and CoreDNS work, from a node, in both families.
fn reach_services(cluster: &Cluster) -> Result<()> {
    for url in [
        "https://10.96.0.1/version",
        "https://kubernetes.default.svc/version",
    ] {
        let curl = [
            "curl",
            "-sk",
            "-m5",
            "--resolve",
            "kubernetes.default.svc:443:10.96.0.1",
            url,
        ];
        // kube-proxy programs at its own pace, the slower right after a cable was out.
        wait_for("the API server by its cluster IP", DEADLINE, || {
            let answer = cluster.run(Place::Node(1), &curl)?;
            ensure!(answer.contains("v1.35.4"), "{answer}");
            Ok(Some(()))
        })?;
    }
    // A DNS query for kubernetes.default.svc.cluster.local, type A, over TCP to both cluster IPs of kube-dns.
    let query = r"printf '\0\66\0\7\1\0\0\1\0\0\0\0\0\0\12kubernetes\7default\3svc\7cluster\5local\0\0\1\0\1'";
    for server in ["10.96.0.10", "fd00:10:96::a"] {
        let ask = format!("{query} | nc -w2 {server} 53 | od -An -tu1 | tr -d '\\n'");
        wait_for("DNS by its cluster IP", DEADLINE, || {
            let answer = cluster.run(Place::Node(1), &["sh", "-c", &ask])?;
            let words: Vec<&str> = answer.split_whitespace().collect();
            ensure!(
                words.ends_with(&["10", "96", "0", "1"]),
                "{server} answers {answer:?}"
            );
            Ok(Some(()))
        })?;
    }
    Ok(())
}

fn crash(cluster: &Cluster) -> Result<()> {
    cluster.crash_node(2)?;
    ensure!(cluster.state().running("n2-kubelet").is_none());
    ensure!(
        cluster.state().running("n1-kubelet").is_some(),
        "only n2 crashes"
    );
    wait_for("n2 to be given up", DEADLINE, || {
        let not_ready = cluster.nodes_not_ready()?;
        ensure!(
            not_ready.iter().any(|node| node.starts_with("n2")),
            "not Ready: {not_ready:?}"
        );
        Ok(Some(()))
    })?;
    let status = cluster.status()?;
    ensure!(!status.is_healthy() && status.ended.iter().any(|role| role == "n2-kubelet"));
    Ok(())
}

fn read_a_dump(cluster: &Cluster) -> Result<()> {
    let folder = cluster.dump("shown by a test")?;
    for file in [
        "logs/kube-apiserver.log",
        "logs/n1-kubelet.log",
        "n1-ruleset.txt",
        "client-neighbours.txt",
        "events.txt",
        "captures/lan.pcap0",
        "captures/lan.pcap0-arp-ndp.txt",
    ] {
        let path = folder.join(file);
        if std::fs::metadata(&path).map_or(0, |file| file.len()) == 0 {
            bail!("{} is missing or empty", path.display());
        }
    }
    ensure!(std::fs::read_to_string(folder.join("n1-ruleset.txt"))?.contains("table"));
    let packets = cluster.lan_packets()?;
    ensure!(
        packets.iter().any(|line| line.contains("ARP")),
        "{} packets",
        packets.len()
    );
    std::fs::remove_dir_all(&folder)?;
    Ok(())
}
