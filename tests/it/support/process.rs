//! One process of an installation, for tests in which several run or one is started as systemd does.

use std::io::{BufRead, BufReader};
use std::net::TcpListener;
use std::os::fd::OwnedFd;
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, Mutex};

use super::{PATIENCE, wait_for};

/// A process whose log is read.
pub(crate) struct Process {
    child: Child,
    log: Arc<Mutex<String>>,
}

impl Process {
    /// Starts it with these sockets as descriptors 3 and 4. The log is what it writes to stderr.
    #[track_caller]
    pub(crate) fn start(command: Command, passed: &[(&str, &TcpListener)]) -> Self {
        let mut command = match passed {
            [] => command,
            _ => with_sockets(&command, passed),
        };
        let mut child = command.stderr(Stdio::piped()).spawn().unwrap();
        let (log, pipe) = (Arc::default(), child.stderr.take().expect("it is piped"));
        let writing: Arc<Mutex<String>> = Arc::clone(&log);
        std::thread::spawn(move || {
            for line in BufReader::new(pipe).lines().map_while(Result::ok) {
                let mut log = writing.lock().unwrap();
                log.push_str(&line);
                log.push('\n');
            }
        });
        Self { child, log }
    }

    pub(crate) fn id(&self) -> u32 {
        self.child.id()
    }

    /// What it has written so far.
    pub(crate) fn log(&self) -> String {
        self.log.lock().unwrap().clone()
    }

    /// Waits until the log holds that text.
    #[track_caller]
    pub(crate) fn wait_for_log(&self, text: &str) {
        wait_for(&format!("{text:?} in the log"), PATIENCE, || {
            self.log().contains(text).then_some(())
        });
    }

    /// Asks it to end.
    pub(crate) fn terminate(&self) {
        let pid = self.child.id().to_string();
        let signal = Command::new("kill").args(["-TERM", &pid]).status();
        assert!(signal.unwrap().success());
    }

    /// Waits until it has ended by itself; its exit code.
    #[track_caller]
    pub(crate) fn wait_until_ended(&mut self) -> Option<i32> {
        let child = &mut self.child;
        let status = wait_for("the process's end", 2 * PATIENCE, || {
            child.try_wait().unwrap()
        });
        status.code()
    }
}

/// The shell moves descriptors where systemd puts them, and is the process that LISTEN_PID names.
fn with_sockets(command: &Command, passed: &[(&str, &TcpListener)]) -> Command {
    let mut shell = Command::new("sh");
    let moves = match passed.len() {
        1 => "exec \"$0\" \"$@\" 3<&0 0</dev/null",
        2 => "exec \"$0\" \"$@\" 3<&0 4<&1 0</dev/null 1>/dev/null",
        other => panic!("{other} sockets"),
    };
    shell
        .arg("-c")
        .arg(format!("export LISTEN_PID=$$; {moves}"));
    shell.arg(command.get_program()).args(command.get_args());
    shell.current_dir(command.get_current_dir().expect("it is set"));
    shell.envs(
        command
            .get_envs()
            .filter_map(|(name, value)| Some((name, value?))),
    );
    let names: Vec<_> = passed.iter().map(|(name, _)| *name).collect();
    shell.env("LISTEN_FDS", passed.len().to_string());
    shell.env("LISTEN_FDNAMES", names.join(":"));
    let socket = |at: usize| Stdio::from(OwnedFd::from(passed[at].1.try_clone().unwrap()));
    shell.stdin(socket(0));
    if passed.len() > 1 {
        shell.stdout(socket(1));
    }
    shell
}

impl Drop for Process {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
        if std::thread::panicking() {
            eprintln!("── a process's log ──\n{}", self.log());
        }
    }
}

/// A process's resident memory, in KiB.
pub(crate) fn resident(pid: u32) -> u64 {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
    let number = line.and_then(|line| line.trim().strip_suffix(" kB"));
    number.expect("VmRSS in kB").trim().parse().unwrap()
}

/// The processor time that a process has used, in hundredths of a second.
pub(crate) fn processor_time(pid: u32) -> u64 {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap();
    let (_, fields) = stat.rsplit_once(')').expect("the name in parentheses");
    let fields: Vec<_> = fields.split_whitespace().collect();
    fields[11].parse::<u64>().unwrap() + fields[12].parse::<u64>().unwrap()
}
