//! What a command is given to read: a file, or `-` for standard input.

use std::fs::File;
use std::io::{self, Read as _};
use std::path::Path;

/// Why it was not read.
pub(super) enum Unread {
    /// The system's word.
    Fault(io::Error),
    /// There is more than may be.
    TooLarge,
}

/// The text of `file`, of at most so many bytes.
///
/// # Errors
/// [`Unread`]; whoever asks says what it should have been.
pub(super) fn text(file: &Path, largest: u64) -> Result<String, Unread> {
    let mut text = String::new();
    let read = match file == Path::new("-") {
        true => io::stdin()
            .lock()
            .take(largest + 1)
            .read_to_string(&mut text),
        false => File::open(file).and_then(|file| file.take(largest + 1).read_to_string(&mut text)),
    };
    match read {
        Err(fault) => Err(Unread::Fault(fault)),
        Ok(_) if text.len() as u64 > largest => Err(Unread::TooLarge),
        Ok(_) => Ok(text),
    }
}
