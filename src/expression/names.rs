//! What an expression names, found before it runs: the crate itself would tell of an unknown name only at
//! somebody's sign-in. Also the bounds of what an expression may cost.

use std::collections::BTreeSet;

use cel::Program;
use cel::common::ast::{
    CallExpr, ComprehensionExpr, EntryExpr, Expr, IdedExpr, LiteralValue, operators,
};

use super::{Scope, Slip};

/// Comprehensions (`all`, `exists`, `map`, `filter`, …) inside of one another: each takes its time by the number of
/// a list's items.
const DEEPEST_COMPREHENSION: usize = 2;

/// Functions by name, with the numbers of arguments that they take; and those that are called on something.
const FUNCTIONS: &[(&str, &[usize])] = &[
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
const METHODS: &[(&str, &[usize])] = &[
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
pub(super) fn check_nesting(text: &str, deepest: u16) -> Result<(), Vec<Slip>> {
    let (mut depth, mut unary) = (0, 0);
    for (at, c) in text.chars().enumerate() {
        match c {
            '(' | '[' | '{' | '?' => depth += 1,
            ')' | ']' | '}' => depth -= 1,
            _ => {}
        }
        unary = if matches!(c, '!' | '-') { unary + 1 } else { 0 };
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
                self.selected(&select.operand, &select.field);
                self.expression(&select.operand, comprehensions);
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

    fn variable(&mut self, id: u64, name: &str) {
        let known = match self.scope {
            Scope::Claims => &["claims"][..],
            Scope::ClaimsAndUser(_) => &["claims", "user"],
        };
        let bound = |known: &String| known == name;
        if known.contains(&name) || name.starts_with('@') || self.bound.iter().any(bound) {
            return;
        }
        let hint = match name {
            "claim" => "did you mean claims?".to_owned(),
            "user" => "no user is known yet where this is decided".to_owned(),
            _ => format!("a claim is written as claims.{name}, text in quotes"),
        };
        self.slip(id, format!("{name:?}"), &known.join(" or "), &hint);
    }

    /// `claims.name`, `user.name`.
    fn selected(&mut self, operand: &IdedExpr, name: &str) {
        let Expr::Ident(variable) = &operand.expr else {
            return;
        };
        if self.bound.contains(variable) {
            return;
        }
        match (variable.as_str(), self.scope) {
            ("claims", _) => {
                self.names.claims.insert(name.to_owned());
            }
            ("user", Scope::ClaimsAndUser(fields)) => match fields.contains(&name) {
                true => {
                    self.names.fields.insert(name.to_owned());
                }
                false => self.slip(
                    operand.id,
                    format!("user.{name}"),
                    &format!("a user field: {}", fields.join(", ")),
                    "",
                ),
            },
            _ => {}
        }
    }

    fn call(&mut self, call: &CallExpr, id: u64, comprehensions: usize) {
        if let Some(target) = &call.target {
            self.expression(target, comprehensions);
        }
        for argument in &call.args {
            self.expression(argument, comprehensions);
        }
        let name = call.func_name.as_str();
        if let ([operand, name], operators::INDEX | operators::OPT_INDEX | operators::OPT_SELECT) =
            (call.args.as_slice(), name)
            && let Expr::Literal(LiteralValue::String(name)) = &name.expr
        {
            self.selected(operand, name.inner());
        }
        let is_operator = !name.starts_with(|c: char| c.is_ascii_alphabetic());
        let (kind, known) = match call.target {
            Some(_) => ("method", METHODS),
            None => ("function", FUNCTIONS),
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
                self.slip(id, format!("{name}()"), &expected, "");
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
