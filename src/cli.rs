//! The command line: what is asked for, and how success and failure are told.
//!
//! Results go to stdout, everything else to stderr as `error:`, `warning:` and `hint:` lines. Exit
//! codes: 0 done, 1 failed, 2 wrong usage (clap's own), 64 bad configuration.

mod check;
mod demo;
mod explain;
mod input;
mod keys;
mod run;
mod sessions;
mod token;
mod users;

use std::ffi::OsString;
use std::io::{self, IsTerminal as _, Write};
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use clap::{ArgGroup, Parser, Subcommand};

use crate::config::{self, Config};

/// Something asked for could not be done.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{message}")]
pub struct Failure {
    /// What, with expected and found; lower case, no full stop, no secret.
    pub message: String,
    /// What to do next.
    pub hint: Option<String>,
    /// The process's exit code.
    pub code: u8,
}

impl Failure {
    /// Exit code of a wrong usage, as clap's own.
    pub const WRONG_USAGE: u8 = 2;
    /// Exit code of a bad configuration.
    pub const BAD_CONFIGURATION: u8 = 64;

    /// A failure with exit code 1 and no hint.
    pub fn new(message: impl Into<String>) -> Self {
        Self {
            message: message.into(),
            hint: None,
            code: 1,
        }
    }

    /// The same with a hint.
    #[must_use]
    pub fn hint(self, hint: impl Into<String>) -> Self {
        Self {
            hint: Some(hint.into()),
            ..self
        }
    }
}

impl From<io::Error> for Failure {
    fn from(error: io::Error) -> Self {
        Self::new(format!("the result could not be written: {error}"))
    }
}

/// The front door of a WorkflowGen installation: signs people in with OpenID Connect, provisions
/// them, and forwards their requests with their identity
#[derive(Debug, Parser)]
#[command(name = "vestibule", version, propagate_version = true)]
struct Arguments {
    /// The configuration file [default: proxy.toml]
    #[arg(short, long, global = true, value_name = "FILE")]
    config: Option<PathBuf>,
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Serve requests until SIGTERM or SIGINT
    Run,
    /// Tell every fault of the configuration, then its warnings
    Check {
        /// Also ask the provider, the application, the store and the clock
        #[arg(long)]
        online: bool,
    },
    /// Show what a sign-in with these claims would do, and write nothing
    #[command(group(ArgGroup::new("about").required(true)))]
    Explain {
        /// A JSON object of claims, or a JWT whose signature is not looked at; - is stdin
        #[arg(long, value_name = "FILE", group = "about")]
        claims: Option<PathBuf>,
        /// An access token, or the JSON object of its claims: which bearer routes it opens. Its signature is not looked at;
        /// - is stdin
        #[arg(long, value_name = "FILE", group = "about")]
        access_token: Option<PathBuf>,
        /// A user, with the claims of their last sign-in, while a session of theirs is kept
        #[arg(long, value_name = "USERNAME", group = "about")]
        user: Option<String>,
        /// The provider that sends the claims; needed when there are several
        #[arg(long, value_name = "NAME")]
        provider: Option<String>,
        /// Print a JSON object
        #[arg(long)]
        json: bool,
    },
    /// Look at the users of the directories, and decide about them
    Users {
        #[command(subcommand)]
        command: Users,
    },
    /// See who is signed in, and sign people out
    Sessions {
        #[command(subcommand)]
        command: Sessions,
    },
    /// Look into session tokens, WorkflowGen's own or ours
    Token {
        #[command(subcommand)]
        command: Token,
    },
    /// Make secrets and keys
    Keys {
        #[command(subcommand)]
        command: Keys,
    },
    /// Try everything out on this machine: a provider, an application and the proxy between them
    Demo {
        /// Do one sign-in without a browser, print its journey and end
        #[arg(long)]
        once: bool,
        /// Print the configuration that the demo runs with, and end
        #[arg(long)]
        print_config: bool,
    },
}

