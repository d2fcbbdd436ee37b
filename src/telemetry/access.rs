//! The access log: a line a request, without its query. Lines are put together on their worker and
//! written by a thread of their own, so that no request waits for a terminal, a disk or another worker.
//!
//! Stands apart from `log`, whose writer is one for all threads. The lines look as that one's do.

use std::cell::{Cell, RefCell};
use std::fmt::Write as _;
use std::io::{self, Write as _};
use std::net::IpAddr;
use std::rc::Rc;
use std::sync::mpsc::{Receiver, SyncSender, TrySendError, sync_channel};
use std::time::{Duration, SystemTime};

use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;
use tokio::sync::Notify;

use super::RequestId;

/// How long a line waits for others.
const LONGEST_WAIT: Duration = Duration::from_millis(100);
/// Lines are handed on when there are as many bytes of them.
const BATCH: usize = 32 * 1024;
/// Bytes of lines that a worker keeps while the writer is behind; after that lines are lost, and counted.
const MOST_KEPT: usize = 1024 * 1024;
/// Batches that wait for the writer.
const QUEUE: usize = 64;

/// Where its lines belong among the log's targets.
const TARGET: &str = "vestibule::access";

/// A request that has been answered.
#[derive(Debug, Clone, Copy)]
pub struct Line<'r> {
    /// Joins the line with the page and the audit row.
    pub id: RequestId,
    /// The client's address.
    pub client: IpAddr,
    /// The method; `-` of a request that could not be read.
    pub method: &'r str,
    /// The path, never with its query; `-` of a request that could not be read.
    pub path: &'r str,
    /// The status code that was answered.
    pub status: u16,
    /// The label of what was asked of the caller.
    pub access: &'static str,
    /// From the request's header section to the answer's.
    pub took: Duration,
}

enum Message {
    Lines(Vec<u8>),
    Flush(SyncSender<()>),
}

/// The thread that writes the lines of all workers.
#[derive(Debug, Clone)]
pub struct Writer {
    messages: SyncSender<Message>,
    json: bool,
}

impl Writer {
    /// Starts the thread; `None` where `log.level` leaves the access log out.
    ///
    /// # Errors
    /// The system starts no thread.
    pub fn start(json: bool, out: impl io::Write + Send + 'static) -> io::Result<Option<Self>> {
        if !tracing::enabled!(target: TARGET, tracing::Level::INFO) {
            return Ok(None);
        }
        let (messages, received) = sync_channel(QUEUE);
        std::thread::Builder::new()
            .name("access-log".into())
            .spawn(move || write(&received, out))?;
        Ok(Some(Self { messages, json }))
    }

    /// Waits until everything that was handed on is written, but not for ever.
    pub fn flush(&self) {
        let (sender, written) = sync_channel(1);
        if self.messages.send(Message::Flush(sender)).is_ok() {
            // A writer that is stuck is not waited for: the process is ending.
            let _ = written.recv_timeout(Duration::from_secs(2));
        }
    }
}

fn write(messages: &Receiver<Message>, mut out: impl io::Write) {
    while let Ok(message) = messages.recv() {
        match message {
            // Nobody is left to tell when the log itself cannot be written.
            Message::Lines(lines) => drop(out.write_all(&lines)),
            Message::Flush(done) => {
                let _ = out.flush();
                let _ = done.send(());
            }
        }
    }
}

/// One worker's part of the access log.
#[derive(Debug)]
pub struct AccessLog {
    writer: Writer,
    lines: RefCell<Vec<u8>>,
    second: RefCell<(u64, String)>,
    /// Bytes of lines at which they are handed on.
    enough: Cell<usize>,
    lost: Cell<u64>,
    waiting: Notify,
}

impl AccessLog {
    /// Prepares a worker; `keep_handing_on` must run beside it.
    pub fn new(writer: Writer) -> Rc<Self> {
        Rc::new(Self {
            writer,
            lines: RefCell::default(),
            second: RefCell::default(),
            enough: Cell::new(BATCH),
            lost: Cell::new(0),
            waiting: Notify::new(),
        })
    }

    /// Notes a request.
    pub fn note(&self, line: &Line<'_>, now: SystemTime) {
        let mut lines = self.lines.borrow_mut();
        if lines.len() >= MOST_KEPT {
            self.lost.set(self.lost.get() + 1);
            return;
        }
        if lines.is_empty() {
            self.waiting.notify_one();
        }
        let (second, micros) = self.stamp(now);
        match self.writer.json {
            true => put_json(&mut lines, line, &second, micros),
            false => put_text(&mut lines, line, &second, micros),
        }
        drop(second);
        if lines.len() >= self.enough.get() {
            self.hand_on(&mut lines);
        }
    }

