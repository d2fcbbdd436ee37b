//! Two session tokens laid side by side, field by field.

use std::collections::BTreeSet;
use std::io::{self, Write};

use serde_json::{Value, json};

use super::{Token, kind, shown_claim, shown_name};

/// Claims that no two tokens share: that they are there, and of one type, is what can be compared.
const VARYING: [&str; 7] = ["exp", "iat", "nbf", "auth_time", "nonce", "jti", "sid"];

/// A field of two tokens.
pub(super) struct Row {
    part: &'static str,
    name: String,
    a: Option<Value>,
    b: Option<Value>,
    difference: &'static str,
}

impl Row {
    fn new(
        part: &'static str,
        name: &str,
        a: Option<Value>,
        b: Option<Value>,
        varies: bool,
    ) -> Self {
        let difference = match (&a, &b) {
            (Some(_), None) => "only-a",
            (None, Some(_)) => "only-b",
            (Some(a), Some(b)) if kind(a) != kind(b) => "type",
            (a, b) if a == b => "none",
            _ if varies => "varies",
            _ => "value",
        };
        Self {
            part,
            name: name.to_owned(),
            a,
            b,
            difference,
        }
    }

    pub(super) fn differs(&self) -> bool {
        !matches!(self.difference, "none" | "varies")
    }
}

pub(super) fn rows(a: &Token, b: &Token) -> Vec<Row> {
    let mut rows = Vec::new();
    for (part, one, other) in [
        ("header", &a.header, &b.header),
        ("claims", &a.claims, &b.claims),
    ] {
        let names: BTreeSet<_> = one.keys().chain(other.keys()).collect();
        for name in names {
            let varies = part == "claims" && VARYING.contains(&name.as_str());
            rows.push(Row::new(
                part,
                name,
                one.get(name).cloned(),
                other.get(name).cloned(),
                varies,
            ));
        }
    }
    let lifetime = |token: &Token| Some(json!(token.time("exp")?.checked_sub(token.time("iat")?)?));
    let signer = |token: &Token| {
        Some(json!(
            token
                .signed_by
                .as_ref()
                .map_or("no session key", |_| "a session key")
        ))
    };
    rows.push(Row::new(
        "token",
        "exp - iat, seconds",
        lifetime(a),
        lifetime(b),
        false,
    ));
    rows.push(Row::new(
        "token",
        "signature, bytes",
        Some(json!(a.signature_bytes)),
        Some(json!(b.signature_bytes)),
        false,
    ));
    rows.push(Row::new("token", "signed by", signer(a), signer(b), false));
    rows.push(Row::new(
        "token",
        "length, bytes",
        Some(json!(a.bytes)),
        Some(json!(b.bytes)),
        true,
    ));
    rows
}

pub(super) fn write(out: &mut impl Write, rows: &[Row]) -> io::Result<()> {
    for row in rows {
        let side = |value: &Option<Value>| match value {
            Some(value) => format!("{} {}", kind(value), shown_claim(&row.name, value)),
            None => "absent".to_owned(),
        };
        let (a, b) = (side(&row.a), side(&row.b));
        let name = format!("{} {}", row.part, shown_name(&row.name));
        match row.difference {
            "none" => writeln!(out, "   {name}: {a}")?,
            "varies" => writeln!(
                out,
                " ~ {name}: of one type, differs between any two tokens\n      A {a}\n      B {b}"
            )?,
            difference => writeln!(
                out,
                "!! {name}: {}\n      A {a}\n      B {b}",
                words(difference)
            )?,
        }
    }
    Ok(())
}

fn words(difference: &str) -> &'static str {
    match difference {
        "only-a" => "only A has it",
        "only-b" => "only B has it",
        "type" => "another type",
        _ => "another value",
    }
}

pub(super) fn write_json(out: &mut impl Write, rows: &[Row]) -> io::Result<()> {
    let fields: Vec<_> = rows
        .iter()
        .map(|row| json!({"part": row.part, "name": row.name, "difference": row.difference, "a": row.a, "b": row.b}))
        .collect();
    let same = !rows.iter().any(Row::differs);
    writeln!(out, "{:#}", json!({"same": same, "fields": fields}))
}
