//! The corpus of raw requests in `tests/data/http1`: each is sent as its bytes say, with an innocent
//! request pipelined behind it and two requests of a second user in flight. No answer crosses, nothing
//! smuggled arrives, and what arrives bears the name of who sent it.

mod case;

use std::io::Write as _;
use std::sync::{Condvar, Mutex, mpsc};
use std::time::Duration;

use case::{Case, Then, cases};

use crate::support::PATIENCE;
use crate::support::application::{Application, Received, echo};
use crate::support::provider::{Provider, new_person};
use crate::support::proxy::{Proxy, Setup};
use crate::support::wire::{Answer, Wire, named};

/// Somebody signed in.
struct User {
    name: String,
    cookie: String,
}

impl User {
    fn signed_in(proxy: &Proxy, name: &str) -> Self {
        let name = new_person(name);
        let token = proxy.signed_in(&name).cookie("wfgen_token");
        let cookie = format!("Cookie: wfgen_token={token}\r\n");
        Self { name, cookie }
    }
}

/// What holds the second user's first request at the application.
#[derive(Default)]
struct Gate {
    open: Mutex<bool>,
    changed: Condvar,
}

impl Gate {
    fn wait(&self) {
        let closed = self.open.lock().unwrap();
        let waited = self
            .changed
            .wait_timeout_while(closed, PATIENCE, |open| !*open);
        *waited.unwrap().0 = false;
    }

    fn open(&self) {
        *self.open.lock().unwrap() = true;
        self.changed.notify_all();
    }
}

struct Bench {
    application: Application,
    proxy: Proxy,
    first: User,
    second: User,
    arrived: mpsc::Receiver<()>,
    gate: std::sync::Arc<Gate>,
}

impl Bench {
    fn new() -> Self {
        let application = Application::start();
        let setup = Setup::new(&application)
            .with("[server]", "workers", "1")
            .with("[server.limits]", "body_size", "\"1 MiB\"");
        let proxy = setup.at(Provider::shared()).start();
        let (first, second) = (
            User::signed_in(&proxy, "first"),
            User::signed_in(&proxy, "second"),
        );
        application.forget();
        let gate = std::sync::Arc::new(Gate::default());
        let (told, arrived) = mpsc::channel();
        let (told, held) = (Mutex::new(told), gate.clone());
        application.answer("/wfgen/held", move |request, stream| {
            let _ = told.lock().unwrap().send(());
            held.wait();
            echo(request, stream)
        });
        Self {
            application,
            proxy,
            first,
            second,
            arrived,
            gate,
        }
    }

    fn get(&self, target: &str, user: &User) -> String {
        let host = self.proxy.host();
        format!(
            "GET {target} HTTP/1.1\r\nHost: {host}\r\n{}\r\n",
            user.cookie
        )
    }

    /// A text of a case with its names filled in.
    fn filled(&self, text: &str, case: &Case) -> String {
        text.replace("/wfgen/case", &case.target())
            .replace("{user}", &self.first.name)
            .replace("{host}", self.proxy.host())
    }

    fn bytes(&self, case: &Case) -> Vec<u8> {
        let (host, cookie) = (self.proxy.host(), &self.first.cookie);
        let start = |method: &str, target: &str| {
            format!("{method} {target} HTTP/1.1\r\nHost: {host}\r\n{cookie}")
        };
        case.bytes(|name| {
            Some(match name {
                "host" => host.to_owned(),
                "cookie" => cookie.clone(),
                "get" => start("GET", &case.target()),
                "post" => start("POST", &case.target()),
                "smuggled" => self.get("/wfgen/smuggled", &self.first),
                _ => return None,
            })
        })
    }

    /// Runs a case; the faults found.
    fn run(&self, case: &Case) -> Result<(), String> {
        let name = &case.name;
        let mut other = Wire::connect(self.proxy.address).unwrap();
        let targets = [
            format!("/wfgen/held?{name}"),
            format!("/wfgen/second?{name}"),
        ];
        let sent = targets.iter().map(|it| self.get(it, &self.second));
        other.send(sent.collect::<String>()).unwrap();
        self.arrived.recv_timeout(PATIENCE).unwrap();
        let answers = self.exchanged(case);
        self.gate.open();
        for target in targets {
            let answer = other
                .answer("GET")
                .map_err(|fault| format!("the second user got no answer: {fault}"))?;
            self.names(&answer, &target, &self.second)?;
        }
        // A socket that is in doubt is not lent to the next one either.
        let fresh = format!("/wfgen/second?{name}-fresh");
        let answer = {
            let mut wire = Wire::connect(self.proxy.address).unwrap();
            wire.send(self.get(&fresh, &self.second)).unwrap();
            wire.answer("GET")
                .map_err(|fault| format!("then: {fault}"))?
        };
        self.names(&answer, &fresh, &self.second)?;
        self.judge(case, &answers)
    }

