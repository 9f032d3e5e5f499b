//! The provisioner over an API server and a cloud in memory, in virtual time.

mod bench;
mod moody;
mod server;

use std::time::Duration;

use herald_core::ServiceKey;
use herald_provider::ErrorKind;

use bench::{Bench, EVER, FINALIZER};

fn s(seconds: u64) -> Duration {
    Duration::from_secs(seconds)
}

#[tokio::test(start_paused = true)]
async fn a_service_gets_its_finalizer_then_its_load_balancer_then_its_status() {
    let mut bench = Bench::new(&["web"]);
    bench.lead(1).await;
    let web = bench.provisioned("web").await;
    assert_eq!(
        web["metadata"]["finalizers"],
        serde_json::json!([FINALIZER])
    );
    assert_eq!(
        web["status"]["loadBalancer"]["ingress"][0]["hostname"],
        "uid-web-internal.fake.test"
    );
    assert_eq!(bench.server.calls_before_finalizer("web"), Some(0));
    assert_eq!(bench.made(), ["uid-web-internal"]);
    // From then on nothing is written or changed, whatever is looked at.
    let (writes, changes) = (bench.server.writes(), bench.cloud.log().len());
    bench.pass_time(s(4000)).await;
    assert!(bench.listings() >= 2);
    assert_eq!(
        (bench.server.writes(), bench.cloud.log().len()),
        (writes, changes)
    );
}

#[tokio::test(start_paused = true)]
async fn nothing_is_done_before_services_were_listed_in_the_term() {
    let mut bench = Bench::new(&["web"]);
    bench.leading(1);
    bench.pass_time(s(60)).await;
    assert_eq!((bench.listings(), bench.cloud.log().len()), (0, 0));
    assert_eq!(bench.asked_for_list(), 1);
    // An older list is none of this term's.
    bench.list_services(0).await;
    bench.pass_time(s(60)).await;
    assert_eq!((bench.listings(), bench.cloud.log().len()), (0, 0));
    bench.list_services(1).await;
    bench.provisioned("web").await;
}

#[tokio::test(start_paused = true)]
async fn a_deleted_service_goes_when_nothing_is_left() {
    let mut bench = Bench::new(&["web"]);
    bench.lead(1).await;
    bench.provisioned("web").await;
    bench.server.delete("web");
    bench.tell("web").await;
    bench
        .until("its end", |bench| bench.server.object("web").is_none())
        .await;
    assert!(bench.made().is_empty() && bench.cloud.sets().is_empty());
    assert!(bench.server.reasons("web").contains(&"Released".to_owned()));
}

#[tokio::test(start_paused = true)]
async fn one_that_is_no_load_balancer_any_more_is_released_and_stays() {
    let mut bench = Bench::new(&["web"]);
    bench.lead(1).await;
    bench.provisioned("web").await;
    bench.server.change("web", |object| {
        object["spec"] =
            serde_json::json!({ "type": "ClusterIP", "ports": object["spec"]["ports"] });
        object["status"]["loadBalancer"] = serde_json::json!({});
    });
    bench.tell("web").await;
    bench
        .until("its release", |bench| {
            let web = bench.server.object("web").unwrap();
            web["metadata"]["finalizers"] == serde_json::json!([])
        })
        .await;
    let web = bench.server.object("web").unwrap();
    assert_eq!(web["status"]["conditions"], serde_json::json!([]));
    assert!(bench.made().is_empty());
}

#[tokio::test(start_paused = true)]
async fn a_list_counts_also_when_the_history_went_back() {
    let mut bench = Bench::new(&["web"]);
    bench.lead(1).await;
    bench.provisioned("web").await;
    // As after a restore of etcd: another version of the Service, and a lower number.
    bench.server.change("web", |object| {
        object["spec"] =
            serde_json::json!({ "type": "ClusterIP", "ports": object["spec"]["ports"] });
        object["status"]["loadBalancer"] = serde_json::json!({});
    });
    bench.server.restore("web", 1);
    bench.list_services(1).await;
    bench
        .until("its release", |bench| bench.made().is_empty())
        .await;
}

