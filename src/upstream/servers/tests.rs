use http::HeaderValue;
use tokio::sync::Notify;

use super::*;
use crate::config::UpstreamServer;
use crate::environment::SystemRandom;
use crate::upstream::connect::Target;

fn servers(count: usize, health_path: Option<&str>) -> Servers {
    let host = HeaderValue::from_static("app");
    let server = |index| {
        let server = UpstreamServer {
            https: false,
            host: "127.0.0.1".into(),
            port: 1 + index as u16,
        };
        Server {
            origin: server.origin(),
            host: host.clone(),
            own_host: host.clone(),
            target: Target::new(&server, None, Duration::from_secs(1)).unwrap(),
            changed: Notify::new(),
        }
    };
    let record = |_| Record {
        trouble: None,
        backoff: FIRST_BACKOFF,
        back_since: None,
    };
    Servers {
        list: (0..count).map(server).collect(),
        health_path: health_path.map(str::to_owned),
        out: AtomicU64::new(0),
        failing: AtomicU64::new(0),
        records: Mutex::new((0..count).map(record).collect()),
        random: Arc::new(SystemRandom),
        metrics: Arc::new(Metrics::new(1)),
    }
}

#[test]
fn the_last_server_is_never_out() {
    let servers = servers(3, None);
    servers.failed(0, Why::Unreachable, "refused");
    assert_eq!(servers.out(), 0b001);
    servers.failed(1, Why::Answers, "bad");
    assert_eq!(servers.out(), 0b011);
    servers.failed(2, Why::Unreachable, "refused");
    assert_eq!(servers.out(), 0b011, "the third is the last");
    let degraded = servers.degraded();
    assert_eq!(degraded.len(), 3);
    assert!(degraded[2].contains("still go to it"), "{degraded:?}");
    // As soon as another one is back, the last one is out too.
    servers.connected(0);
    assert_eq!(servers.out(), 0b110);
    assert_eq!(servers.degraded().len(), 2);
}

#[test]
fn one_server_alone_is_failing_but_not_out() {
    let servers = servers(1, None);
    servers.failed(0, Why::Unreachable, "refused");
    assert_eq!(servers.out(), 0);
    assert_eq!(servers.degraded().len(), 1);
    assert!(
        servers
            .metrics
            .text()
            .contains("upstream_up{server=\"http://127.0.0.1:1\"} 0")
    );
    servers.connected(0);
    assert!(servers.degraded().is_empty());
    assert!(
        servers
            .metrics
            .text()
            .contains("upstream_up{server=\"http://127.0.0.1:1\"} 1")
    );
}

#[test]
fn a_connection_heals_what_was_unreachable_and_nothing_else() {
    let servers = servers(2, None);
    servers.failed(0, Why::Answers, "bad");
    servers.connected(0);
    assert_eq!(servers.out(), 0b01);
    servers.looked(0, Ok(()));
    assert_eq!(servers.out(), 0);
}

#[test]
fn a_server_that_keeps_failing_is_looked_at_more_rarely() {
    let servers = servers(2, None);
    servers.failed(0, Why::Unreachable, "refused");
    let backoff = || servers.records()[0].backoff.as_secs();
    assert_eq!(backoff(), 1);
    for expected in [2, 4, 8, 16, 30, 30] {
        servers.looked(0, Err((Why::Unreachable, "refused".into())));
        assert_eq!(backoff(), expected);
    }
    // Back, and soon bad again: no fresh start.
    servers.looked(0, Ok(()));
    servers.failed(0, Why::Answers, "bad");
    assert_eq!(backoff(), 30);
}

#[test]
fn jitter_stays_near_the_time() {
    let servers = servers(1, None);
    let second = Duration::from_secs(1);
    for _ in 0..200 {
        let jittered = servers.jittered(second);
        assert!(jittered >= second * 3 / 4 && jittered <= second * 5 / 4);
    }
}