    /// Every answer on the case's connection until the innocent request's, or until it ends.
    fn exchanged(&self, case: &Case) -> Vec<Answer> {
        let innocent = format!("/wfgen/innocent?{}", case.name);
        let mut wire = Wire::connect(self.proxy.address).unwrap();
        let patience = Some(Duration::from_secs(5));
        wire.stream.set_read_timeout(patience).unwrap();
        let mut bytes = self.bytes(case);
        bytes.extend_from_slice(self.get(&innocent, &self.first).as_bytes());
        // Whoever refuses early need not read all of it.
        let _ = wire.stream.write_all(&bytes);
        let mut answers: Vec<Answer> = Vec::new();
        let mut method = case.method.as_str();
        while let Ok(answer) = wire.answer(std::mem::replace(&mut method, "GET")) {
            let last = target_of(&answer).is_some_and(|target| target == innocent);
            answers.push(answer);
            if last {
                break;
            }
        }
        answers
    }

    fn judge(&self, case: &Case, answers: &[Answer]) -> Result<(), String> {
        let first = answers.first().ok_or("no answer at all")?;
        if !case.statuses.contains(&first.status) {
            return Err(format!("status {} {}", first.status, first.text()));
        }
        for answer in answers.iter().filter(|it| target_of(it).is_some()) {
            self.named(answer, &self.first)?;
        }
        let innocent = format!("/wfgen/innocent?{}", case.name);
        let answered = answers
            .iter()
            .any(|it| target_of(it).is_some_and(|target| target == innocent));
        match (case.then, answered) {
            (Then::Open, false) => Err("the request behind it was not answered".to_owned()),
            (Then::Closed, true) => Err("the request behind it was answered".to_owned()),
            _ => Ok(()),
        }
    }

    fn names(&self, answer: &Answer, target: &str, user: &User) -> Result<(), String> {
        match target_of(answer) {
            Some(found) if answer.status == 200 && found == target => self.named(answer, user),
            found => Err(format!(
                "to {target}: {} {found:?} {}",
                answer.status,
                answer.text()
            )),
        }
    }

    /// The answer shows a request that named this user and nobody else.
    fn named(&self, answer: &Answer, user: &User) -> Result<(), String> {
        let headers =
            serde_json::from_value::<Vec<(String, String)>>(answer.json()["headers"].clone());
        let headers = headers.map_err(|fault| format!("no application's answer: {fault}"))?;
        match named(&headers, "x-forwarded-user")[..] {
            [name] if name == user.name => Ok(()),
            ref names => Err(format!("{names:?} for {}", user.name)),
        }
    }

    /// Whether what the application got of a case is what it says.
    fn arrived(&self, case: &Case, received: &[Received]) -> Result<(), String> {
        let mut got: Vec<_> = received.iter().collect();
        for wanted in &case.sees {
            let (method, target) = (&wanted.method, self.filled(&wanted.target, case));
            let found = got.iter().position(|it| {
                it.method == *method
                    && it.target == target
                    && it.whole != wanted.partial
                    && wanted
                        .body
                        .as_ref()
                        .is_none_or(|body| it.body == body.as_bytes())
            });
            match found {
                Some(found) => drop(got.remove(found)),
                None if wanted.optional => {}
                None => {
                    return Err(format!(
                        "{method} {target} did not arrive, but {}",
                        shown(received)
                    ));
                }
            }
        }
        if !got.is_empty() {
            return Err(format!("too much arrived: {}", shown(got)));
        }
        for request in received.iter().filter(|it| it.whole) {
            self.fields(case, request)?;
        }
        Ok(())
    }

    fn fields(&self, case: &Case, request: &Received) -> Result<(), String> {
        for (name, value) in &case.has {
            let found = request.all(name).join(", ");
            if found != self.filled(value, case) {
                return Err(format!("{name}: {found:?}, not {value:?}"));
            }
        }
        for name in &case.lacks {
            let (found, trailing) = (request.all(name), named(&request.trailers, name));
            if !found.is_empty() || !trailing.is_empty() {
                return Err(format!("{name}: {found:?} {trailing:?}"));
            }
        }
        let trailers: Vec<_> = request
            .trailers
            .iter()
            .map(|(name, value)| format!("{}: {value}", name.to_ascii_lowercase()))
            .collect();
        match &case.trailers {
            Some(wanted) if *wanted != trailers => Err(format!("trailers {trailers:?}")),
            _ => Ok(()),
        }
    }
}

