//! What an expression names, found before it runs: the crate itself would tell of an unknown name only at
//! somebody's sign-in. Also the bounds of what an expression may cost.

use std::collections::BTreeSet;

use cel::Program;
use cel::common::ast::{
    CallExpr, ComprehensionExpr, EntryExpr, Expr, IdedExpr, LiteralValue, operators,
};

use super::{Scope, Slip};
use crate::spelling::nearest;

/// Comprehensions (`all`, `exists`, `map`, `filter`, …) inside of one another: each takes its time by the number of
/// a list's items.
const DEEPEST_COMPREHENSION: usize = 2;

type Functions = &'static [(&'static str, &'static [usize])];

/// Functions by name, with the numbers of arguments that they take; and those that are called on something.
const FUNCTIONS: Functions = &[
    ("bool", &[1]),
    ("bytes", &[1]),
    ("double", &[1]),
    ("dyn", &[1]),
    ("int", &[1]),
    ("matches", &[2]),
    ("size", &[1]),
    ("string", &[1]),
    ("type", &[1]),
    ("uint", &[1]),
];
const METHODS: Functions = &[
    ("charAt", &[1]),
    ("contains", &[1]),
    ("endsWith", &[1]),
    ("format", &[1]),
    ("hasValue", &[0]),
    ("indexOf", &[1, 2]),
    ("join", &[0, 1]),
    ("lastIndexOf", &[1, 2]),
    ("lowerAscii", &[0]),
    ("matches", &[1]),
    ("or", &[1]),
    ("orValue", &[1]),
    ("replace", &[2, 3]),
    ("reverse", &[0]),
    ("size", &[0]),
    ("split", &[1, 2]),
    ("startsWith", &[1]),
    ("substring", &[1, 2]),
    ("trim", &[0]),
    ("upperAscii", &[0]),
    ("value", &[0]),
];
const MACROS: &str = "has(), .all(), .exists(), .existsOne(), .filter(), .map()";

/// What an expression names.
pub(super) struct Names {
    pub(super) claims: BTreeSet<String>,
    pub(super) fields: BTreeSet<String>,
}

/// Refuses what nests so deeply that the parser's recursion could end the process.
///
/// Brackets in text and comments do not count: closing ones there would hide opening ones elsewhere.
pub(super) fn check_nesting(text: &str, deepest: u16) -> Result<(), Vec<Slip>> {
    let (mut depth, mut unary) = (0, 0);
    for (at, c) in outside_of_text(text) {
        match c {
            '(' | '[' | '{' | '?' => depth += 1,
            ')' | ']' | '}' => depth -= 1,
            _ => {}
        }
        unary = match c {
            '!' | '-' => unary + 1,
            _ if c.is_whitespace() => unary,
            _ => 0,
        };
        if depth > i32::from(deepest) || unary > i32::from(deepest) {
            return Err(vec![Slip {
                at,
                found: "more".to_owned(),
                expected: format!(
                    "at most {deepest} parentheses or operators inside of one another"
                ),
                hint: "let the provider compute the claim".to_owned(),
            }]);
        }
    }
    Ok(())
}

/// The characters that are neither in a literal text nor in a comment, with their places.
fn outside_of_text(text: &str) -> Vec<(usize, char)> {
    let characters: Vec<char> = text.chars().collect();
    let at = |at: usize| characters.get(at).copied();
    let (mut outside, mut here) = (Vec::new(), 0);
    while let Some(c) = at(here) {
        match c {
            '"' | '\'' => here = end_of_text(&characters, here),
            '/' if at(here + 1) == Some('/') => {
                while at(here).is_some_and(|c| c != '\n') {
                    here += 1;
                }
            }
            _ => {
                outside.push((here, c));
                here += 1;
            }
        }
    }
    outside
}

