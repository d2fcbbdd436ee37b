//! Three nodes behind a balancer that knows no sticky sessions, one PostgreSQL: nodes are killed and started, the
//! database restarts, and nobody who is signed in sees an error or signs in a second time.

use std::collections::BTreeMap;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

use crate::support::application::Application;
use crate::support::browser::Browser;
use crate::support::haproxy::HaProxy;
use crate::support::postgres::Postgres;
use crate::support::provider::{Client, Provider, new_person};
use crate::support::proxy::{Proxy, Setup, payload};
use crate::support::{PATIENCE, wait_for};

/// People who work all the time.
const PEOPLE: usize = 10;

struct House {
    nodes: Vec<Proxy>,
    balancer: HaProxy,
    origin: String,
    _application: Application,
    _provider: Provider,
}

impl House {
    fn build(postgres: &Postgres, database: &str) -> Self {
        let (application, provider) = (Application::start(), Provider::start(0));
        let address = HaProxy::address();
        let origin = format!("http://{address}");
        let mut client: Option<Client> = None;
        let mut nodes = Vec::new();
        for _ in 0..3 {
            let setup = Setup::new(&application)
                .public_origin(&origin)
                .with("[session]", "lifetime", "\"6s\"")
                .with("[session]", "idle_timeout", "\"1h\"")
                .with("[server]", "drain_delay", "\"1s\"")
                .renewing()
                .on_postgres(postgres, database);
            let node = match &client {
                Some(client) => setup.at_issuer(&provider.issuer, client.clone()).start(),
                None => setup.at(&provider).start(),
            };
            client = Some(node.client.clone());
            nodes.push(node);
        }
        let servers: String = nodes
            .iter()
            .enumerate()
            .map(|(number, node)| {
                format!(
                    " server node{number} {} check port {} inter 100ms fall 1 rise 1\n",
                    node.address,
                    node.admin.port()
                )
            })
            .collect();
        // A node that dies in the middle of a request is the balancer's to hide, as every balancer can for requests
        // that change nothing.
        let listen = format!(
            " balance roundrobin\n option httpchk GET /readyz\n option redispatch 1\n retries 5\n \
             retry-on conn-failure empty-response response-timeout\n{servers}"
        );
        let balancer = HaProxy::start(address, " mode http", &listen);
        Self {
            nodes,
            balancer,
            origin,
            _application: application,
            _provider: provider,
        }
    }

    fn browser(&self) -> Browser {
        Browser::new().reach(&self.origin, self.balancer.address)
    }

    fn url(&self, below: &str) -> String {
        format!("{}/wfgen{below}", self.origin)
    }
}

/// What came back to those who work, and how sign-ins went.
#[derive(Default)]
struct Seen {
    answers: Mutex<BTreeMap<String, usize>>,
    stop: AtomicBool,
    signed_in: AtomicUsize,
    repeated: AtomicUsize,
}

impl Seen {
    fn work(&self, browser: &Browser, url: &str) {
        while !self.stop.load(Ordering::Relaxed) {
            let answer = browser.fetch(url);
            let what = match answer.status {
                200 => "200".to_owned(),
                status => format!("{status} {}", answer.text()),
            };
            *self.answers.lock().unwrap().entry(what).or_default() += 1;
            std::thread::sleep(Duration::from_millis(20));
        }
    }

    fn sign_people_in(&self, house: &House) {
        while !self.stop.load(Ordering::Relaxed) {
            let user = new_person("newcomer");
            let browser = house.browser();
            let mut page = browser.navigate(&house.url("/page"));
            if page.is_login_form() {
                page = browser.fill_in(&page, &[("login", &user), ("password", "x")]);
            }
            match page.answer.status {
                200 if !page.is_login_form() => self.signed_in.fetch_add(1, Ordering::Relaxed),
                _ => self.repeated.fetch_add(1, Ordering::Relaxed),
            };
            std::thread::sleep(Duration::from_millis(100));
        }
    }
}

#[test]
fn nobody_who_is_signed_in_notices_nodes_and_database_that_come_and_go() {
    let mut postgres = Postgres::start();
    let database = postgres.database();
    let mut house = House::build(&postgres, &database);
    let people: Vec<Browser> = (0..PEOPLE)
        .map(|_| {
            let browser = house.browser();
            let page = browser.sign_in(&house.url("/page"), &new_person("worker"));
            assert_eq!(page.answer.status, 200, "{:#?}", page.addresses());
            browser
        })
        .collect();
    let sids: Vec<_> = people
        .iter()
        .map(|it| payload(&it.cookie("wfgen_token"))["sid"].clone())
        .collect();
    let seen = Seen::default();
    let mut nodes = std::mem::take(&mut house.nodes);
    std::thread::scope(|scope| {
        for browser in &people {
            let url = house.url("/x");
            let seen = &seen;
            scope.spawn(move || seen.work(browser, &url));
        }
        scope.spawn(|| seen.sign_people_in(&house));
        let pause = || std::thread::sleep(Duration::from_secs(2));
        pause();
        nodes[0].kill_hard();
        pause();
        nodes[0].restart();
        pause();
        nodes[1].terminate();
        assert_eq!(nodes[1].wait_until_ended(), Some(0));
        nodes[1].restart();
        pause();
        postgres.stop();
        std::thread::sleep(Duration::from_millis(1500));
        postgres.start_again();
        pause();
        wait_for("all stores", PATIENCE, || {
            let up = |node: &Proxy| node.metric("vestibule_store_up", &[]) == 1.0;
            nodes.iter().all(up).then_some(())
        });
        nodes[2].kill_hard();
        pause();
        nodes[2].restart();
        pause();
        seen.stop.store(true, Ordering::Relaxed);
    });
    let answers = seen.answers.into_inner().unwrap();
    let good = answers.get("200").copied().unwrap_or_default();
    assert!(good > 1_000, "{answers:#?}");
    assert_eq!(answers.len(), 1, "{answers:#?}\n{}", nodes[0].log());
    for (browser, sid) in people.iter().zip(&sids) {
        let token = payload(&browser.cookie("wfgen_token"));
        assert_eq!(token["sid"], *sid, "the session of the beginning");
        assert!(token["exp"].as_u64() > token["iat"].as_u64());
    }
    let renewed: f64 = nodes
        .iter()
        .map(|node| node.metric("vestibule_renewals_total", &["renewed"]))
        .sum();
    assert!(renewed >= PEOPLE as f64, "{renewed}");
    let signed_in = seen.signed_in.into_inner();
    assert!(
        signed_in > 10,
        "{signed_in} signed in, {} repeated",
        seen.repeated.into_inner()
    );
}
