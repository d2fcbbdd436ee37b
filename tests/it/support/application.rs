//! The application behind the proxy: it notes every request exactly as it arrived and answers as the
//! test decides. Written on the bare socket, since a library would tidy up what tests must see.

use std::io::{self, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::{Arc, Mutex};
use std::thread;

use serde_json::json;

use super::wire::{Wire, named};
use super::{PATIENCE, wait_for};

/// A request as it arrived. The body grows while it arrives.
#[derive(Debug, Clone, Default)]
pub(crate) struct Received {
    pub(crate) method: String,
    /// The request target, byte for byte.
    pub(crate) target: String,
    pub(crate) headers: Vec<(String, String)>,
    pub(crate) body: Vec<u8>,
    pub(crate) trailers: Vec<(String, String)>,
    /// The body arrived whole.
    pub(crate) whole: bool,
}

impl Received {
    /// Every value of that name.
    pub(crate) fn all(&self, name: &str) -> Vec<&str> {
        named(&self.headers, name)
    }

    /// The only value of that name; `None` also where there are several.
    pub(crate) fn only(&self, name: &str) -> Option<&str> {
        match self.all(name)[..] {
            [one] => Some(one),
            _ => None,
        }
    }

    /// The value of a cookie in any Cookie field, every one of that name.
    pub(crate) fn cookies(&self, name: &str) -> Vec<&str> {
        self.all("cookie")
            .into_iter()
            .flat_map(|line| line.split(';'))
            .filter_map(|pair| pair.trim().split_once('='))
            .filter(|(key, _)| *key == name)
            .map(|(_, value)| value)
            .collect()
    }
}

/// Writes an answer to a request; `Ok(false)` closes the connection after it.
pub(crate) type Respond = Arc<dyn Fn(&Received, &mut TcpStream) -> io::Result<bool> + Send + Sync>;

#[derive(Default)]
struct State {
    received: Mutex<Vec<Received>>,
    answers: Mutex<Vec<(String, bool, Respond)>>,
    connections: Mutex<usize>,
}

/// The running application.
pub(crate) struct Application {
    pub(crate) address: SocketAddr,
    state: Arc<State>,
}

impl Application {
    /// Listens on a free port; the thread ends with the test binary.
    pub(crate) fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let state = Arc::new(State::default());
        let serving = Arc::clone(&state);
        thread::spawn(move || {
            for stream in listener.incoming().map_while(Result::ok) {
                let state = Arc::clone(&serving);
                *state.connections.lock().unwrap() += 1;
                thread::spawn(move || serve(&state, stream));
            }
        });
        Self { address, state }
    }

    /// The answer to requests whose path starts so; the last one given wins. The body has arrived.
    pub(crate) fn answer(
        &self,
        prefix: &str,
        respond: impl Fn(&Received, &mut TcpStream) -> io::Result<bool> + Send + Sync + 'static,
    ) {
        self.put(prefix, true, respond);
    }

    /// As [`Application::answer`], but before the request's body is read.
    pub(crate) fn answer_early(
        &self,
        prefix: &str,
        respond: impl Fn(&Received, &mut TcpStream) -> io::Result<bool> + Send + Sync + 'static,
    ) {
        self.put(prefix, false, respond);
    }

    fn put(
        &self,
        prefix: &str,
        after_body: bool,
        respond: impl Fn(&Received, &mut TcpStream) -> io::Result<bool> + Send + Sync + 'static,
    ) {
        let entry = (prefix.to_owned(), after_body, Arc::new(respond) as Respond);
        self.state.answers.lock().unwrap().insert(0, entry);
    }

    /// The same answer always, with these header lines (each ending in CRLF).
    pub(crate) fn answer_with(&self, prefix: &str, status: &str, lines: &str, body: &str) {
        let answer = format!(
            "HTTP/1.1 {status}\r\n{lines}Content-Length: {}\r\n\r\n{body}",
            body.len()
        );
        self.answer(prefix, move |_, stream| {
            stream.write_all(answer.as_bytes()).map(|()| true)
        });
    }

    /// Takes every upgrade there, and sends back what comes until it is closed.
    pub(crate) fn echo_upgraded(&self, prefix: &str) {
        self.answer_early(prefix, |_, stream| {
            stream.write_all(
                b"HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n",
            )?;
            let mut wire = Wire::over(stream.try_clone()?);
            while let Ok(some) = wire.some() {
                if some.is_empty() {
                    break;
                }
                stream.write_all(&some)?;
            }
            Ok(false)
        });
    }

    /// Every request so far, in the order in which their heads arrived.
    pub(crate) fn received(&self) -> Vec<Received> {
        self.state.received.lock().unwrap().clone()
    }

    /// The last request.
    #[track_caller]
    pub(crate) fn last(&self) -> Received {
        let last = self.state.received.lock().unwrap().last().cloned();
        last.expect("the application received a request")
    }

    /// The only request whose target starts so.
    #[track_caller]
    pub(crate) fn only(&self, prefix: &str) -> Received {
        let mut all = self.received();
        all.retain(|request| request.target.starts_with(prefix));
        assert_eq!(all.len(), 1, "one request to {prefix}: {all:#?}");
        all.remove(0)
    }

    /// Waits for a request to a target that starts so.
    #[track_caller]
    pub(crate) fn wait_for(&self, prefix: &str) -> Received {
        wait_for(&format!("a request to {prefix}"), PATIENCE, || {
            let all = self.received();
            all.into_iter().find(|r| r.target.starts_with(prefix))
        })
    }

    /// Forgets the requests so far.
    pub(crate) fn forget(&self) {
        self.state.received.lock().unwrap().clear();
    }

    /// How many connections it was ever opened.
    pub(crate) fn connections(&self) -> usize {
        *self.state.connections.lock().unwrap()
    }
}

