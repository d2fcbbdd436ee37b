//! A connection that changed its protocol (RFC 9110 7.8): bytes both ways until either side ends, or
//! until the session does.

use std::sync::Arc;
use std::time::Duration;

use http::header::{CONNECTION, UPGRADE};
use http::{HeaderValue, Response};
use hyper::upgrade::OnUpgrade;
use hyper_util::rt::TokioIo;

use crate::environment::Clock;
use crate::session::Session;

/// Joins the client's side with the application's once the 101 has gone out.
pub(super) fn join<B>(
    client: OnUpgrade,
    response: &mut Response<B>,
    protocol: Option<HeaderValue>,
    session: Option<Arc<Session>>,
    clock: Arc<dyn Clock>,
    in_flight: impl Sized + 'static,
) {
    let application = hyper::upgrade::on(&mut *response);
    response
        .headers_mut()
        .insert(CONNECTION, HeaderValue::from_static("upgrade"));
    response
        .headers_mut()
        .extend(protocol.map(|protocol| (UPGRADE, protocol)));
    tokio::task::spawn_local(async move {
        let _in_flight = in_flight;
        let (Ok(client), Ok(application)) = tokio::join!(client, application) else {
            return;
        };
        let (mut client, mut application) = (TokioIo::new(client), TokioIo::new(application));
        let copying = tokio::io::copy_bidirectional(&mut client, &mut application);
        tokio::select! {
            _ = copying => {}
            () = end_of(session, clock) => {}
        }
    });
}

async fn end_of(session: Option<Arc<Session>>, clock: Arc<dyn Clock>) {
    let Some(session) = session else {
        return std::future::pending().await;
    };
    while session.goes_on(clock.now()) {
        tokio::time::sleep(Duration::from_secs(1)).await;
    }
}
