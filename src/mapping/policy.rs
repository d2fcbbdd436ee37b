//! `sync` and `missing` of one field: what a mapped value does to a stored one. A pure function, so
//! that its whole truth table is a test.

use crate::config::{Missing, Sync};

/// What becomes of a stored field.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Settled {
    /// It stays as it is.
    Keep,
    /// It takes the mapped value.
    Write,
    /// It is emptied.
    Clear,
    /// The sign-in is refused.
    Deny,
}

/// What becomes of a field, `creating` a user or knowing them.
///
/// `sync` says when the claim is looked at: at creation always; afterwards with `always` each time,
/// with `if-empty` only while the field is empty (`filled` is false), with `on-create` never. A claim
/// that is not looked at can neither write nor clear nor deny.
///
/// | looked at | claim | `keep` | `clear` | `deny` |
/// |---|---|---|---|---|
/// | yes | present | write | write | write |
/// | yes | missing | keep | clear | deny |
/// | no | either | keep | keep | keep |
pub fn settle(
    sync: Sync,
    missing: Missing,
    creating: bool,
    filled: bool,
    present: bool,
) -> Settled {
    let looked_at = creating
        || match sync {
            Sync::Always => true,
            Sync::OnCreate => false,
            Sync::IfEmpty => !filled,
        };
    match (looked_at, present, missing) {
        (false, _, _) | (true, false, Missing::Keep) => Settled::Keep,
        (true, true, _) => Settled::Write,
        (true, false, Missing::Clear) => Settled::Clear,
        (true, false, Missing::Deny) => Settled::Deny,
    }
}
