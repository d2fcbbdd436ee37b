//! Our cookies on the way to the application: the session's own, once, and no other.

use http::header::COOKIE;
use http::{HeaderMap, HeaderValue};

use super::{Borne, Identity};
use crate::session::pairs;

impl Identity {
    /// Removes our cookies in all their spellings; of the session cookies the one that the session was borne by
    /// stays, once, with the value of a newer token where there is one.
    pub(super) fn pass_cookies(&self, headers: &mut HeaderMap, borne: Option<Borne<'_>>) {
        let kept = borne.filter(|_| self.forward_session_cookie);
        let keep = kept.map(|borne| borne.cookie);
        // The usual request has one field, and its session is known by its first cookie.
        let usual = borne.filter(|borne| borne.cookie == 0 && !borne.is_newer);
        let only = headers.len() == headers.keys_len();
        let (Some(borne), true) = (usual, only) else {
            let newer = kept.filter(|borne| borne.is_newer);
            return self.set_cookies(headers, keep, newer.map(|borne| borne.session.token()));
        };
        let Some(field) = headers.get_mut(COOKIE) else {
            return;
        };
        match borne.session.passed(field) {
            Some(None) => {}
            Some(Some(changed)) => *field = changed,
            None => {
                let field = field.clone();
                let has_form = self.cookies.form_value(headers).is_some();
                self.set_cookies(headers, keep, None);
                if let Some(passed) = headers.get(COOKIE).filter(|_| !has_form) {
                    let changed = (*passed != field).then(|| passed.clone());
                    borne.session.remember_passed(&field, changed);
                }
            }
        }
    }

    /// Of the session cookies the one with this number stays, once, with a newer token's value where there is one.
    fn set_cookies(&self, headers: &mut HeaderMap, keep: Option<usize>, newer: Option<&[u8]>) {
        let mut fields = headers.get_all(COOKIE).iter();
        match (fields.next(), fields.next()) {
            (None, _) => return,
            (Some(only), None) if newer.is_none() && self.passes_untouched(only, keep) => return,
            _ => {}
        }
        let fields: Vec<_> = match headers.entry(COOKIE) {
            http::header::Entry::Occupied(entry) => entry.remove_entry_mult().1.collect(),
            http::header::Entry::Vacant(_) => Vec::new(),
        };
        let length = fields.iter().map(|field| field.len() + 2).sum();
        let mut line = Vec::with_capacity(length);
        let (mut sessions, mut kept) = (0.., None);
        for (name, value) in fields.iter().flat_map(|field| pairs(field.as_bytes())) {
            if name == Some(self.cookies.session().as_bytes()) && sessions.next() == keep {
                kept = Some((name, newer.unwrap_or(value)));
            }
            if !self.cookies.is_ours(name.unwrap_or(value)) {
                append_pair(&mut line, name, value);
            }
        }
        if let Some((name, value)) = kept {
            append_pair(&mut line, name, value);
        }
        if let Ok(value) = HeaderValue::from_maybe_shared(bytes::Bytes::from(line))
            && !value.is_empty()
        {
            headers.insert(COOKIE, value);
        }
    }

    /// Whether a Cookie field has nothing of ours but the one session cookie that stays.
    fn passes_untouched(&self, field: &HeaderValue, keep: Option<usize>) -> bool {
        let mut ours = pairs(field.as_bytes())
            .map(|(name, value)| name.unwrap_or(value))
            .filter(|name| self.cookies.is_ours(name));
        match (ours.next(), keep) {
            (None, _) => true,
            (Some(name), Some(0)) => {
                name == self.cookies.session().as_bytes() && ours.next().is_none()
            }
            (Some(_), _) => false,
        }
    }
}

fn append_pair(line: &mut Vec<u8>, name: Option<&[u8]>, value: &[u8]) {
    if name.is_none() && value.is_empty() {
        return;
    }
    if !line.is_empty() {
        line.extend_from_slice(b"; ");
    }
    if let Some(name) = name {
        line.extend_from_slice(name);
        line.push(b'=');
    }
    line.extend_from_slice(value);
}