/// Requests on one line each.
fn shown<'r>(received: impl IntoIterator<Item = &'r Received>) -> String {
    let line = |it: &Received| {
        let body = String::from_utf8_lossy(&it.body[..it.body.len().min(80)]).into_owned();
        format!("{} {} {body:?} whole: {}", it.method, it.target, it.whole)
    };
    received
        .into_iter()
        .map(line)
        .collect::<Vec<_>>()
        .join(", ")
}

/// The target that the application says it was asked for.
fn target_of(answer: &Answer) -> Option<String> {
    let body: serde_json::Value = serde_json::from_slice(&answer.body).ok()?;
    body["application"].as_bool()?;
    Some(body["target"].as_str()?.to_owned())
}

/// Runs the cases of a file and tells of every fault at once.
#[track_caller]
fn run(file: &str) {
    let bench = Bench::new();
    let cases = cases(file);
    let mut faults = Vec::new();
    let mut note = |case: &Case, fault: String| {
        faults.push(format!("{file}: {}: {}\n  {fault}", case.name, case.why));
    };
    for case in &cases {
        if let Err(fault) = bench.run(case) {
            note(case, fault);
        }
    }
    let received = bench.application.received();
    let (ours, other): (Vec<_>, Vec<_>) = received.into_iter().partition(|request| {
        ["/wfgen/held?", "/wfgen/second?", "/wfgen/innocent?"]
            .iter()
            .any(|own| request.target.starts_with(own))
    });
    for case in &cases {
        let innocent = format!("/wfgen/innocent?{}", case.name);
        let unread = ours.iter().any(|request| request.target == innocent);
        if case.then == Then::Closed && unread {
            note(case, "the request behind it arrived".to_owned());
        }
        let own: Vec<_> = other
            .iter()
            .filter(|request| case.owns(&request.target))
            .cloned()
            .collect();
        if let Err(fault) = bench.arrived(case, &own) {
            note(case, fault);
        }
    }
    for request in &ours {
        let of_second = !request.target.starts_with("/wfgen/innocent");
        let user = if of_second {
            &bench.second
        } else {
            &bench.first
        };
        assert_eq!(request.only("x-forwarded-user"), Some(user.name.as_str()));
        assert!(request.body.is_empty(), "{request:#?}");
    }
    let stray: Vec<_> = other
        .iter()
        .filter(|request| !cases.iter().any(|case| case.owns(&request.target)))
        .collect();
    assert!(
        stray.is_empty(),
        "arrived out of nowhere: {}",
        shown(stray.iter().copied())
    );
    assert!(faults.is_empty(), "{}", faults.join("\n"));
}

#[test]
fn request_lines_mean_one_thing() {
    run("request_line");
}

#[test]
fn hosts_and_targets_agree() {
    run("host");
}

#[test]
fn bodies_end_in_one_place() {
    run("framing");
}

#[test]
fn chunks_and_trailers_are_read_to_the_letter() {
    run("chunked");
}

#[test]
fn fields_are_what_they_seem() {
    run("fields");
}

#[test]
fn connections_carry_what_was_asked_for() {
    run("connection");
}

/// Every file has a test, every case a reason, and no name is used twice.
#[test]
fn the_corpus_is_whole() {
    let files = [
        "request_line",
        "host",
        "framing",
        "chunked",
        "fields",
        "connection",
    ];
    let folder = std::fs::read_dir(case::FOLDER).unwrap();
    let known = folder.filter(|entry| {
        let path = entry.as_ref().unwrap().path();
        path.extension().is_some_and(|extension| extension == "txt")
    });
    assert_eq!(known.count(), files.len());
    let all: Vec<_> = files.iter().flat_map(|file| cases(file)).collect();
    assert!(all.len() >= 200, "{} cases", all.len());
    let names: std::collections::HashSet<_> = all.iter().map(|case| &case.name).collect();
    assert_eq!(names.len(), all.len());
    assert!(
        all.iter()
            .all(|case| !case.why.is_empty() && !case.statuses.is_empty())
    );
}
