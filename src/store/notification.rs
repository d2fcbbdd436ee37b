//! Ends of sessions as they happen, where the database tells of them (PostgreSQL's LISTEN and NOTIFY). Whoever
//! misses some reads them from the table a moment later.

use std::time::Duration;

use sqlx::postgres::PgListener;

use super::Store;
use super::database::connection_url;
use crate::config::StorePlace;

/// The channel of the trigger on the table of sessions.
const CHANNEL: &str = "vestibule_session_ended";
/// How long to wait before the channel is opened again.
const AGAIN: Duration = Duration::from_secs(1);

impl Store {
    /// Calls `ended` with the `sid` of each session as it ends, on any node, for as long as it is polled. One file is
    /// for one node: there it does nothing.
    pub async fn tell_ends(&self, ended: impl Fn(&str)) {
        let StorePlace::Postgres { .. } = &self.0.place else {
            return;
        };
        loop {
            if let Err(error) = self.listen(&ended).await {
                tracing::debug!(error = %self.fault(error), "ends of sessions are not told as they happen, but read every second");
            }
            tokio::time::sleep(AGAIN).await;
        }
    }

    async fn listen(&self, ended: &impl Fn(&str)) -> Result<(), sqlx::Error> {
        let mut listener = PgListener::connect(&connection_url(&self.0.place)).await?;
        listener.listen(CHANNEL).await?;
        // `None`: the connection was lost; what was told meanwhile is read from the table.
        while let Some(notification) = listener.try_recv().await? {
            ended(notification.payload());
        }
        Ok(())
    }
}
