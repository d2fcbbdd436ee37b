//! PostgreSQL, as Debian packages it: a server of the tests' own on a port of its own, with a password, and a
//! database for each test.

use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::OnceLock;
use std::sync::atomic::{AtomicU32, Ordering};

use vestibule::config::{Secret, StorePlace};

use super::{PATIENCE, free_port, wait_for};

/// The password of the databases' owner.
pub(crate) const PASSWORD: &str = "päss word/of:the@tests?";

/// A running server.
pub(crate) struct Postgres {
    pub(crate) port: u16,
    folder: tempfile::TempDir,
    server: Option<Child>,
}

impl Postgres {
    /// The one that all tests share. It ends with the test binary.
    pub(crate) fn shared() -> &'static Postgres {
        static SHARED: OnceLock<Postgres> = OnceLock::new();
        SHARED.get_or_init(Postgres::start)
    }

    /// One of a test's own, to be stopped and started again.
    #[track_caller]
    pub(crate) fn start() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let port = free_port();
        let mut postgres = Self {
            port,
            folder,
            server: None,
        };
        postgres.initialise();
        postgres.start_again();
        postgres
    }

    fn data(&self) -> PathBuf {
        self.folder.path().join("cluster")
    }

    #[track_caller]
    fn initialise(&self) {
        let (folder, data) = (self.folder.path(), self.data());
        let password = folder.join("password");
        std::fs::write(&password, PASSWORD).unwrap();
        std::fs::create_dir(&data).unwrap();
        let mut initdb = as_postgres(folder, "initdb");
        initdb
            .args([
                "-A",
                "scram-sha-256",
                "-U",
                "vestibule",
                "-E",
                "UTF8",
                "--locale=C.UTF-8",
            ])
            .args(["--no-sync", "--no-instructions", "--pwfile"])
            .arg(&password)
            .arg("-D")
            .arg(data.join("data"));
        let output = initdb.output().expect("tests/run installs PostgreSQL");
        let errors = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "initdb: {errors}");
    }

    /// Starts it where it was stopped, and waits until it answers.
    #[track_caller]
    pub(crate) fn start_again(&mut self) {
        let mut postgres = as_postgres(self.folder.path(), "postgres");
        postgres
            .arg("-D")
            .arg(self.data().join("data"))
            .args([
                "-c",
                "listen_addresses=127.0.0.1",
                "-c",
                "fsync=off",
                "-c",
                "max_connections=200",
            ])
            .arg("-k")
            .arg(self.data())
            .args(["-p", &self.port.to_string()]);
        // It ends with our end of the pipe, however this process ends.
        let script =
            r#""$@" </dev/null & server=$!; cat >/dev/null; kill -INT $server; wait $server"#;
        let mut shell = Command::new("sh");
        shell.args(["-c", script, "sh"]).arg(postgres.get_program());
        let server = shell
            .args(postgres.get_args())
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn();
        self.server = Some(server.unwrap());
        wait_for("PostgreSQL", PATIENCE, || {
            let answer = self
                .client("psql")
                .args(["-Atc", "select 1", "postgres"])
                .output();
            answer.unwrap().status.success().then_some(())
        });
    }

    /// Stops it at once, in the middle of whatever it does.
    pub(crate) fn stop(&mut self) {
        if let Some(mut server) = self.server.take() {
            drop(server.stdin.take());
            let _ = server.wait();
        }
    }

    fn client(&self, program: &str) -> Command {
        let mut command = Command::new(binary(program));
        command
            .env("PGPASSWORD", PASSWORD)
            .args([
                "-h",
                "127.0.0.1",
                "-U",
                "vestibule",
                "-p",
                &self.port.to_string(),
            ])
            .stdin(Stdio::null());
        command
    }

    /// What `sql` prints in a database, fields separated by `|`.
    #[track_caller]
    pub(crate) fn query(&self, database: &str, sql: &str) -> String {
        let output = self
            .client("psql")
            .args(["-Atc", sql, database])
            .output()
            .unwrap();
        let errors = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "{sql}: {errors}");
        String::from_utf8(output.stdout)
            .unwrap()
            .trim_end()
            .to_owned()
    }

    /// A fresh, empty database.
    #[track_caller]
    pub(crate) fn database(&self) -> String {
        static NEXT: AtomicU32 = AtomicU32::new(0);
        let name = format!("store_{}", NEXT.fetch_add(1, Ordering::Relaxed));
        let output = self.client("createdb").arg(&name).output().unwrap();
        let errors = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "createdb: {errors}");
        name
    }

    /// `store.url` of a database.
    pub(crate) fn url(&self, database: &str) -> String {
        format!("postgres://vestibule@127.0.0.1:{}/{database}", self.port)
    }

    /// A store in that database.
    pub(crate) fn place(&self, database: &str) -> StorePlace {
        StorePlace::Postgres {
            url: self.url(database).parse().unwrap(),
            password: Some(Secret::new(PASSWORD)),
        }
    }
}

impl Drop for Postgres {
    fn drop(&mut self) {
        self.stop();
    }
}

fn binary(program: &str) -> PathBuf {
    Path::new("/usr/lib/postgresql/15/bin").join(program)
}

/// The server refuses to run as root: then it runs as the user that its package makes, who gets the folder.
fn as_postgres(folder: &Path, program: &str) -> Command {
    let id = Command::new("id").arg("-u").output().unwrap().stdout;
    if id != b"0\n" {
        return Command::new(binary(program));
    }
    let given = Command::new("chown")
        .args(["-R", "postgres:"])
        .arg(folder)
        .status();
    assert!(given.unwrap().success(), "tests/run installs PostgreSQL");
    let mut command = Command::new("setpriv");
    command
        .args([
            "--reuid=postgres",
            "--regid=postgres",
            "--clear-groups",
            "--",
        ])
        .arg(binary(program));
    command
}