/// Where the literal that a quote opens is over; `r` before it lets backslashes be.
fn end_of_text(characters: &[char], opens: usize) -> usize {
    let quote = characters[opens];
    let is_raw = opens > 0 && matches!(characters[opens - 1], 'r' | 'R');
    let quotes_at = |at: usize, number: usize| {
        characters
            .get(at..at + number)
            .is_some_and(|found| found.iter().all(|c| *c == quote))
    };
    let number = if quotes_at(opens, 3) { 3 } else { 1 };
    let mut here = opens + number;
    while here < characters.len() && !quotes_at(here, number) {
        // A text of one quote ends with its line: the parser refuses it.
        if number == 1 && characters[here] == '\n' {
            return here;
        }
        here += if characters[here] == '\\' && !is_raw {
            2
        } else {
            1
        };
    }
    here + number
}

/// Everything that the program names, if all of it is known.
pub(super) fn of(program: &Program, scope: Scope<'_>) -> Result<Names, Vec<Slip>> {
    let mut walk = Walk {
        program,
        scope,
        bound: Vec::new(),
        names: Names {
            claims: BTreeSet::new(),
            fields: BTreeSet::new(),
        },
        slips: Vec::new(),
    };
    walk.expression(program.expression(), 0);
    match walk.slips.is_empty() {
        true => Ok(walk.names),
        false => {
            walk.slips.sort_by_key(|slip| slip.at);
            Err(walk.slips)
        }
    }
}

struct Walk<'p> {
    program: &'p Program,
    scope: Scope<'p>,
    /// Variables of the comprehensions around.
    bound: Vec<String>,
    names: Names,
    slips: Vec<Slip>,
}

