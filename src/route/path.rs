//! Whether a path means one thing only, and how a lenient server may read it.

/// The path could mean two things: dot segments in any encoding, encoded or raw `\`, encoded `/`, `//`,
/// control characters, over-long UTF-8, doubled encoding of these, broken percent-escapes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the path could mean two things: {0}")]
pub struct Ambiguous(pub &'static str);

/// How plainly an unambiguous path is written.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Clarity {
    /// No escapes and nothing that a server may read leniently.
    Plain,
    /// It has percent-escapes; `cleaned` is the path without them.
    Encoded {
        /// Decoded.
        cleaned: String,
    },
    /// A server may read another path: `;`, `::` and `:$` (streams of NTFS), `(S(…))` segments, segments ending in a dot or
    /// space, doubled percent-encoding.
    Lenient {
        /// The path that it may read. It ends in a slash where the last segment may be dropped whole.
        cleaned: String,
    },
}

impl Clarity {
    /// The path as a lenient server may read it, where that differs.
    pub fn cleaned(&self) -> Option<&str> {
        match self {
            Clarity::Plain => None,
            Clarity::Encoded { cleaned } | Clarity::Lenient { cleaned } => Some(cleaned),
        }
    }
}

/// Judges a path as it came, without its query.
///
/// # Errors
/// [`Ambiguous`].
pub fn clarity(path: &str) -> Result<Clarity, Ambiguous> {
    let bytes = path.as_bytes();
    if bytes.first() != Some(&b'/') {
        return Err(Ambiguous("it does not begin with a slash"));
    }
    let mut special = false;
    let mut before = 0;
    for &byte in bytes {
        match byte {
            0..=0x1f | 0x7f => return Err(Ambiguous("a control character")),
            b'\\' => return Err(Ambiguous("a backslash")),
            b'#' | b'?' => return Err(Ambiguous("a query or fragment inside the path")),
            b'/' if before == b'/' => return Err(Ambiguous("an empty segment")),
            b'/' => special |= matches!(before, b'.' | b' '),
            b'.' => special |= before == b'/',
            b'%' | b';' | b'(' => special = true,
            b':' | b'$' => special |= before == b':',
            _ => {}
        }
        before = byte;
    }
    match special || matches!(before, b'.' | b' ') {
        true => judged(bytes),
        false => Ok(Clarity::Plain),
    }
}

fn judged(bytes: &[u8]) -> Result<Clarity, Ambiguous> {
    let once = decoded(bytes)?;
    let clarity = read(&once)?;
    let Some(twice) = decoded_again(&once)? else {
        return Ok(clarity);
    };
    match (clarity, read(&twice)?) {
        // A rule is shown one other reading; these would be several.
        (Clarity::Lenient { .. }, _) => Err(DOUBLED),
        (_, Clarity::Plain) => Ok(Clarity::Plain),
        (_, Clarity::Encoded { cleaned } | Clarity::Lenient { cleaned }) => {
            Ok(Clarity::Lenient { cleaned })
        }
    }
}

/// How a lenient server may read a path without escapes.
fn read(decoded: &[u8]) -> Result<Clarity, Ambiguous> {
    let text = String::from_utf8_lossy(decoded);
    let mut cleaned = String::with_capacity(text.len());
    let mut lenient = false;
    let mut dropped = false;
    for segment in text.split('/').skip(1) {
        let bare = bare(segment);
        if [segment, &bare, without_parameters(segment)]
            .iter()
            .any(|read| matches!(*read, "." | ".."))
        {
            return Err(Ambiguous("a dot segment"));
        }
        let bare = bare.trim_end_matches(['.', ' ']);
        lenient |= bare.len() != segment.len();
        // A segment that a server drops whole (a cookieless session id) leaves no slash behind, but for the last.
        dropped = bare.is_empty();
        if !dropped {
            cleaned.push('/');
            cleaned.push_str(bare);
        }
    }
    if dropped {
        cleaned.push('/');
    }
    Ok(match lenient {
        true => Clarity::Lenient { cleaned },
        false => Clarity::Encoded { cleaned },
    })
}

