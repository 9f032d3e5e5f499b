//! The controller's program against a real API server and an AWS that is as strict as the real one: every load balancer it
//! makes, with the permissions of the manifests, and what must hold whatever fails. No kubelets: Nodes, EndpointSlices and Pods
//! are objects only.

mod api_aws {
    pub(crate) mod audit;
    pub(crate) mod aws;
    pub(crate) mod bad_input;
    pub(crate) mod calls;
    pub(crate) mod changes;
    pub(crate) mod classes;
    pub(crate) mod cloud;
    pub(crate) mod crashes;
    pub(crate) mod finalizer;
    pub(crate) mod foreign;
    pub(crate) mod gates;
    pub(crate) mod held;
    pub(crate) mod leaders;
    pub(crate) mod life;
    pub(crate) mod many;
    pub(crate) mod objects;
    pub(crate) mod release;
    pub(crate) mod replacement;
    pub(crate) mod site;
    pub(crate) mod trouble;
}
mod api_server;
mod controller;

use std::thread;
use std::time::Instant;

use anyhow::{Result, anyhow};
use herald_tests::moto::Settings;

use api_aws::cloud::{Cloud, PROVISIONING};
use api_aws::{
    bad_input, classes, crashes, finalizer, foreign, gates, held, leaders, life, many, release,
    replacement, trouble,
};

/// A scenario with its name.
type Scenario = (&'static str, fn(&Cloud) -> Result<()>);

/// What one controller does for many Services at once: every scenario has its own, and no scenario waits for another.
const TOGETHER: [Scenario; 9] = [
    ("life of instances", life::of_instances),
    ("life of pods", life::of_pods),
    ("TLS", life::of_tls),
    ("release", release::when_not_its_own),
    ("replacement", replacement::by_scheme),
    ("bad input", bad_input::is_told_and_stops_nothing),
    ("a slow Service", trouble::of_one_delays_no_other),
    ("pause", held::by_the_user),
    ("readiness gates", gates::follow_the_targets),
];

#[test]
fn a_service_has_its_load_balancer_and_nothing_else_is_touched() -> Result<()> {
    let cloud = Cloud::new(false)?;
    let result = together(&cloud);
    cloud.explain(result)
}

fn together(cloud: &Cloud) -> Result<()> {
    let slow = Settings {
        provisioning: Some(PROVISIONING),
        registration: Some(1.0),
        draining: Some(Some(1.0)),
        release: Some(2.0),
        ..Settings::default()
    };
    cloud.moto.settings(None, &slow)?;
    let before = foreign::add(cloud)?;
    classes::a_contradiction_is_refused_at_the_start(cloud)?;
    classes::pools_work_while_aws_does_not(cloud)?;
    // Each Service is read again every few seconds, by more calls than an account has at first.
    let flags = [
        "--aws-audit-interval=1s",
        "--aws-read-rate=100/40",
        "--aws-change-rate=20/20",
    ];
    let controller = cloud.controller("first", &flags)?;
    finalizer::is_needed(cloud)?;
    thread::scope(|scope| {
        let running: Vec<_> = TOGETHER
            .into_iter()
            .map(|(name, scenario)| (name, scope.spawn(move || timed(name, || scenario(cloud)))))
            .collect();
        let results = running.into_iter().map(|(name, thread)| {
            let result = thread
                .join()
                .unwrap_or_else(|_| Err(anyhow!("it panicked")));
            result.map_err(|error| error.context(name))
        });
        // All of them are waited for; the first failure is told.
        results
            .collect::<Vec<_>>()
            .into_iter()
            .collect::<Result<()>>()
    })?;
    controller.stop()?;
    timed("dry run", || held::by_the_operator(cloud))?;
    timed("classless", || classes::without_class(cloud))?;
    foreign::untouched(cloud, &before)
}

/// Over TLS, with the certificate authority from a flag.
#[test]
fn kills_and_pauses_leak_and_double_nothing() -> Result<()> {
    let cloud = Cloud::new(true)?;
    let result = timed("a strange authority", || trouble::of_a_stranger(&cloud))
        .and_then(|()| timed("kill -9", || crashes::at_ten_calls(&cloud)))
        .and_then(|()| {
            timed("a paused leader", || {
                leaders::a_paused_one_changes_nothing(&cloud)
            })
        });
    cloud.explain(result)
}

#[test]
fn two_hundred_services() -> Result<()> {
    let cloud = Cloud::new(false)?;
    let result = timed("creation", || many::at_once(&cloud))
        .and_then(|()| timed("resync", || many::idle(&cloud)));
    cloud.explain(result)
}

fn timed(what: &str, run: impl FnOnce() -> Result<()>) -> Result<()> {
    let begun = Instant::now();
    let result = run();
    let took = begun.elapsed().as_secs_f64();
    // Told at once: of those that run together only the first is the test's error.
    match &result {
        Ok(()) => println!("{what}: {took:.1} s"),
        Err(error) => println!("{what}: failed after {took:.1} s: {error:#}"),
    }
    result
}