impl Walk<'_> {
    fn expression(&mut self, expression: &IdedExpr, comprehensions: usize) {
        match &expression.expr {
            Expr::Ident(name) => self.variable(expression.id, name),
            Expr::Select(select) => {
                if !self.selected(&select.operand, &select.field) {
                    self.expression(&select.operand, comprehensions);
                }
            }
            Expr::Call(call) => self.call(call, expression.id, comprehensions),
            Expr::Comprehension(it) => self.comprehension(it, expression.id, comprehensions),
            Expr::List(list) => {
                for element in &list.elements {
                    self.expression(element, comprehensions);
                }
            }
            Expr::Map(map) => {
                for entry in &map.entries {
                    if let EntryExpr::MapEntry(entry) = &entry.expr {
                        self.expression(&entry.key, comprehensions);
                        self.expression(&entry.value, comprehensions);
                    }
                }
            }
            Expr::Struct(made) => self.slip(
                expression.id,
                format!("a {}", made.type_name),
                "text, numbers, lists and maps",
                "",
            ),
            Expr::Literal(_) | Expr::Unspecified => {}
        }
    }

    /// A name that stands alone: `claims` as a whole cannot be told by the names that are used of it.
    fn variable(&mut self, id: u64, name: &str) {
        let known = match self.scope {
            Scope::Claims => &["claims"][..],
            Scope::ClaimsAndUser(_) => &["claims", "user"],
        };
        let bound = |known: &String| known == name;
        if name.starts_with('@') || self.bound.iter().any(bound) {
            return;
        }
        if known.contains(&name) {
            let expected = format!("{name}.NAME, {name}[\"NAME\"], or \"NAME\" in {name}");
            return self.slip(id, format!("{name} as a whole"), &expected, "");
        }
        let hint = match (name, nearest(name, known.iter().copied())) {
            (_, Some(near)) => format!("did you mean {near}?"),
            ("user", None) => "no user is known yet where this is decided".to_owned(),
            (_, None) => format!("a claim is written as claims.{name}, text in quotes"),
        };
        self.slip(id, format!("{name:?}"), &known.join(" or "), &hint);
    }

    /// `claims.name`, `user.name`: whether `operand` was one of these variables.
    fn selected(&mut self, operand: &IdedExpr, name: &str) -> bool {
        let Expr::Ident(variable) = &operand.expr else {
            return false;
        };
        if self.bound.contains(variable) {
            return false;
        }
        match (variable.as_str(), self.scope) {
            ("claims", _) => {
                self.names.claims.insert(name.to_owned());
            }
            ("user", Scope::ClaimsAndUser(fields)) => match fields.contains(&name) {
                true => {
                    self.names.fields.insert(name.to_owned());
                }
                false => {
                    let near = nearest(name, fields.iter().copied());
                    let hint = near.map(|near| format!("did you mean user.{near}?"));
                    self.slip(
                        operand.id,
                        format!("user.{name}"),
                        &format!("a user field: {}", fields.join(", ")),
                        &hint.unwrap_or_default(),
                    );
                }
            },
            _ => return false,
        }
        true
    }

    fn call(&mut self, call: &CallExpr, id: u64, comprehensions: usize) {
        let name = call.func_name.as_str();
        // The variable and the literal of `claims["name"]`, `claims.?name`, `"name" in claims`.
        let part = match (call.args.as_slice(), name) {
            ([operand, name], operators::INDEX | operators::OPT_INDEX | operators::OPT_SELECT)
            | ([name, operand], operators::IN) => literal(name).map(|name| (operand, name)),
            _ => None,
        };
        if part.is_some_and(|(operand, name)| self.selected(operand, name)) {
            return;
        }
        for part in call.target.iter().map(AsRef::as_ref).chain(&call.args) {
            self.expression(part, comprehensions);
        }
        let is_operator = !name.starts_with(|c: char| c.is_ascii_alphabetic());
        let (kind, known, others) = match call.target {
            Some(_) => ("method", METHODS, FUNCTIONS),
            None => ("function", FUNCTIONS, METHODS),
        };
        let found = known.iter().find(|(known, _)| *known == name);
        match found {
            _ if is_operator => {}
            Some((_, counts)) if counts.contains(&call.args.len()) => {}
            Some((_, counts)) => {
                let counts: Vec<String> = counts.iter().map(usize::to_string).collect();
                let expected = format!("{} arguments for {name}", counts.join(" or "));
                self.slip(id, format!("{}", call.args.len()), &expected, "");
            }
            None => {
                let names: Vec<&str> = known.iter().map(|(name, _)| *name).collect();
                let expected = format!("a {kind}: {}; or {MACROS}", names.join(", "));
                self.slip(
                    id,
                    format!("{name}()"),
                    &expected,
                    &meant(name, known, others),
                );
            }
        }
    }

    fn comprehension(&mut self, it: &ComprehensionExpr, id: u64, comprehensions: usize) {
        self.expression(&it.iter_range, comprehensions);
        let inside = comprehensions + 1;
        if inside > DEEPEST_COMPREHENSION {
            let expected = format!(
                "at most {DEEPEST_COMPREHENSION} of all, exists, filter and map inside of one another"
            );
            return self.slip(id, "more".to_owned(), &expected, "");
        }
        let bound = self.bound.len();
        self.bound.push(it.iter_var.clone());
        self.bound.extend(it.iter_var2.clone());
        self.bound.push(it.accu_var.clone());
        for part in [&it.accu_init, &it.loop_cond, &it.loop_step, &it.result] {
            self.expression(part, inside);
        }
        self.bound.truncate(bound);
    }

    fn slip(&mut self, id: u64, found: String, expected: &str, hint: &str) {
        let offset = self.program.source_info().offset_for(id);
        self.slips.push(Slip {
            at: offset.map_or(0, |(start, _)| start as usize),
            found,
            expected: expected.to_owned(),
            hint: hint.to_owned(),
        });
    }
}

fn literal(expression: &IdedExpr) -> Option<&str> {
    match &expression.expr {
        Expr::Literal(LiteralValue::String(text)) => Some(text.inner()),
        _ => None,
    }
}

/// What an unknown function or method was probably meant to be.
fn meant(name: &str, known: Functions, others: Functions) -> String {
    let is_method = |name: &str| METHODS.iter().any(|(method, _)| *method == name);
    let written = |name: &str| match is_method(name) {
        true => format!("did you mean .{name}()?"),
        false => format!("did you mean {name}(…)?"),
    };
    let all = || known.iter().chain(others).map(|(name, _)| *name);
    if all().any(|other| other == name) {
        return written(name);
    }
    let lower = name.to_ascii_lowercase();
    let core = lower.strip_prefix("to").unwrap_or(&lower);
    let part = |known: &&str| core.len() > 3 && known.to_ascii_lowercase().starts_with(core);
    let near = nearest(name, all()).or_else(|| all().find(part));
    near.map(written).unwrap_or_default()
}