    /// The date and time to the second, written once a second, and the microseconds after it.
    fn stamp(&self, now: SystemTime) -> (std::cell::Ref<'_, str>, u32) {
        let since = now.duration_since(SystemTime::UNIX_EPOCH);
        let since = since.unwrap_or_default();
        if self.second.borrow().0 != since.as_secs() || self.second.borrow().1.is_empty() {
            let at = OffsetDateTime::UNIX_EPOCH + Duration::from_secs(since.as_secs());
            let mut text = at.format(&Rfc3339).unwrap_or_default();
            text.truncate(text.trim_end_matches('Z').len());
            *self.second.borrow_mut() = (since.as_secs(), text);
        }
        let second = std::cell::Ref::map(self.second.borrow(), |(_, text)| text.as_str());
        (second, since.subsec_micros())
    }

    fn hand_on(&self, lines: &mut Vec<u8>) {
        if lines.is_empty() {
            return;
        }
        let batch = std::mem::replace(lines, Vec::with_capacity(BATCH + 1024));
        let refused = self.writer.messages.try_send(Message::Lines(batch)).err();
        let (TrySendError::Full(message) | TrySendError::Disconnected(message)) = match refused {
            Some(refused) => refused,
            None => return self.tell_of_losses(),
        };
        if let Message::Lines(batch) = message {
            // The writer is behind: they wait here, up to a limit.
            *lines = batch;
        }
        self.enough.set(lines.len() + BATCH);
    }

    fn tell_of_losses(&self) {
        self.enough.set(BATCH);
        let lost = self.lost.take();
        if lost > 0 {
            tracing::warn!(
                lost,
                "lines of the access log were lost: standard error is not read fast enough"
            );
        }
    }

    /// Hands lines on a short while after the first came; never resolves.
    pub async fn keep_handing_on(self: Rc<Self>) {
        loop {
            self.waiting.notified().await;
            tokio::time::sleep(LONGEST_WAIT).await;
            self.finish();
            if !self.lines.borrow().is_empty() {
                self.waiting.notify_one();
            }
        }
    }

    /// Hands on what there is.
    pub fn finish(&self) {
        self.hand_on(&mut self.lines.borrow_mut());
    }
}

fn put_text(lines: &mut Vec<u8>, line: &Line<'_>, second: &str, micros: u32) {
    lines.extend_from_slice(second.as_bytes());
    lines.push(b'.');
    put_digits(lines, micros.into(), 6);
    lines.extend_from_slice(b"Z  INFO vestibule::access: id=");
    put_hex(lines, line.id.0);
    lines.extend_from_slice(b" client=");
    put_address(lines, line.client);
    lines.extend_from_slice(b" method=");
    lines.extend_from_slice(line.method.as_bytes());
    lines.extend_from_slice(b" path=");
    put_quoted(lines, line.path);
    lines.extend_from_slice(b" status=");
    put_digits(lines, line.status.into(), 3);
    lines.extend_from_slice(b" access=\"");
    lines.extend_from_slice(line.access.as_bytes());
    lines.extend_from_slice(b"\" milliseconds=");
    put_milliseconds(lines, line.took);
    lines.push(b'\n');
}

fn put_json(lines: &mut Vec<u8>, line: &Line<'_>, second: &str, micros: u32) {
    lines.extend_from_slice(b"{\"timestamp\":\"");
    lines.extend_from_slice(second.as_bytes());
    lines.push(b'.');
    put_digits(lines, micros.into(), 6);
    lines.extend_from_slice(b"Z\",\"level\":\"INFO\",\"id\":\"");
    put_hex(lines, line.id.0);
    lines.extend_from_slice(b"\",\"client\":\"");
    put_address(lines, line.client);
    lines.extend_from_slice(b"\",\"method\":");
    // A string is always JSON.
    let _ = serde_json::to_writer(&mut *lines, line.method);
    lines.extend_from_slice(b",\"path\":");
    let _ = serde_json::to_writer(&mut *lines, line.path);
    lines.extend_from_slice(b",\"status\":");
    put_digits(lines, line.status.into(), 3);
    lines.extend_from_slice(b",\"access\":\"");
    lines.extend_from_slice(line.access.as_bytes());
    lines.extend_from_slice(b"\",\"milliseconds\":");
    put_milliseconds(lines, line.took);
    lines.extend_from_slice(b",\"target\":\"vestibule::access\"}\n");
}

/// An address as it is displayed; the usual kind without the formatter, which takes 900 instructions for it.
fn put_address(lines: &mut Vec<u8>, address: IpAddr) {
    match address {
        IpAddr::V4(address) => {
            let [first, rest @ ..] = address.octets();
            put_digits(lines, first.into(), 1);
            for octet in rest {
                lines.push(b'.');
                put_digits(lines, octet.into(), 1);
            }
        }
        // Writing to memory does not fail.
        IpAddr::V6(address) => drop(write!(lines, "{address}")),
    }
}

