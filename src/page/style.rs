//! The style sheet of every page and the Content-Security-Policy that lets exactly it through
//! (CSP Level 3). Colours keep WCAG 2.2 AA contrast in both schemes; nothing is said by colour alone.

use std::sync::LazyLock;

use base64::Engine as _;
use http::HeaderValue;

/// The style sheet, byte for byte as the page carries it: its hash is in the policy.
pub(super) const SHEET: &str = include_str!("style.css");

/// Neither frames nor forms.
pub(super) static CLOSED: LazyLock<HeaderValue> =
    LazyLock::new(|| policy("; form-action 'none'; frame-ancestors 'none'"));

/// May be framed.
pub(super) static FRAMED: LazyLock<HeaderValue> = LazyLock::new(|| policy("; form-action 'none'"));

/// Has a form.
pub(super) static FORM: LazyLock<HeaderValue> =
    LazyLock::new(|| policy("; frame-ancestors 'none'"));

fn policy(rest: &str) -> HeaderValue {
    let hash = aws_lc_rs::digest::digest(&aws_lc_rs::digest::SHA256, SHEET.as_bytes());
    let hash = base64::engine::general_purpose::STANDARD.encode(hash);
    let value = format!("default-src 'none'; style-src 'sha256-{hash}'; base-uri 'none'{rest}");
    #[expect(clippy::expect_used, reason = "constants and base64 are visible ASCII")]
    HeaderValue::from_str(&value).expect("a policy of visible ASCII")
}