fn serve(state: &State, stream: TcpStream) {
    let mut writer = stream.try_clone().unwrap();
    let mut wire = Wire::over(stream);
    while let Ok(Some((start, headers))) = wire.head() {
        let mut parts = start.split(' ').map(str::to_owned);
        let request = Received {
            method: parts.next().unwrap_or_default(),
            target: parts.next().unwrap_or_default(),
            headers: headers.clone(),
            ..Received::default()
        };
        let index = {
            let mut received = state.received.lock().unwrap();
            received.push(request.clone());
            received.len() - 1
        };
        let (after_body, respond) = chosen(state, &request.target);
        if !after_body {
            let _ = respond(&request, &mut writer);
            return;
        }
        let update = |change: &dyn Fn(&mut Received)| {
            // The test may have forgotten the request meanwhile.
            if let Some(known) = state.received.lock().unwrap().get_mut(index) {
                change(known);
            }
        };
        let mut request = request;
        let body = wire.body(&headers, false, |part| {
            request.body.extend_from_slice(part);
            update(&|known| known.body.extend_from_slice(part));
        });
        let Ok(trailers) = body else { return };
        request.trailers = trailers;
        update(&|known| {
            known.trailers.clone_from(&request.trailers);
            known.whole = true;
        });
        if !matches!(respond(&request, &mut writer), Ok(true)) {
            return;
        }
    }
}

fn chosen(state: &State, target: &str) -> (bool, Respond) {
    let answers = state.answers.lock().unwrap();
    let known = answers.iter().find(|(path, ..)| target.starts_with(path));
    match known {
        Some((_, after_body, respond)) => (*after_body, Arc::clone(respond)),
        None => (true, Arc::new(echo)),
    }
}

/// The usual answer: what arrived, as JSON.
pub(crate) fn echo(request: &Received, stream: &mut TcpStream) -> io::Result<bool> {
    let body = json!({
        "application": true,
        "method": request.method,
        "target": request.target,
        "headers": request.headers,
        "body": String::from_utf8_lossy(&request.body),
    })
    .to_string();
    let head = format!(
        "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: {}\r\n\r\n",
        body.len()
    );
    let body = if request.method == "HEAD" { "" } else { &body };
    stream.write_all(format!("{head}{body}").as_bytes())?;
    Ok(true)
}