#[derive(Debug, Subcommand)]
enum Users {
    /// List every user
    List {
        /// Print a JSON array
        #[arg(long)]
        json: bool,
    },
    /// Show one user
    Show {
        /// The username
        name: String,
        /// Also print what happened to them, as the audit trail has it
        #[arg(long)]
        history: bool,
        /// Print a JSON object
        #[arg(long)]
        json: bool,
    },
    /// Print every user, or the whole audit trail, as JSON lines
    Export {
        /// The audit trail instead of the users
        #[arg(long)]
        history: bool,
    },
    /// Make users from JSON lines, as `users export` prints them; whoever is there already stays as they are
    Import {
        /// The file, or - for stdin
        #[arg(value_name = "FILE")]
        file: PathBuf,
        /// The directory of users whose line names none
        #[arg(long, value_name = "NAME")]
        directory: Option<String>,
    },
    /// Let a user in again, or one who waits for it for the first time
    Activate {
        /// The username
        name: String,
    },
    /// Keep a user out and end their sessions; no directory undoes it
    Deactivate {
        /// The username
        name: String,
    },
    /// Record that somebody at a provider is this user
    Bind {
        /// The username
        name: String,
        #[command(flatten)]
        identity: Identity,
    },
    /// Forget that somebody at a provider is this user, and end the user's sessions
    Unbind {
        /// The username
        name: String,
        #[command(flatten)]
        identity: Identity,
    },
    /// Give the identities of one issuer another one, when a provider is replaced
    Rebind {
        /// The issuer that they have
        #[arg(long, value_name = "ISSUER")]
        from: String,
        /// The issuer that they get
        #[arg(long, value_name = "ISSUER")]
        to: String,
    },
    /// Look at the users that a receiver has still to be told of, or decide about them
    #[command(group = clap::ArgGroup::new("what").required(true))]
    Push {
        /// List what waits and what was rejected
        #[arg(long, group = "what")]
        pending: bool,
        /// Try again now: one user, or everybody
        #[arg(long, group = "what", value_name = "USERNAME", num_args = 0..=1, default_missing_value = "")]
        retry: Option<String>,
        /// Give up what waits of one user, until they change
        #[arg(long, group = "what", value_name = "USERNAME")]
        discard: Option<String>,
    },
    /// Let anybody have a username again that a user gave up
    Release {
        /// The username
        name: String,
    },
}

#[derive(Debug, Subcommand)]
enum Sessions {
    /// List live sessions
    List {
        /// Those of one user
        #[arg(long, value_name = "USERNAME")]
        user: Option<String>,
        /// Print a JSON array
        #[arg(long)]
        json: bool,
    },
    /// End sessions: every node refuses them within a second
    #[command(group = clap::ArgGroup::new("which").required(true))]
    End {
        /// Their ids, as sessions list shows them
        #[arg(group = "which", value_name = "SESSION")]
        ids: Vec<String>,
        /// All of one user
        #[arg(long, group = "which", value_name = "USERNAME")]
        user: Option<String>,
        /// Everybody's
        #[arg(long, group = "which")]
        all: bool,
    },
}

#[derive(Debug, Subcommand)]
enum Token {
    /// Show what a token says, and whether it holds by this configuration; never its signature
    Inspect {
        /// The cookie's value; - is stdin
        #[arg(value_name = "FILE")]
        file: PathBuf,
        /// Print a JSON object
        #[arg(long)]
        json: bool,
    },
    /// Show two tokens field by field, and mark what differs
    Compare {
        /// One, such as WorkflowGen's own; - is stdin
        #[arg(value_name = "A")]
        a: PathBuf,
        /// The other, such as ours
        #[arg(value_name = "B")]
        b: PathBuf,
        /// Print a JSON object
        #[arg(long)]
        json: bool,
    },
}

/// Who somebody is to a provider.
#[derive(Debug, clap::Args)]
struct Identity {
    /// The provider's issuer; may be left out where there is one provider
    #[arg(long)]
    issuer: Option<String>,
    /// Their subject there
    #[arg(long)]
    subject: String,
}

