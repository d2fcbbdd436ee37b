//! A request's body where we read it ourselves: bounded in size and in time.

use std::time::Duration;

use bytes::Bytes;
use http_body_util::{BodyExt as _, LengthLimitError, Limited};

use crate::rejection::Kind;
use crate::upstream::Arriving;

/// How long a body of that size may take.
const PATIENCE: Duration = Duration::from_secs(30);

/// The whole of a body of at most so many bytes; nothing is read where that is none.
pub(super) async fn read(body: Arriving, limit: usize) -> Result<Bytes, Kind> {
    if limit == 0 {
        return Ok(Bytes::new());
    }
    let collected = tokio::time::timeout(PATIENCE, Limited::new(body, limit).collect());
    match collected.await {
        Ok(Ok(whole)) => Ok(whole.to_bytes()),
        Ok(Err(fault)) if fault.is::<LengthLimitError>() => Err(Kind::BodyTooLarge),
        Ok(Err(_)) => Err(Kind::BadRequest),
        Err(_) => Err(Kind::RequestTimeout),
    }
}
