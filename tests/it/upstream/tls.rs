//! https servers: whose certificate is believed, and what is said of the others.

use std::net::SocketAddr;
use std::sync::Arc;

use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, IsCa, KeyPair};
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use tokio_rustls::TlsAcceptor;

use super::{before, is_up, wait_until_up};
use crate::support::PATIENCE;
use crate::support::application::Application;
use crate::support::wait_for;

struct Authority(CertifiedIssuer<'static, KeyPair>);

impl Authority {
    fn new(name: &str) -> Self {
        let mut params = CertificateParams::new(Vec::new()).unwrap();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params
            .distinguished_name
            .push(rcgen::DnType::CommonName, name);
        Self(CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap())
    }

    /// A certificate for that name, and its key.
    fn certificate(
        &self,
        name: &str,
        expired: bool,
    ) -> (CertificateDer<'static>, PrivateKeyDer<'static>) {
        let mut params = CertificateParams::new(vec![name.to_owned()]).unwrap();
        if expired {
            params.not_after = rcgen::date_time_ymd(2020, 1, 1);
        }
        let key = KeyPair::generate().unwrap();
        let certificate = params.signed_by(&key, &self.0).unwrap();
        (
            certificate.der().clone(),
            PrivateKeyDer::Pkcs8(key.serialize_der().into()),
        )
    }
}

/// TLS in front of an application; how often a handshake was cut short by a resumed session is told.
struct Terminator {
    address: SocketAddr,
    resumed: Arc<std::sync::Mutex<Vec<bool>>>,
    _runtime: tokio::runtime::Runtime,
}

impl Terminator {
    fn start(
        application: &Application,
        (certificate, key): (CertificateDer<'static>, PrivateKeyDer<'static>),
    ) -> Self {
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let mut config = rustls::ServerConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_no_client_auth()
            .with_single_cert(vec![certificate], key)
            .unwrap();
        config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
        let acceptor = TlsAcceptor::from(Arc::new(config));
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let (address, behind) = (listener.local_addr().unwrap(), application.address);
        listener.set_nonblocking(true).unwrap();
        let mut builder = tokio::runtime::Builder::new_multi_thread();
        let runtime = builder.worker_threads(1).enable_all().build().unwrap();
        let resumed: Arc<std::sync::Mutex<Vec<bool>>> = Arc::default();
        let noted = Arc::clone(&resumed);
        runtime.spawn(async move {
            let listener = tokio::net::TcpListener::from_std(listener).unwrap();
            while let Ok((stream, _)) = listener.accept().await {
                let (acceptor, noted) = (acceptor.clone(), Arc::clone(&noted));
                tokio::spawn(async move {
                    let Ok(mut stream) = acceptor.accept(stream).await else {
                        return;
                    };
                    let tls = stream.get_ref().1;
                    assert_eq!(tls.alpn_protocol(), Some(&b"http/1.1"[..]));
                    let kind = tls.handshake_kind();
                    noted
                        .lock()
                        .unwrap()
                        .push(kind == Some(rustls::HandshakeKind::Resumed));
                    let mut behind = tokio::net::TcpStream::connect(behind).await.unwrap();
                    let _ = tokio::io::copy_bidirectional(&mut stream, &mut behind).await;
                });
            }
        });
        Self {
            address,
            resumed,
            _runtime: runtime,
        }
    }

    fn origin(&self) -> String {
        format!("https://{}", self.address)
    }
}

#[test]
fn only_a_good_certificate_of_the_named_authority_is_believed() {
    let application = Application::start();
    let (ours, theirs) = (Authority::new("ours"), Authority::new("theirs"));
    let good = Terminator::start(&application, ours.certificate("127.0.0.1", false));
    let bad = [
        ("unknown authority", theirs.certificate("127.0.0.1", false)),
        ("does not name it", ours.certificate("other.example", false)),
        ("has expired", ours.certificate("127.0.0.1", true)),
    ]
    .map(|(reason, certificate)| (reason, Terminator::start(&application, certificate)));
    let folder = tempfile::tempdir().unwrap();
    let ca = folder.path().join("ca.pem");
    std::fs::write(&ca, ours.0.pem()).unwrap();
    let origins: Vec<_> = bad
        .iter()
        .map(|(_, it)| it.origin())
        .chain([good.origin()])
        .collect();
    let proxy = before(&origins, |setup| {
        setup.with("[upstream]", "ca", &format!("{ca:?}"))
    });
    for (reason, terminator) in &bad {
        wait_for(reason, PATIENCE, || {
            assert_eq!(proxy.get("/open/x", "").status, 200);
            (!is_up(&proxy, &terminator.origin())).then_some(())
        });
        proxy.wait_for_log(reason);
    }
    wait_until_up(&proxy, &good.origin(), true);
    assert!(
        bad.iter()
            .all(|(_, it)| it.resumed.lock().unwrap().is_empty()),
        "no handshake is completed"
    );
    let output = proxy.run(&["check", "--online"]);
    let told = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(
        told.contains(&format!("ok      application {}", good.origin())),
        "{told}"
    );
    for (reason, terminator) in &bad {
        let line = told
            .lines()
            .find(|line| line.contains(&terminator.origin()));
        assert!(
            line.is_some_and(|it| it.starts_with("failed") && it.contains(reason)),
            "{told}"
        );
    }
}

#[test]
fn an_unknown_authority_is_502_and_said() {
    let application = Application::start();
    let terminator = Terminator::start(
        &application,
        Authority::new("ours").certificate("127.0.0.1", false),
    );
    let proxy = before(&[terminator.origin()], |setup| setup);
    assert_eq!(proxy.get("/open/x", "").status, 502);
    proxy.wait_for_log("unknown authority; name that authority in upstream.ca");
    assert!(application.received().is_empty());
}

#[test]
fn https_servers_are_named_and_sessions_are_resumed() {
    let application = Application::start();
    let ours = Authority::new("ours");
    let terminator = Terminator::start(&application, ours.certificate("localhost", false));
    let origin = format!("https://localhost:{}", terminator.address.port());
    let location = format!("Location: {origin}/wfgen/there\r\nConnection: close\r\n");
    application.answer_with("/wfgen/open/moved", "302 Found", &location, "");
    let folder = tempfile::tempdir().unwrap();
    let ca = folder.path().join("ca.pem");
    std::fs::write(&ca, ours.0.pem()).unwrap();
    let proxy = before(&[origin], |setup| {
        setup
            .with("[upstream]", "ca", &format!("{ca:?}"))
            .with("[upstream]", "host", "\"server\"")
    });
    for _ in 0..3 {
        let answer = proxy.get("/open/moved", "");
        assert_eq!(answer.header("location"), Some(&*proxy.url("/there")));
    }
    let host = format!("localhost:{}", terminator.address.port());
    assert_eq!(application.last().only("host"), Some(&*host));
    assert_eq!(*terminator.resumed.lock().unwrap(), [false, true, true]);
}