#[tokio::test(start_paused = true)]
async fn the_answer_to_the_end_of_a_release_does_not_undo_what_was_told_since() {
    let mut bench = Bench::new(&["web"]);
    bench.lead(1).await;
    bench.provisioned("web").await;
    let spec = bench.server.object("web").unwrap()["spec"].clone();
    bench.server.lag(s(3));
    bench.server.change("web", |object| {
        object["spec"]["type"] = serde_json::json!("ClusterIP");
        object["status"]["loadBalancer"] = serde_json::json!({});
    });
    bench.tell("web").await;
    let released = |bench: &Bench| {
        let web = bench.server.object("web").unwrap();
        web["metadata"]["finalizers"] == serde_json::json!([])
    };
    bench.until("its release", released).await;
    // The watch is faster than the answer, and so is the Service's owner, who changed their mind.
    bench.tell("web").await;
    bench.server.lag(Duration::ZERO);
    bench.server.change("web", |object| object["spec"] = spec);
    bench.tell("web").await;
    bench.provisioned("web").await;
}

#[tokio::test(start_paused = true)]
async fn what_somebody_does_to_the_status_during_a_pass_is_mended_after_it() {
    let mut bench = Bench::new(&["lazy-web"]);
    bench.lead(1).await;
    bench.provisioned("lazy-web").await;
    bench.pass_time(s(20)).await;
    bench.until("an audit", |bench| bench.reading() == 1).await;
    bench.server.change("lazy-web", |object| {
        object["status"] = serde_json::json!({});
    });
    bench.tell("lazy-web").await;
    bench.pass_time(s(7)).await;
    let web = bench.server.object("lazy-web").unwrap();
    let ingress = &web["status"]["loadBalancer"]["ingress"];
    assert!(ingress[0]["hostname"].is_string(), "{web}");
}

