//! Lists of ranges with quality values, as Accept and Accept-Language carry them (RFC 9110 12.4.2,
//! 12.5.1, 12.5.4). What is not well-formed counts as absent, so that no client can break a page.

use http::header::{HeaderMap, HeaderName};

/// Quality in thousandths: 0 is "not acceptable", 1000 is the default.
type Quality = u16;

/// One element of the list.
#[derive(Debug)]
struct Range<'a> {
    name: &'a [u8],
    quality: Quality,
}

/// The well-formed elements of a list, in its order.
#[derive(Debug)]
pub(super) struct Preferences<'a>(Vec<Range<'a>>);

/// How much a language is wanted: quality, then how early it was named. Compares as the reader means it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Wanted {
    quality: Quality,
    named: std::cmp::Reverse<usize>,
}

/// All lines of a field as the one list that they are (RFC 9110 5.3); `None` without any.
pub(super) fn all_lines(headers: &HeaderMap, name: &HeaderName) -> Option<Vec<u8>> {
    let lines: Vec<_> = headers.get_all(name).iter().map(|v| v.as_bytes()).collect();
    (!lines.is_empty()).then(|| lines.join(&b","[..]))
}

impl<'a> Preferences<'a> {
    pub(super) fn parse(list: &'a [u8]) -> Self {
        Self(split(list, b',').filter_map(Range::parse).collect())
    }

    /// How much the language with this primary subtag is wanted.
    pub(super) fn of_language(&self, subtag: &str) -> Wanted {
        let unwanted = Wanted {
            quality: 0,
            named: std::cmp::Reverse(usize::MAX),
        };
        let mut best: Option<Wanted> = None;
        for (place, range) in self.0.iter().enumerate() {
            let primary = range.name.split(|b| *b == b'-').next().unwrap_or_default();
            if !primary.eq_ignore_ascii_case(subtag.as_bytes()) {
                continue;
            }
            if range.quality == 0 && range.name.len() == subtag.len() {
                return unwanted;
            }
            if range.quality > 0 {
                best = best.max(Some(Wanted {
                    quality: range.quality,
                    named: std::cmp::Reverse(place),
                }));
            }
        }
        // `*` names no language, so it never wins a tie.
        best.unwrap_or(Wanted {
            quality: self.quality_of(b"*").unwrap_or(0),
            ..unwanted
        })
    }

    /// How much a page is wanted by name.
    pub(super) fn page(&self) -> Quality {
        let html = self.quality_of(b"text/html");
        let xhtml = self.quality_of(b"application/xhtml+xml");
        html.max(xhtml)
            .or_else(|| self.quality_of(b"text/*"))
            .unwrap_or(0)
    }

    /// How much a problem is wanted by name.
    pub(super) fn problem(&self) -> Quality {
        let json = self.quality_of(b"application/json");
        let problem = self.quality_of(b"application/problem+json");
        json.max(problem)
            .or_else(|| self.quality_of(b"application/*"))
            .unwrap_or(0)
    }

    /// How much anything is wanted.
    pub(super) fn of_any(&self) -> Quality {
        self.quality_of(b"*/*").unwrap_or(0)
    }

    fn quality_of(&self, name: &[u8]) -> Option<Quality> {
        let named = |range: &&Range<'_>| range.name.eq_ignore_ascii_case(name);
        self.0.iter().filter(named).map(|range| range.quality).max()
    }
}

impl<'a> Range<'a> {
    /// A name, parameters that play no part here, and a weight.
    fn parse(element: &'a [u8]) -> Option<Self> {
        let mut parts = split(element, b';').map(<[u8]>::trim_ascii);
        let name = parts.next().filter(|name| is_range(name))?;
        let mut quality = None;
        for part in parts {
            let (key, value) = part.split_at(part.iter().position(|b| *b == b'=')?);
            let weight = key.eq_ignore_ascii_case(b"q").then(|| weight(&value[1..]));
            match (weight, quality) {
                (Some(None), _) | (Some(_), Some(_)) => return None,
                (Some(given), None) => quality = given,
                // Accept-Language has no other parameters; a range with one is not understood.
                (None, _) if !name.contains(&b'/') => return None,
                (None, _) => {}
            }
        }
        Some(Self {
            name,
            quality: quality.unwrap_or(1000),
        })
    }
}

/// Letters, digits and the marks of media and language ranges.
fn is_range(name: &[u8]) -> bool {
    let allowed = |b: &u8| b.is_ascii_alphanumeric() || b"*/-+._!#$&^".contains(b);
    !name.is_empty() && name.iter().all(allowed)
}

/// `weight` of RFC 9110 12.4.2: 0 to 1 with at most three decimals.
fn weight(text: &[u8]) -> Option<Quality> {
    let (whole, decimals) = match text {
        [whole] => (whole, &[][..]),
        [whole, b'.', decimals @ ..] if decimals.len() <= 3 => (whole, decimals),
        _ => return None,
    };
    if !decimals.iter().all(u8::is_ascii_digit) {
        return None;
    }
    let digit = |place: usize| decimals.get(place).map_or(0, |d| Quality::from(d - b'0'));
    let thousandths = digit(0) * 100 + digit(1) * 10 + digit(2);
    match (whole, thousandths) {
        (b'0', _) => Some(thousandths),
        (b'1', 0) => Some(1000),
        _ => None,
    }
}

/// Splits at a separator that does not stand in a quoted string (RFC 9110 5.6.4).
fn split(text: &[u8], separator: u8) -> impl Iterator<Item = &[u8]> {
    let (mut quoted, mut escaped) = (false, false);
    text.split(move |byte| {
        let literal = quoted || escaped;
        match byte {
            _ if escaped => escaped = false,
            b'\\' if quoted => escaped = true,
            b'"' => quoted = !quoted,
            _ => {}
        }
        !literal && *byte == separator
    })
}
