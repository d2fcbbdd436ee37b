//! Header names as the application's side may read them, and the names that never pass inbound.
//!
//! CGI, IIS and others fold every character that is no letter or digit into one; two names with one
//! skeleton are one header to them. Kept here because the file's own lists are checked by it.

/// Dropped from every inbound request on every route, beside `upstream.identity`'s own names; `*` ends
/// a prefix.
pub const STRIP_LIST: &[&str] = &[
    "X-Forwarded-User",
    "X-Forwarded-Email",
    "X-Forwarded-Groups",
    "X-Forwarded-Preferred-Username",
    "X-Forwarded-Access-Token",
    "Remote-User",
    "X-Remote-User",
    "X-WfGen-*",
    "X-iisnode-*",
    "X-Original-URL",
    "X-Rewrite-URL",
    "X-HTTP-Method-Override",
    "Proxy",
];

/// A header's name in lower case with each run of anything but letters and digits as one `-`.
pub fn header_skeleton(name: &str) -> String {
    let mut skeleton = String::with_capacity(name.len());
    for c in name.chars() {
        match c.is_ascii_alphanumeric() {
            true => skeleton.push(c.to_ascii_lowercase()),
            false if skeleton.ends_with('-') => {}
            false => skeleton.push('-'),
        }
    }
    skeleton
}

/// An entry of a strip list.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StripPattern {
    skeleton: String,
    prefix: bool,
}

impl StripPattern {
    /// An entry as the file writes it.
    pub fn new(entry: &str) -> Self {
        let (name, prefix) = match entry.strip_suffix('*') {
            Some(name) => (name, true),
            None => (entry, false),
        };
        Self {
            skeleton: header_skeleton(name),
            prefix,
        }
    }

    /// Whether a header of that skeleton is meant.
    pub fn matches(&self, skeleton: &str) -> bool {
        match self.prefix {
            true => skeleton.starts_with(&self.skeleton),
            false => skeleton == self.skeleton,
        }
    }
}