fn without_parameters(segment: &str) -> &str {
    let marks = [";", "::", ":$"];
    let end = marks.iter().filter_map(|mark| segment.find(mark)).min();
    segment[..end.unwrap_or(segment.len())].trim_end_matches(' ')
}

/// A segment without what IIS and ASP.NET may take out of it before they look at it.
fn bare(segment: &str) -> String {
    let mut rest = segment;
    let mut kept = String::new();
    while let Some((start, end)) = cookieless_id(rest) {
        kept.push_str(&rest[..start]);
        rest = &rest[end..];
    }
    kept.push_str(rest);
    without_parameters(&kept).to_owned()
}

/// Where a `(S(…))`, with any letter for S, stands in a segment.
fn cookieless_id(segment: &str) -> Option<(usize, usize)> {
    let opens =
        |three: &[u8]| three[0] == b'(' && three[1].is_ascii_alphabetic() && three[2] == b'(';
    let at = segment.as_bytes().windows(3).position(opens)?;
    // Where the first has no end, no later one has: looking on would take time by the square.
    let end = segment.get(at..)?.find("))")?;
    Some((at, at + end + 2))
}

fn decoded(bytes: &[u8]) -> Result<Vec<u8>, Ambiguous> {
    let mut plain = Vec::with_capacity(bytes.len());
    let mut at = 0;
    while at < bytes.len() {
        if bytes[at] != b'%' {
            plain.push(bytes[at]);
            at += 1;
            continue;
        }
        let byte = hexadecimal(bytes, at + 1).ok_or(Ambiguous("a broken percent-escape"))?;
        match byte {
            0..=0x1f | 0x7f => return Err(Ambiguous("an encoded control character")),
            b'/' | b'\\' => return Err(Ambiguous("an encoded slash")),
            _ => plain.push(byte),
        }
        at += 3;
    }
    match overlong(&plain) {
        true => Err(Ambiguous("over-long UTF-8")),
        false => Ok(plain),
    }
}

fn hexadecimal(bytes: &[u8], at: usize) -> Option<u8> {
    let digit = |at: usize| char::from(*bytes.get(at)?).to_digit(16);
    Some((digit(at)? * 16 + digit(at + 1)?) as u8)
}

const DOUBLED: Ambiguous = Ambiguous("a doubled percent-encoding");

/// What a server reads that decodes twice, where it reads something else: escapes that the first decoding left or made.
fn decoded_again(once: &[u8]) -> Result<Option<Vec<u8>>, Ambiguous> {
    let mut twice = Vec::with_capacity(once.len());
    let mut at = 0;
    while at < once.len() {
        let escaped = (once[at] == b'%')
            .then(|| hexadecimal(once, at + 1))
            .flatten();
        match escaped {
            Some(0..=0x1f | 0x7f | b'.' | b'/' | b'\\' | b'%') => return Err(DOUBLED),
            Some(byte) => twice.push(byte),
            None => twice.push(once[at]),
        }
        at += if escaped.is_some() { 3 } else { 1 };
    }
    match overlong(&twice) {
        true => Err(Ambiguous("over-long UTF-8")),
        false => Ok((twice.len() < once.len()).then_some(twice)),
    }
}

/// UTF-8 that takes more bytes than it needs: how `/` and `.` used to be smuggled past filters.
fn overlong(bytes: &[u8]) -> bool {
    bytes.windows(2).any(|pair| match pair[0] {
        0xc0 | 0xc1 => (0x80..=0xbf).contains(&pair[1]),
        0xe0 => (0x80..=0x9f).contains(&pair[1]),
        0xf0 => (0x80..=0x8f).contains(&pair[1]),
        _ => false,
    })
}
