//! A peer that runs under Node: started as a child, ended with its standard input.

use std::io::{BufRead, BufReader, Write};
use std::path::Path;
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};

use serde_json::Value;

/// A script of `tests/peers`, running.
pub(crate) struct Peer {
    child: Child,
    input: Option<ChildStdin>,
    output: BufReader<ChildStdout>,
    script: String,
}

impl Peer {
    /// Starts it and reads its first line.
    #[track_caller]
    pub(crate) fn start(script: &str, arguments: &[&str]) -> (Self, Value) {
        let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/peers");
        let node = folder.join("node_modules/.bin/node");
        let mut child = Command::new(&node)
            .arg("--no-warnings")
            .arg(folder.join(script))
            .args(arguments)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap_or_else(|fault| {
                panic!("{} does not start ({fault}): run tests/run", node.display())
            });
        let input = child.stdin.take();
        let output = BufReader::new(child.stdout.take().unwrap());
        let mut peer = Self {
            child,
            input,
            output,
            script: script.to_owned(),
        };
        let ready = peer.line();
        (peer, ready)
    }

    #[track_caller]
    fn line(&mut self) -> Value {
        let mut line = String::new();
        self.output.read_line(&mut line).unwrap();
        serde_json::from_str(&line)
            .unwrap_or_else(|fault| panic!("{} said {line:?}: {fault}", self.script))
    }

    /// Sends one JSON line, reads one.
    #[track_caller]
    pub(crate) fn ask(&mut self, command: &Value) -> Value {
        let input = self.input.as_mut().expect("the peer still listens");
        writeln!(input, "{command}").unwrap();
        self.line()
    }
}

impl Drop for Peer {
    fn drop(&mut self) {
        drop(self.input.take());
        let end = std::time::Instant::now() + std::time::Duration::from_secs(5);
        while std::time::Instant::now() < end {
            if matches!(self.child.try_wait(), Ok(Some(_)) | Err(_)) {
                return;
            }
            std::thread::sleep(std::time::Duration::from_millis(20));
        }
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
