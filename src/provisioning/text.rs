//! Text directories: people who are provisioned elsewhere, as a CSV file tells of them. The file is read at
//! the start and whenever it changes; what it says is applied whole or not at all.
//!
//! A file that is faulty, half written, or would deactivate too many changes nothing, loudly. Who leaves it becomes
//! inactive, never deleted; an administrator's deactivation is another flag, which no file touches. Of many nodes one
//! applies a version, under a lease, and an older copy on another node does not fight with it.

mod application;
mod file;
mod plan;

use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, SystemTime};

use crate::config::{self, Connector, MaxDeactivations};
use crate::environment::Clock;
use crate::store::{self, AppliedFile, Store};

pub use file::{LineFault, Person};
pub use plan::Summary;

/// How often a file is looked at. Two looks that see the same make a change: nobody writes any more.
const LOOK: Duration = Duration::from_secs(2);
/// Seconds that a node which died while it applied a file holds up the others.
const LEASE: i64 = 120;

/// A text directory's file, and what its lines mean.
#[derive(Debug, Clone)]
pub struct Source {
    name: String,
    file: PathBuf,
    /// Whose subjects the file's `subject` column holds, where one provider's people are in it.
    issuer: Option<String>,
    /// What this node is called in the store.
    node: String,
}

/// One text directory: its file and its users.
pub struct TextDirectory {
    source: Source,
    max_deactivations: MaxDeactivations,
    /// Receivers that are told of the users.
    push_targets: Vec<String>,
    store: Store,
    clock: Arc<dyn Clock>,
    /// Why the file as it is now is not in use, if it is not.
    trouble: Mutex<Option<String>>,
}

/// What became of a file. `as_str` is the label of metrics.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum FileOutcome {
    /// Its people are the directory's now.
    Applied,
    /// It has faults, or cannot be read; nothing changed.
    Faulty,
    /// It would deactivate too many; nothing changed.
    Refused,
    /// Another node has applied a newer file; nothing changed.
    Older,
}

impl FileOutcome {
    /// As metrics name it.
    pub fn as_str(self) -> &'static str {
        match self {
            FileOutcome::Applied => "applied",
            FileOutcome::Faulty => "faulty",
            FileOutcome::Refused => "refused",
            FileOutcome::Older => "older",
        }
    }
}

/// Why a file was not applied.
#[derive(Debug, thiserror::Error)]
pub enum Trouble {
    /// The file cannot be read.
    #[error("{file} cannot be read: {source}")]
    Unreadable {
        /// Its path.
        file: String,
        /// What the system said.
        source: std::io::Error,
    },
    /// Its lines have faults; the first of them.
    #[error("{file} has faults, so nothing of it is used: {}", told(.faults))]
    Faulty {
        /// Its path.
        file: String,
        /// At most 20.
        faults: Vec<LineFault>,
    },
    /// More people have left it than may at once.
    #[error(
        "{file} is refused whole: {left} of {active} active users are not in it, expected at most {most} (max_deactivations); if that is right, raise max_deactivations for this once"
    )]
    TooMany {
        /// Its path.
        file: String,
        /// Active users who are not in it.
        left: u64,
        /// Active users of the directory.
        active: u64,
        /// How many may leave at once.
        most: u64,
    },
    /// Another node has a newer one.
    #[error(
        "{file} is older than the one that node {node} has applied, so it is not used; copy the newer one here"
    )]
    Older {
        /// Its path.
        file: String,
        /// Who applied the newer one.
        node: String,
    },
    /// Another node applies it now.
    #[error("another node applies {file} now")]
    Leased {
        /// Its path.
        file: String,
    },
    /// The store does not answer.
    #[error(transparent)]
    Store(#[from] store::Error),
}

impl Trouble {
    /// What is counted, if anything came of the file.
    pub fn outcome(&self) -> Option<FileOutcome> {
        match self {
            Trouble::Unreadable { .. } | Trouble::Faulty { .. } => Some(FileOutcome::Faulty),
            Trouble::TooMany { .. } => Some(FileOutcome::Refused),
            Trouble::Older { .. } => Some(FileOutcome::Older),
            Trouble::Leased { .. } | Trouble::Store(_) => None,
        }
    }
}

fn told(faults: &[LineFault]) -> String {
    let faults: Vec<String> = faults.iter().map(LineFault::to_string).collect();
    faults.join("; ")
}

/// What a look at a file sees of it without reading it.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Look {
    modified: Option<SystemTime>,
    bytes: u64,
    inode: u64,
}

impl Source {
    /// The files of a configuration's text directories.
    pub fn all(config: &config::Config) -> Vec<Self> {
        let directories = config.directories.iter();
        let sources = directories.filter_map(|directory| Self::of(config, directory));
        sources.map(|(source, _)| source).collect()
    }

    fn of(
        config: &config::Config,
        directory: &config::Directory,
    ) -> Option<(Self, MaxDeactivations)> {
        let Connector::Text(text) = &directory.connector else {
            return None;
        };
        let source = Self {
            name: directory.name.clone(),
            file: text.file.clone(),
            issuer: issuer(config, directory),
            node: node(config),
        };
        Some((source, text.max_deactivations))
    }

    /// The directory's name.
    pub fn directory(&self) -> &str {
        &self.name
    }

    fn path(&self) -> String {
        self.file.display().to_string()
    }

    async fn look(&self) -> Option<Look> {
        let metadata = tokio::fs::metadata(&self.file).await.ok()?;
        Some(Look {
            modified: metadata.modified().ok(),
            bytes: metadata.len(),
            inode: std::os::unix::fs::MetadataExt::ino(&metadata),
        })
    }
}

