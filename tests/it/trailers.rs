//! Trailers (RFC 9110 6.5): those of requests are in the corpus, those of answers here.

use std::io::Write as _;

use crate::support::application::Application;
use crate::support::provider::Provider;
use crate::support::proxy::Setup;
use crate::support::wire::{Wire, named};

#[test]
fn trailers_of_an_answer_reach_who_takes_them() {
    let application = Application::start();
    let setup = Setup::new(&application).route("/wfgen/open/", "open", "");
    let proxy = setup.at(Provider::shared()).start();
    application.answer("/wfgen/open/x", |_, stream| {
        stream.write_all(
            b"HTTP/1.1 200 OK\r\nTrailer: X-Checksum, Set-Cookie, Server-Timing, Content-Type, Location\r\n\
              Transfer-Encoding: chunked\r\n\r\n4\r\nbody\r\n0\r\nX-Checksum: 1234\r\n\
              Set-Cookie: wfgen_token=forged; Path=/\r\nServer-Timing: app;dur=1\r\nContent-Type: text/html\r\n\
              Location: http://evil.example/\r\n\r\n",
        )?;
        Ok(true)
    });
    for takes in [true, false] {
        let mut wire = Wire::connect(proxy.address).unwrap();
        let (target, host) = (proxy.path("/open/x"), proxy.host());
        let lines = if takes {
            "Connection: TE\r\nTE: trailers\r\n"
        } else {
            ""
        };
        for _ in 0..2 {
            wire.send(format!(
                "GET {target} HTTP/1.1\r\nHost: {host}\r\n{lines}\r\n"
            ))
            .unwrap();
            let (start, headers) = wire.head().unwrap().unwrap();
            assert_eq!(start, "HTTP/1.1 200 OK");
            let mut body = Vec::new();
            let trailers = wire.body(&headers, true, |part| body.extend_from_slice(part));
            let trailers = trailers.unwrap();
            assert_eq!(body, b"body");
            assert!(named(&headers, "set-cookie").is_empty());
            let expected: &[&str] = if takes { &["1234"] } else { &[] };
            assert_eq!(named(&trailers, "x-checksum"), expected);
            assert_eq!(trailers.len(), if takes { 2 } else { 0 }, "{trailers:?}");
        }
    }
}
