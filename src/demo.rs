//! `vestibule demo`: the real proxy between an OpenID provider and a stand-in application of our own,
//! all on loopback, to be tried in a browser or (`--once`) without one.
//!
//! Nothing else uses the two parts, and nothing here is reachable from another machine.

pub mod application;
mod folder;
mod journey;
mod listener;
mod page;
pub mod provider;
mod settings;
mod user_agent;

use std::io;
use std::net::{Ipv4Addr, TcpListener as StdListener};
use std::path::{Path, PathBuf};
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::time::Duration;

use tokio::net::TcpListener;
use tokio::sync::oneshot;
use tokio::time::Instant;
use url::Url;

use crate::config::{self, Config};
use crate::environment::{Random, SystemClock, SystemRandom};
use crate::server::{self, PassedSockets, StartFault};
use crate::store::{self, Store};
use crate::telemetry::log;

use application::{Application, Installation, LookUp};
use folder::{Folder, Written};
use journey::Journey;
use provider::{Client, Provider};
use settings::{Addresses, PREFERRED, Verbosity};
use user_agent::{From, UserAgent};

/// The demo's folder, in the current one.
const FOLDER: &str = "vestibule-demo";

/// The demo could not do what was asked.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The folder's name is taken by something else.
    #[error("expected {path} to be a folder of the demo's or nothing, found {found}")]
    ForeignFolder {
        /// The folder.
        path: PathBuf,
        /// What is there.
        found: &'static str,
    },
    /// Another demo runs in the folder.
    #[error("a demo is running in {path} already")]
    Busy {
        /// The folder.
        path: PathBuf,
    },
    /// A file of the demo's cannot be written or read.
    #[error("{path}: {source}")]
    File {
        /// The file.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// The demo's own proxy.toml is refused: our fault.
    #[error("the demo’s own configuration is refused: {0}")]
    Configuration(config::Faults),
    /// No listener, or no runtime.
    #[error("the demo cannot listen on loopback: {0}")]
    Listen(io::Error),
    /// The proxy did not start.
    #[error(transparent)]
    Start(StartFault),
    /// The proxy ended by itself.
    #[error("the proxy ended by itself")]
    ProxyEnded,
    /// The proxy runs, but sends nobody to the provider.
    #[error("expected the proxy to send people to the provider, found {0}")]
    NoSignIn(String),
    /// The directory does not answer.
    #[error(transparent)]
    Store(#[from] store::Error),
    /// A step of the journey was not as designed.
    #[error("{step}: expected {expected}, found {found}")]
    Unexpected {
        /// Which step.
        step: String,
        /// What should have been.
        expected: String,
        /// What was.
        found: String,
    },
    /// The terminal cannot be written to.
    #[error("the result cannot be written: {0}")]
    Output(io::Error),
}

impl Error {
    /// What to do next, if there is something.
    pub fn hint(&self) -> Option<&'static str> {
        match self {
            Error::ForeignFolder { .. } => {
                Some("move it away, or start the demo in another folder")
            }
            Error::Busy { .. } => Some("use that one, or stop it with Ctrl-C first"),
            Error::File { .. } => Some("start the demo in a folder that you may write to"),
            Error::Configuration(_) => Some("this is a fault of the program: please report it"),
            Error::Store(fault) => fault.hint(),
            _ => None,
        }
    }

    fn file(path: &Path, source: io::Error) -> Self {
        Error::File {
            path: path.to_owned(),
            source,
        }
    }

    fn foreign(path: &Path, found: &'static str) -> Self {
        Error::ForeignFolder {
            path: path.to_owned(),
            found,
        }
    }

    fn unexpected(step: &str, expected: &str, found: &str) -> Self {
        Error::Unexpected {
            step: step.to_owned(),
            expected: expected.to_owned(),
            found: found.to_owned(),
        }
    }
}

/// The proxy.toml of the demo, with the ports that it prefers.
pub fn proxy_toml() -> String {
    settings::proxy_toml(PREFERRED, Verbosity::Requests)
}