/// Decimal digits with leading zeros.
fn put_digits(lines: &mut Vec<u8>, mut number: u64, least: usize) {
    let mut digits = [b'0'; 20];
    let mut at = digits.len();
    while number > 0 || digits.len() - at < least {
        at -= 1;
        digits[at] = b'0' + (number % 10) as u8;
        number /= 10;
    }
    lines.extend_from_slice(&digits[at..]);
}

fn put_hex(lines: &mut Vec<u8>, number: u64) {
    const DIGITS: &[u8; 16] = b"0123456789abcdef";
    lines.extend(
        (0..16)
            .rev()
            .map(|place| DIGITS[(number >> (4 * place) & 15) as usize]),
    );
}

fn put_milliseconds(lines: &mut Vec<u8>, took: Duration) {
    let micros = took.as_micros() as u64;
    put_digits(lines, micros / 1000, 1);
    lines.push(b'.');
    put_digits(lines, micros % 1000, 3);
}

/// In quotes, with everything escaped that could end them or the line.
fn put_quoted(lines: &mut Vec<u8>, text: &str) {
    let plain = |byte: u8| matches!(byte, b' '..=b'~') && byte != b'"' && byte != b'\\';
    if text.bytes().all(plain) {
        lines.push(b'"');
        lines.extend_from_slice(text.as_bytes());
        lines.push(b'"');
    } else {
        let mut quoted = String::new();
        // Writing to memory does not fail.
        let _ = write!(quoted, "{text:?}");
        lines.extend_from_slice(quoted.as_bytes());
    }
}

#[cfg(test)]
mod tests {
    use std::sync::{Arc, Mutex};

    use super::*;

    #[derive(Clone, Default)]
    struct Sink(Arc<Mutex<Vec<u8>>>);

    impl io::Write for Sink {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.0.lock().unwrap().extend_from_slice(bytes);
            Ok(bytes.len())
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    fn line(path: &str) -> Line<'_> {
        Line {
            id: RequestId::from_number(0xab),
            client: IpAddr::from([192, 0, 2, 7]),
            method: "GET",
            path,
            status: 200,
            access: "login",
            took: Duration::from_micros(1_050),
        }
    }

    fn written(json: bool, path: &str) -> String {
        let sink = Sink::default();
        let (messages, received) = sync_channel(QUEUE);
        let out = sink.clone();
        let thread = std::thread::spawn(move || write(&received, out));
        let log = AccessLog::new(Writer { messages, json });
        let at = SystemTime::UNIX_EPOCH + Duration::from_micros(1_700_000_000_000_042);
        log.note(&line(path), at);
        log.finish();
        log.writer.flush();
        drop(log);
        thread.join().unwrap();
        let bytes = sink.0.lock().unwrap().clone();
        String::from_utf8(bytes).unwrap()
    }

    #[test]
    fn a_line_is_text_or_json() {
        assert_eq!(
            written(false, "/wfgen/x"),
            "2023-11-14T22:13:20.000042Z  INFO vestibule::access: id=00000000000000ab client=192.0.2.7 method=GET path=\"/wfgen/x\" status=200 access=\"login\" milliseconds=1.050\n"
        );
        let json: serde_json::Value = serde_json::from_str(&written(true, "/a\"b\n")).unwrap();
        assert_eq!(json["path"], "/a\"b\n");
        assert_eq!(json["timestamp"], "2023-11-14T22:13:20.000042Z");
        assert_eq!(json["milliseconds"], 1.05);
        assert_eq!(json["id"], "00000000000000ab");
    }

    #[test]
    fn an_address_is_written_as_it_is_displayed() {
        for text in [
            "0.0.0.0",
            "192.0.2.10",
            "255.255.255.255",
            "::1",
            "2001:db8::ff00:42:8329",
        ] {
            let mut lines = Vec::new();
            put_address(&mut lines, text.parse().unwrap());
            assert_eq!(String::from_utf8(lines).unwrap(), text);
        }
    }

    #[test]
    fn no_path_breaks_its_line() {
        let text = written(false, "/a\"b\\c\nd\u{1b}é");
        assert_eq!(text.lines().count(), 1);
        assert!(text.contains(r#"path="/a\"b\\c\nd\u{1b}é""#), "{text}");
    }

    #[test]
    fn lines_wait_for_a_slow_writer_up_to_a_limit() {
        let (messages, received) = sync_channel(1);
        let log = AccessLog::new(Writer {
            messages,
            json: false,
        });
        let at = SystemTime::UNIX_EPOCH;
        let path = "/x".repeat(500);
        for _ in 0..5_000 {
            log.note(&line(&path), at);
        }
        assert!(log.lines.borrow().len() < MOST_KEPT + 2 * BATCH);
        assert!(log.lost.get() > 0);
        assert!(matches!(received.try_recv(), Ok(Message::Lines(_))));
    }
}