impl TextDirectory {
    /// The text directories of a configuration.
    pub fn all(config: &config::Config, store: &Store, clock: &Arc<dyn Clock>) -> Vec<Self> {
        let directories = config.directories.iter();
        let text = directories.filter_map(|directory| {
            let (source, max_deactivations) = Source::of(config, directory)?;
            Some((source, max_deactivations, directory.push_targets()))
        });
        text.map(|(source, max_deactivations, push_targets)| Self {
            source,
            max_deactivations,
            push_targets,
            store: store.clone(),
            clock: Arc::clone(clock),
            trouble: Mutex::default(),
        })
        .collect()
    }

    /// The directory's name.
    pub fn name(&self) -> &str {
        &self.source.name
    }

    /// Why the file as it is now is not in use, for readiness; `None` while it is.
    pub fn trouble(&self) -> Option<String> {
        let trouble = self.trouble.lock().unwrap_or_else(PoisonError::into_inner);
        trouble.clone()
    }

    /// Reads and applies the file once.
    ///
    /// # Errors
    /// [`Trouble`]; nothing changed then, or, where the store failed on the way, what is applied again at the next
    /// look.
    pub async fn apply(&self) -> Result<Summary, Trouble> {
        let applied = self.apply_unnoted().await;
        let mut trouble = self.trouble.lock().unwrap_or_else(PoisonError::into_inner);
        *trouble = match &applied {
            Ok(_) => None,
            Err(found) => Some(format!("directory {}: {found}", self.name())),
        };
        applied
    }

    /// What applying the file would do, for `check`; nothing is written.
    ///
    /// # Errors
    /// [`Trouble`].
    pub async fn preview(&self) -> Result<Summary, Trouble> {
        let (people, _) = self.source.read(self.clock.now()).await?;
        let plan = self.plan(people).await?;
        self.is_no_exodus(&plan)?;
        Ok(plan.summary())
    }

    /// Follows the file until it is aborted, telling `told` of each thing that came of it.
    pub async fn follow(self: Arc<Self>, told: impl Fn(&str, FileOutcome)) {
        let (mut seen, mut handled) = (None, self.source.look().await);
        // The start has read the file; what it could not do is tried again.
        let mut again = self.trouble().is_some();
        loop {
            tokio::time::sleep(LOOK).await;
            let now = self.source.look().await;
            let settled = seen.as_ref() == Some(&now);
            seen = Some(now.clone());
            if !settled || (handled == now && !again) {
                continue;
            }
            let anew = handled != now;
            handled = now;
            let applied = self.apply().await;
            again = matches!(&applied, Err(Trouble::Store(_) | Trouble::Leased { .. }));
            if anew || applied.is_ok() {
                self.tell(&applied, &told);
            }
        }
    }

    /// One line in the log, and the outcome to `told`.
    pub fn tell(&self, applied: &Result<Summary, Trouble>, told: &impl Fn(&str, FileOutcome)) {
        let directory = self.name();
        match applied {
            Ok(summary) => {
                tracing::info!(directory, file = %self.source.file.display(), %summary, "file applied");
                told(directory, FileOutcome::Applied);
            }
            Err(trouble) => {
                tracing::error!(directory, "{trouble}");
                if let Some(outcome) = trouble.outcome() {
                    told(directory, outcome);
                }
            }
        }
    }

    async fn apply_unnoted(&self) -> Result<Summary, Trouble> {
        let (people, version) = self.source.read(self.clock.now()).await?;
        let known = self.store.applied_file(self.name()).await?;
        if known.as_ref().is_some_and(|it| it.digest == version.digest) {
            return Ok(Summary::unchanged(people.len()));
        }
        self.is_no_older_copy(known.as_ref(), &version)?;
        let now = self.clock.now();
        self.lease().await?;
        // Another node may have applied a newer one before the lease was had.
        let known = self.store.applied_file(self.name()).await?;
        self.is_no_older_copy(known.as_ref(), &version)?;
        let plan = self.plan(people).await?;
        self.is_no_exodus(&plan)?;
        let summary = self.carry_out(plan, now).await?;
        self.store.file_applied(self.name(), &version).await?;
        Ok(summary)
    }

    /// Keeps other nodes from applying the file for a while, or for a while longer.
    async fn lease(&self) -> Result<(), Trouble> {
        let (name, node, now) = (self.name(), &self.source.node, self.clock.now());
        match self.store.lease_file(name, node, now, LEASE).await? {
            true => Ok(()),
            false => Err(Trouble::Leased {
                file: self.source.path(),
            }),
        }
    }

    fn is_no_older_copy(
        &self,
        known: Option<&AppliedFile>,
        version: &AppliedFile,
    ) -> Result<(), Trouble> {
        match known {
            Some(known)
                if known.node != self.source.node && known.modified_at > version.modified_at =>
            {
                Err(Trouble::Older {
                    file: self.source.path(),
                    node: known.node.clone(),
                })
            }
            _ => Ok(()),
        }
    }
}

/// Whose subjects are in the file: the issuer of the directory's only provider, or of the only one there is, unless it
/// has several.
fn issuer(config: &config::Config, directory: &config::Directory) -> Option<String> {
    let of = |name: &str| {
        let mut providers = config.providers.iter();
        providers.find(|provider| provider.name == name)
    };
    let provider = match (directory.providers.as_slice(), config.providers.as_slice()) {
        ([name], _) => of(name),
        ([], [only]) => Some(only),
        _ => None,
    };
    provider?.issuer.only().map(str::to_owned)
}

/// This machine and where this process listens: nodes on one machine differ too.
fn node(config: &config::Config) -> String {
    let host = std::fs::read_to_string("/proc/sys/kernel/hostname").unwrap_or_default();
    let listen = config.server.listen.first();
    let listen = listen.map(ToString::to_string).unwrap_or_default();
    format!("{} {listen}", host.trim())
}
