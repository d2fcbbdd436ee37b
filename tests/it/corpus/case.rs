//! The format of `tests/data/http1`: its README says what each word means.

/// Where the cases are.
pub(super) const FOLDER: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/data/http1");

/// What becomes of the connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Then {
    Open,
    Closed,
    Any,
}

/// A request that the application gets.
#[derive(Debug)]
pub(super) struct Sees {
    pub(super) method: String,
    pub(super) target: String,
    pub(super) body: Option<String>,
    pub(super) optional: bool,
    pub(super) partial: bool,
}

/// One case.
#[derive(Debug)]
pub(super) struct Case {
    pub(super) name: String,
    pub(super) why: String,
    pub(super) statuses: Vec<u16>,
    pub(super) then: Then,
    pub(super) method: String,
    pub(super) sees: Vec<Sees>,
    pub(super) has: Vec<(String, String)>,
    pub(super) lacks: Vec<String>,
    pub(super) trailers: Option<Vec<String>>,
    sent: String,
}

impl Case {
    /// Where `/wfgen/case` stands for: its own, so that what arrives late is known.
    pub(super) fn target(&self) -> String {
        format!("/wfgen/case-{}", self.name)
    }

    /// Whether a target that arrived is this case's.
    pub(super) fn owns(&self, target: &str) -> bool {
        let own = self.target();
        let known = |seen: &Sees| seen.target.replace("/wfgen/case", &own) == target;
        let rest = target.strip_prefix(&own);
        self.sees.iter().any(known)
            || rest.is_some_and(|rest| {
                !rest.starts_with(|next: char| next.is_ascii_alphanumeric() || next == '-')
            })
    }

    /// What is sent, with the names filled in.
    pub(super) fn bytes(&self, fill: impl Fn(&str) -> Option<String>) -> Vec<u8> {
        let text = self.sent.replace("/wfgen/case", &self.target());
        let mut bytes = Vec::new();
        let mut rest = text.as_str();
        while let Some((before, inner)) = rest.split_once('{') {
            let (inner, after) = inner.split_once('}').expect("a closing brace");
            bytes.extend(unescaped(before));
            match (fill(inner), inner.rsplit_once('*')) {
                (Some(filled), _) => bytes.extend_from_slice(filled.as_bytes()),
                (None, Some((text, times))) => {
                    bytes.extend(unescaped(text).repeat(times.parse().expect("a number")));
                }
                (None, None) => panic!("unknown name {inner:?} in {}", self.name),
            }
            rest = after;
        }
        bytes.extend(unescaped(rest));
        bytes
    }
}

fn unescaped(text: &str) -> Vec<u8> {
    let mut bytes = Vec::new();
    let mut rest = text.as_bytes();
    while let [first, more @ ..] = rest {
        let (byte, after) = match (first, more) {
            (b'\\', [b'x', high, low, after @ ..]) => {
                let digits = [*high, *low];
                let digits = std::str::from_utf8(&digits).expect("two digits");
                (u8::from_str_radix(digits, 16).expect("two digits"), after)
            }
            (b'\\', [escaped, after @ ..]) => match escaped {
                b'r' => (b'\r', after),
                b'n' => (b'\n', after),
                b't' => (b'\t', after),
                b'0' => (0, after),
                b'\\' => (b'\\', after),
                other => panic!("unknown escape \\{}", char::from(*other)),
            },
            (byte, after) => (*byte, after),
        };
        bytes.push(byte);
        rest = after;
    }
    bytes
}

/// The value of a field as the application's reader shows it: one character a byte.
fn shown(text: &str) -> String {
    unescaped(text).into_iter().map(char::from).collect()
}

/// The cases of a file.
pub(super) fn cases(file: &str) -> Vec<Case> {
    let text = std::fs::read_to_string(format!("{FOLDER}/{file}.txt")).unwrap();
    let blocks = text.split("=== ").skip(1);
    blocks.map(|block| case(file, block)).collect()
}

fn case(file: &str, block: &str) -> Case {
    let (name, lines) = block.split_once('\n').expect("a name");
    let mut case = Case {
        name: name.to_owned(),
        why: String::new(),
        statuses: Vec::new(),
        then: Then::Any,
        method: "GET".to_owned(),
        sees: Vec::new(),
        has: Vec::new(),
        lacks: Vec::new(),
        trailers: None,
        sent: String::new(),
    };
    for line in lines.lines().filter(|line| !line.is_empty()) {
        let (word, rest) = line.split_once(' ').expect("a word and more");
        match word {
            ">" => case.sent.push_str(&format!("{rest}\\r\\n")),
            ">>" => case.sent.push_str(rest),
            "why" => case.why.push_str(rest),
            "status" => case
                .statuses
                .extend(rest.split(' ').map(|it| it.parse::<u16>().unwrap())),
            "then" => case.then = then(rest),
            "method" => rest.clone_into(&mut case.method),
            "sees" | "may" | "part" => case.sees.push(sees(word, rest)),
            "has" => {
                let (name, value) = rest.split_once(": ").expect("a field");
                case.has.push((name.to_owned(), shown(value)));
            }
            "lacks" => case.lacks.push(rest.to_owned()),
            "trailer" => {
                let trailers = case.trailers.get_or_insert_default();
                trailers.extend((rest != "none").then(|| rest.to_owned()));
            }
            other => panic!("{file}: {name}: unknown word {other:?}"),
        }
    }
    case
}

fn then(word: &str) -> Then {
    match word {
        "open" => Then::Open,
        "closed" => Then::Closed,
        "any" => Then::Any,
        other => panic!("then {other:?}"),
    }
}

fn sees(word: &str, text: &str) -> Sees {
    let mut parts = text.splitn(3, ' ').map(str::to_owned);
    let mut next = || parts.next().unwrap_or_default();
    let (method, target, body) = (next(), next(), next());
    Sees {
        method,
        target: shown(&target),
        body: (!body.is_empty()).then(|| serde_json::from_str(&body).expect("JSON text")),
        optional: word != "sees",
        partial: word == "part",
    }
}