/// Runs the demo until `stop`, and tells on `out` how to use it. `users_list` is the command that lists
/// the users of the configuration whose path it is given.
///
/// # Errors
/// [`Error`].
pub async fn run(
    out: &mut dyn io::Write,
    users_list: impl Fn(&Path) -> String,
    stop: impl Future<Output = ()>,
) -> Result<(), Error> {
    let folder = Folder::open(Path::new(FOLDER))?;
    let mut stop = pin!(stop);
    let demo = tokio::select! {
        demo = Demo::start(&folder, PREFERRED, Verbosity::Requests) => demo?,
        () = &mut stop => return Ok(()),
    };
    let greeting = greeting(&demo, &users_list(&demo.written.proxy_toml));
    out.write_all(greeting.as_bytes())
        .and_then(|()| out.flush())
        .map_err(Error::Output)?;
    demo.until(stop).await
}

/// Signs one person in, tells every step on `out`, and ends. Leaves nothing behind.
///
/// # Errors
/// [`Error`].
pub async fn once(out: &mut dyn io::Write) -> Result<(), Error> {
    let folder = Folder::temporary(&SystemRandom)?;
    let any = Addresses {
        proxy: 0,
        application: 0,
        provider: 0,
        admin: 0,
    };
    let demo = Demo::start(&folder, any, Verbosity::Faults).await?;
    let journey = Journey {
        addresses: demo.addresses,
        look_up: &demo.look_up,
    };
    let told = journey.travel(out).await;
    demo.until(async {}).await?;
    told
}

/// The three parts, running.
struct Demo {
    addresses: Addresses,
    written: Written,
    look_up: LookUp,
    proxy: Proxy,
    _provider: Provider,
    _application: Application,
}

impl Demo {
    /// Starts the three parts, each on its preferred port where that is free.
    async fn start(
        folder: &Folder,
        preferred: Addresses,
        verbosity: Verbosity,
    ) -> Result<Self, Error> {
        let random: Arc<dyn Random> = Arc::new(SystemRandom);
        let clock = Arc::new(SystemClock);
        let before = folder.provider_port_before();
        let provider_at = listener::bind_localhost(before.unwrap_or(preferred.provider)).await;
        let provider_at = provider_at.map_err(Error::Listen)?;
        let application_at = listener::bind(preferred.application).await;
        let application_at = application_at.map_err(Error::Listen)?;
        let (public, proxy_port) = listening(preferred.proxy).map_err(Error::Listen)?;
        let (admin, admin_port) = listening(preferred.admin).map_err(Error::Listen)?;
        let addresses = Addresses {
            proxy: proxy_port,
            admin: admin_port,
            application: port_of(&application_at)?,
            provider: provider_at.first().map_or(Ok(0), port_of)?,
        };

        // No other demo can have the ports from here on: the proxy takes the sockets as they are.
        let sockets = PassedSockets::of([("public", public), ("admin", admin)]);
        let sockets = sockets.map_err(Error::Start)?;

        let written = folder.write(addresses, verbosity, random.as_ref())?;
        let config = config::load(&written.proxy_toml).map_err(Error::Configuration)?;
        log::start(&config.log)
            .map_err(|fault| Error::unexpected("the start", "a log", &fault.to_string()))?;
        let installation = Installation::behind(&config)
            .ok_or_else(|| Error::unexpected("the start", "a session key", "none"))?;
        let client = client_of(&config, &written.client_secret)?;
        let look_up = look_up_in(Store::open(&config.store.place).await?);

        let provider = Provider::serve(provider_at, client, clock.clone(), random);
        let application =
            Application::serve(application_at, installation, Arc::clone(&look_up), clock);
        let demo = Self {
            addresses,
            written,
            look_up,
            _provider: provider.map_err(Error::Listen)?,
            _application: application.map_err(Error::Listen)?,
            proxy: start_proxy(config, sockets).await?,
        };
        demo.can_sign_in().await?;
        Ok(demo)
    }

