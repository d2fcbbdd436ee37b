//! The access log.

use std::net::IpAddr;

use http::Method;

use super::Answer;
use crate::identity::Stripped;
use crate::telemetry::RequestId;
use crate::upstream::Arriving;

/// One line a request, without its query.
pub(super) struct AccessLine {
    id: RequestId,
    client: IpAddr,
    method: Method,
    uri: http::Uri,
}

impl AccessLine {
    pub(super) fn of(stripped: &Stripped<Arriving>, id: RequestId) -> Self {
        Self {
            id,
            client: stripped.client(),
            method: stripped.method().clone(),
            uri: stripped.uri().clone(),
        }
    }

    pub(super) fn write(&self, status: u16, took: std::time::Duration, answer: &Answer) {
        let path = answer
            .hidden_path
            .as_deref()
            .unwrap_or_else(|| self.uri.path());
        let milliseconds = took.as_micros() as f64 / 1000.0;
        let access = answer.access.as_str();
        tracing::info!(target: "vestibule::access", id = %self.id, client = %self.client, method = %self.method, path, status, access, milliseconds);
    }
}