#[tokio::test(start_paused = true)]
async fn somebody_who_rewrites_the_status_without_end_is_answered_once_a_second() {
    let mut bench = Bench::new(&["web"]);
    bench.lead(1).await;
    bench.provisioned("web").await;
    bench.pass_time(s(5)).await;
    let before = bench.server.writes();
    for _ in 0..300 {
        bench.server.change("web", |object| {
            object["status"] = serde_json::json!({});
        });
        bench.tell("web").await;
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    let writes = bench.server.writes() - before;
    assert!(
        (2..=4).contains(&writes),
        "{writes} writes in three seconds"
    );
}

#[tokio::test(start_paused = true)]
async fn services_that_always_fail_slowly_delay_no_other() {
    let bad: Vec<String> = (0..60).map(|n| format!("bad-{n}")).collect();
    let mut bench = Bench::new(&bad.iter().map(String::as_str).collect::<Vec<_>>());
    bench.lead(1).await;
    // Long enough for each to have failed.
    bench.pass_time(s(600)).await;
    assert!(
        bad.iter()
            .all(|name| !bench.server.reasons(name).is_empty())
    );
    bench.server.add("web");
    bench.tell("web").await;
    bench.pass_time(s(2)).await;
    assert_eq!(bench.made(), ["uid-web-internal"]);
}

#[tokio::test(start_paused = true)]
async fn the_changes_end_with_the_leadership() {
    let mut bench = Bench::new(&["slow-web"]);
    bench.lead(1).await;
    bench
        .until("its first change", |bench| bench.cloud.log().len() == 1)
        .await;
    bench.follow();
    bench.pass_time(s(120)).await;
    // The call that was under way had its effect; there is no other.
    assert_eq!(bench.cloud.log().len(), 1);
    // The next leader's list comes first; then it goes on where the other was.
    let listings = bench.listings();
    bench.lead(2).await;
    bench.provisioned("slow-web").await;
    assert_eq!(bench.listings(), listings + 1);
    assert_eq!(bench.made().len(), 1);
}

#[tokio::test(start_paused = true)]
async fn a_pass_that_is_cut_off_says_nothing() {
    let mut bench = Bench::new(&["slow-web"]);
    bench.lead(1).await;
    bench
        .until("its first change", |bench| bench.cloud.log().len() == 1)
        .await;
    bench.stop().await;
    bench.pass_time(s(10)).await;
    assert_eq!(bench.cloud.log().len(), 1);
    assert_eq!(bench.server.reasons("slow-web"), [""; 0]);
    assert_eq!(bench.status_of("slow-web"), None);
}

#[tokio::test(start_paused = true)]
async fn a_listing_beside_a_pass_doubles_nothing() {
    let mut bench = Bench::new(&["web", "slow-web"]);
    bench.set_resync(s(7));
    bench.lead(1).await;
    bench.provisioned("web").await;
    bench.provisioned("slow-web").await;
    assert!(bench.listings() > 3, "{}", bench.listings());
    let log = bench.cloud.log();
    let once: std::collections::BTreeSet<_> = log.iter().collect();
    assert_eq!(log.len(), once.len(), "{log:#?}");
    assert!(
        !bench.server.has_warned("slow-web"),
        "{:?}",
        bench.server.reasons("slow-web")
    );
}

#[tokio::test(start_paused = true)]
async fn a_provider_out_of_reach_is_said_once_and_tried_again() {
    let mut bench = Bench::new(&["web"]);
    bench.break_connection(ErrorKind::Permission);
    bench.lead(1).await;
    bench
        .until("the failure shown", |bench| {
            bench.condition("web", false, "NoCredentials")
        })
        .await;
    bench.pass_time(s(900)).await;
    assert_eq!(bench.server.reasons("web"), ["NoCredentials"]);
    assert_eq!(
        bench.server.calls_before_finalizer("web"),
        None,
        "nothing was made"
    );
    bench.mend_connection();
    bench.provisioned("web").await;
}

#[tokio::test(start_paused = true)]
async fn what_fails_after_it_worked_stays_provisioned() {
    let mut bench = Bench::new(&["web"]);
    bench.lead(1).await;
    bench.provisioned("web").await;
    bench.fail_reads(true);
    bench.pass_time(s(7200)).await;
    let web = bench.server.object("web").unwrap();
    assert_eq!(bench.status_of("web"), Some("True".to_owned()), "{web}");
    assert!(web["status"]["loadBalancer"]["ingress"][0]["hostname"].is_string());
}

#[tokio::test(start_paused = true)]
async fn a_pause_and_a_dry_run_change_nothing() {
    let mut bench = Bench::new(&["web"]);
    bench.dry_run();
    bench.lead(1).await;
    bench
        .until("the dry run shown", |bench| {
            bench.condition("web", false, "DryRun")
        })
        .await;
    bench.pass_time(EVER).await;
    assert!(bench.cloud.log().is_empty());
    assert_eq!(bench.server.calls_before_finalizer("web"), None);
    assert_eq!(bench.server.reasons("web"), ["DryRun"]);

    let mut bench = Bench::new(&["web"]);
    bench.lead(1).await;
    bench.provisioned("web").await;
    let changes = bench.cloud.log().len();
    bench.server.change("web", |object| {
        object["metadata"]["annotations"]["heraldlb.io/paused"] = serde_json::json!("true");
        object["spec"]["ports"][0]["port"] = serde_json::json!(81);
    });
    bench.tell("web").await;
    bench
        .until("the pause shown", |bench| {
            bench.condition("web", true, "Paused")
        })
        .await;
    bench.pass_time(s(7200)).await;
    assert_eq!(bench.cloud.log().len(), changes);
    bench.server.change("web", |object| {
        object["metadata"]["annotations"] = serde_json::json!({});
    });
    bench.tell("web").await;
    bench
        .until("the change", |bench| bench.cloud.log().len() > changes)
        .await;
}

#[tokio::test(start_paused = true)]
async fn what_it_is_told_of_others_is_not_kept() {
    let mut bench = Bench::new(&["web"]);
    bench.server.add("other");
    bench.server.change("other", |object| {
        object["spec"]["loadBalancerClass"] = serde_json::json!("example.com/other");
    });
    bench.lead(1).await;
    bench.tell("other").await;
    bench.provisioned("web").await;
    let answer = bench.explain(&ServiceKey::new("default", "other")).await;
    assert!(answer.contains("not its Service"), "{answer}");
    let answer = bench.explain(&ServiceKey::new("default", "web")).await;
    assert!(
        answer.contains("Ensure") && answer.contains("ready"),
        "{answer}"
    );
    assert_eq!(bench.made().len(), 1);
}