    /// Waits until the proxy has discovered the provider, so that the first click works.
    async fn can_sign_in(&self) -> Result<(), Error> {
        let start = self.url()?;
        let deadline = Instant::now() + Duration::from_secs(10);
        loop {
            let answer = UserAgent::default().open(&start, From::Nowhere, &[]).await;
            let found = match answer {
                Ok(response) if response.redirect().is_some() => return Ok(()),
                Ok(response) => format!("{} for 10 s", response.status),
                Err(reason) => reason,
            };
            if Instant::now() > deadline {
                return Err(Error::NoSignIn(found));
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    }

    /// Where people start.
    fn url(&self) -> Result<Url, Error> {
        let url = format!("{}/", settings::public_url(self.addresses));
        Url::parse(&url).map_err(|error| Error::unexpected("the start", &url, &error.to_string()))
    }

    /// Serves until `stop`, or until the proxy ends by itself.
    async fn until(self, stop: impl Future<Output = ()>) -> Result<(), Error> {
        let mut proxy = self.proxy;
        tokio::select! {
            () = stop => {
                // A proxy that has just ended is told in vain.
                let _ = proxy.stop.send(());
                proxy.serving.await.map_err(Error::Start)
            }
            result = &mut proxy.serving => {
                Err(result.map_or_else(Error::Start, |()| Error::ProxyEnded))
            }
        }
    }
}

/// Serves on threads of its own, and resolves once it has drained.
type Serving = Pin<Box<dyn Future<Output = Result<(), StartFault>>>>;

/// The proxy, running.
struct Proxy {
    stop: oneshot::Sender<()>,
    serving: Serving,
}

/// Starts the real proxy; comes back when it listens.
async fn start_proxy(config: Config, sockets: PassedSockets) -> Result<Proxy, Error> {
    let (stop, told_to_stop) = oneshot::channel::<()>();
    let (ready, listening) = oneshot::channel();
    // A demo that is dropped stops its proxy too.
    let told_to_stop = async { drop(told_to_stop.await) };
    let mut serving: Serving = Box::pin(server::serve(
        config,
        sockets,
        ready,
        told_to_stop,
        std::future::pending(),
    ));
    tokio::select! {
        result = &mut serving => Err(result.map_or_else(Error::Start, |()| Error::ProxyEnded)),
        // The sender goes unused only when serving ends, which the other branch tells.
        Ok(_) = listening => Ok(Proxy { stop, serving }),
    }
}

/// How the application finds a user in the directory.
fn look_up_in(store: Store) -> LookUp {
    Arc::new(move |username| {
        let store = store.clone();
        Box::pin(async move { store.user_by_name(&username).await })
    })
}

/// The proxy as the provider knows it.
fn client_of(config: &Config, secret: &str) -> Result<Client, Error> {
    let registered = |endpoint: &str| {
        let url = config.server.endpoint_url(endpoint);
        Url::parse(&url).map_err(|error| Error::unexpected("the start", &url, &error.to_string()))
    };
    Ok(Client {
        id: settings::CLIENT_ID.to_owned(),
        secret: secret.to_owned(),
        redirect_uri: registered("callback")?,
        post_logout_redirect_uri: registered("logout/return")?,
    })
}

/// A socket that listens on this loopback port, or on a free one in its place.
fn listening(preferred: u16) -> io::Result<(StdListener, u16)> {
    let bind = |port| StdListener::bind((Ipv4Addr::LOCALHOST, port));
    let socket = bind(preferred).or_else(|_| bind(0))?;
    let port = socket.local_addr()?.port();
    Ok((socket, port))
}

fn port_of(listener: &TcpListener) -> Result<u16, Error> {
    let address = listener.local_addr().map_err(Error::Listen)?;
    Ok(address.port())
}

fn greeting(demo: &Demo, users_list: &str) -> String {
    let addresses = demo.addresses;
    let public_url = settings::public_url(addresses);
    let emptied = match demo.written.emptied {
        true => {
            "\n  The provider is at another port than before, so its people are others: the directory starts empty.\n"
        }
        false => "",
    };
    format!(
        "\
Vestibule demo, on this machine only

  Open    {public_url}/
  Users   {users_list}
  Stop    Ctrl-C

  provider     {issuer}
  proxy        http://127.0.0.1:{proxy}    configured by {file}
  application  http://127.0.0.1:{application}    reached through the proxy only
{emptied}
",
        issuer = settings::issuer(addresses),
        proxy = addresses.proxy,
        application = addresses.application,
        file = demo.written.proxy_toml.display(),
    )
}