#[derive(Debug, Subcommand)]
enum Keys {
    /// Print a fresh secret for `session.keys`, or a private key in PEM
    Generate {
        /// What the key is for: HS256 gives a secret, the others a PKCS#8 private key
        #[arg(long, value_name = "NAME", value_enum, default_value_t = keys::Algorithm::HS256, ignore_case = true)]
        algorithm: keys::Algorithm,
        /// Write a new file that only its owner can read, instead of printing
        #[arg(long, value_name = "FILE")]
        out: Option<PathBuf>,
    },
    /// Print the public half of a provider's `private_key` as a JWK Set, to be registered there
    Public {
        /// The private key in PEM; - is stdin
        #[arg(value_name = "FILE")]
        file: PathBuf,
    },
}

/// Does what the process's arguments ask for.
pub fn main() -> ExitCode {
    main_with(std::env::args_os())
}

fn main_with(arguments: impl IntoIterator<Item = OsString>) -> ExitCode {
    // Clap prints help, version and usage faults itself, and exits 0 or 2.
    let arguments = Arguments::parse_from(arguments);
    match dispatch(arguments) {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => {
            report(&failure);
            ExitCode::from(failure.code)
        }
    }
}

fn dispatch(arguments: Arguments) -> Result<(), Failure> {
    let named = arguments.config.as_deref();
    let path = named.unwrap_or(Path::new("proxy.toml"));
    match arguments.command {
        Command::Run => run::run(load(path)?),
        Command::Check { online } => check::check(&load(path)?, online),
        Command::Explain {
            claims,
            access_token,
            user,
            provider,
            json,
        } => {
            let about = match (claims, access_token, user) {
                (Some(claims), ..) => explain::About::Claims(claims),
                (_, Some(token), _) => explain::About::AccessToken(token),
                (_, _, user) => explain::About::User(user.unwrap_or_default()),
            };
            explain::explain(&load(path)?, about, provider.as_deref(), json)
        }
        Command::Users { command } => users::run(&load(path)?, command),
        Command::Sessions { command } => sessions::run(&load(path)?, command),
        Command::Token { command } => match command {
            Token::Inspect { file, json } => token::inspect(&load(path)?, &file, json),
            Token::Compare { a, b, json } => token::compare(&load(path)?, [&a, &b], json),
        },
        Command::Keys { command } => match command {
            Keys::Generate { algorithm, out } => keys::generate(algorithm, out.as_deref()),
            Keys::Public { file } => keys::public(&file),
        },
        Command::Demo { once, print_config } => match named {
            None => demo::demo(once, print_config),
            Some(file) => Err(not_for_the_demo(file)),
        },
    }
}

/// Whoever names a file means to see that one at work, and would be shown another.
fn not_for_the_demo(file: &Path) -> Failure {
    Failure {
        message: format!(
            "expected no --config, found {}: the demo makes a configuration of its own",
            file.display()
        ),
        hint: Some(
            "vestibule run serves a configuration; demo --print-config prints the demo's".into(),
        ),
        code: Failure::WRONG_USAGE,
    }
}

/// Reads the configuration. Its faults are printed here, since they have a form of their own.
fn load(path: &Path) -> Result<Config, Failure> {
    config::load(path).map_err(|faults| {
        let count = match faults.list.len() {
            1 => "1 fault".to_owned(),
            many => format!("{many} faults"),
        };
        eprint(&faults.render(colours()));
        Failure {
            message: format!("{count} in {}", path.display()),
            hint: None,
            code: Failure::BAD_CONFIGURATION,
        }
    })
}

fn report(failure: &Failure) {
    let [red, blue, off] = match colours() {
        true => ["\x1b[1;31m", "\x1b[1;34m", "\x1b[0m"],
        false => [""; 3],
    };
    let mut text = format!("{red}error:{off} {}\n", failure.message);
    if let Some(hint) = &failure.hint {
        text += &format!("{blue}hint:{off} {hint}\n");
    }
    eprint(&text);
}

/// A closed stderr is no reason to fail in another way.
fn eprint(text: &str) {
    let _ = io::stderr().write_all(text.as_bytes());
}

/// Colours are for terminals, unless NO_COLOR says otherwise (no-color.org).
fn colours() -> bool {
    let unwanted = std::env::var_os("NO_COLOR").is_some_and(|value| !value.is_empty());
    !unwanted && io::stderr().is_terminal()
}
