//! Which inbound header names are dropped: compared as the coarsest server behind us may fold them,
//! without case and with each run of anything but letters and digits equal.

use crate::config;

/// Longest folded name that is compared whole.
const LONGEST: usize = 128;

/// Forwarding headers: written anew by us, from the configuration.
const FORWARDING: &[&str] = &[
    "Forwarded",
    "X-Forwarded-For",
    "X-Forwarded-Host",
    "X-Forwarded-Proto",
    "X-Forwarded-Port",
    "X-Forwarded-Prefix",
    "X-Forwarded-Server",
    "X-Forwarded-Scheme",
    "X-Forwarded-Ssl",
    "X-Real-IP",
];

#[derive(Debug, Clone, PartialEq, Eq)]
struct Pattern {
    folded: Vec<u8>,
    reach: Reach,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Reach {
    /// This name alone.
    Name,
    /// `X-WfGen-*`: whole words after the prefix.
    Words,
    /// `X-Wf*`: anything after the prefix.
    Prefix,
}

/// Names and prefixes of header fields.
#[derive(Debug, Clone)]
pub struct StripList {
    patterns: Vec<Pattern>,
    forwarding: Vec<Pattern>,
    identity: Vec<Pattern>,
    /// First characters that any pattern has: most names are passed over by this alone.
    initials: [bool; 256],
}

impl StripList {
    /// A list of names; `*` ends a prefix.
    pub fn new<'n>(names: impl IntoIterator<Item = &'n str>) -> Self {
        let patterns: Vec<_> = names.into_iter().map(Pattern::new).collect();
        let mut initials = [false; 256];
        for pattern in &patterns {
            match pattern.folded.first() {
                Some(first) => initials[usize::from(*first)] = true,
                None => initials = [true; 256],
            }
        }
        Self {
            patterns,
            forwarding: Vec::new(),
            identity: Vec::new(),
            initials,
        }
    }

    /// Everything that `[upstream.identity]` owns, the contract's own list and the forwarding headers.
    pub fn of(identity: &config::Identity) -> Self {
        let named = || identity.header_names().map(http::HeaderName::as_str);
        let extra = identity.strip.iter().map(String::as_str);
        let all = config::STRIP_LIST
            .iter()
            .copied()
            .chain(FORWARDING.iter().copied())
            .chain(extra)
            .chain(named());
        Self {
            forwarding: FORWARDING.iter().map(|name| Pattern::new(name)).collect(),
            identity: named().map(Pattern::new).collect(),
            ..Self::new(all)
        }
    }

    /// Whether a field of this name is dropped.
    pub fn owns(&self, name: &str) -> bool {
        if is_framing_alias(name) {
            return true;
        }
        let initial = name
            .bytes()
            .find(u8::is_ascii_alphanumeric)
            .map(|byte| byte.to_ascii_lowercase());
        initial.is_some_and(|initial| self.initials[usize::from(initial)])
            && covered(&self.patterns, name)
    }

    /// Whether the name is a forwarding header's: dropped and written anew, but nobody's identity.
    pub fn is_forwarding(&self, name: &str) -> bool {
        covered(&self.forwarding, name) && !self.is_identity(name)
    }

    /// Whether the name is one that we stamp.
    pub fn is_identity(&self, name: &str) -> bool {
        covered(&self.identity, name)
    }
}

/// Whether a server that folds names (RFC 3875 4.1.18) would take it for the body's framing: it would
/// find another end of the request than we did.
fn is_framing_alias(name: &str) -> bool {
    let (first, second) = match name.len() {
        14 => ("content", "length"),
        17 => ("transfer", "encoding"),
        _ => return false,
    };
    let (head, tail) = name.as_bytes().split_at(first.len());
    tail[0] != b'-'
        && !tail[0].is_ascii_alphanumeric()
        && head.eq_ignore_ascii_case(first.as_bytes())
        && tail[1..].eq_ignore_ascii_case(second.as_bytes())
}

/// Whether two names are one to the coarsest server; the first may end in `*`.
pub(super) fn same(pattern: &str, name: &str) -> bool {
    covered(&[Pattern::new(pattern)], name)
}

fn covered(patterns: &[Pattern], name: &str) -> bool {
    let mut buffer = [0; LONGEST];
    let folded = fold(name, &mut buffer);
    patterns.iter().any(|pattern| {
        folded
            .strip_prefix(&*pattern.folded)
            .is_some_and(|rest| match pattern.reach {
                Reach::Name => rest.is_empty(),
                Reach::Words => rest.is_empty() || rest[0] == b'_',
                Reach::Prefix => true,
            })
    })
}

impl Pattern {
    fn new(name: &str) -> Self {
        let mut buffer = [0; LONGEST];
        let folded = fold(name, &mut buffer).to_vec();
        let reach = match name.strip_suffix('*') {
            None => Reach::Name,
            Some(prefix) if prefix.ends_with(|last: char| !last.is_ascii_alphanumeric()) => {
                Reach::Words
            }
            Some(_) => Reach::Prefix,
        };
        Self { folded, reach }
    }
}

/// Lower case, runs of other characters as one `_`, none at the ends.
fn fold<'b>(name: &str, buffer: &'b mut [u8; LONGEST]) -> &'b [u8] {
    let mut length = 0;
    let mut run = false;
    for byte in name.bytes() {
        if !byte.is_ascii_alphanumeric() {
            run = length > 0;
            continue;
        }
        if length + 1 >= LONGEST {
            break;
        }
        if std::mem::take(&mut run) {
            buffer[length] = b'_';
            length += 1;
        }
        buffer[length] = byte.to_ascii_lowercase();
        length += 1;
    }
    &buffer[..length]
}
