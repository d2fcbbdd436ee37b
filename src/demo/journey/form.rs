//! Reads the provider's login form out of its page, as a browser would send it back.
//!
//! Knows as much HTML as the demo's own layout writes: attributes in double quotes.

use url::Url;

/// A form, filled in as it came.
#[derive(Debug)]
pub(super) struct Form {
    /// Where it is sent.
    pub(super) action: Url,
    /// Names and values, in order; buttons are not among them.
    pub(super) fields: Vec<(String, String)>,
}

impl Form {
    /// The page's form; `None` without one.
    pub(super) fn read(page: &str, url: &Url) -> Option<Self> {
        let (_, rest) = page.split_once("<form ")?;
        let (form, _) = rest.split_once("</form>")?;
        let (opening, mut rest) = form.split_once('>')?;
        let action = url.join(&attribute(opening, "action")?).ok()?;
        let mut fields = Vec::new();
        while let Some((_, after)) = rest.split_once('<') {
            let (tag, after) = after.split_once('>')?;
            rest = after;
            if tag.starts_with("input ") {
                let value = attribute(tag, "value").unwrap_or_default();
                fields.push((attribute(tag, "name")?, value));
            } else if tag.starts_with("textarea ") {
                let (text, after) = after.split_once("</textarea>")?;
                rest = after;
                let text = unescaped(text.strip_prefix('\n').unwrap_or(text));
                // Browsers send the line ends of a text field as CRLF.
                fields.push((attribute(tag, "name")?, text.replace('\n', "\r\n")));
            }
        }
        Some(Self { action, fields })
    }

    /// The value of a field.
    pub(super) fn value(&self, name: &str) -> Option<&str> {
        let field = self.fields.iter().find(|(key, _)| key == name);
        field.map(|(_, value)| value.as_str())
    }
}

fn attribute(tag: &str, name: &str) -> Option<String> {
    let (_, rest) = tag.split_once(&format!("{name}=\""))?;
    let (value, _) = rest.split_once('"')?;
    Some(unescaped(value))
}

fn unescaped(text: &str) -> String {
    text.replace("&lt;", "<")
        .replace("&gt;", ">")
        .replace("&quot;", "\"")
        .replace("&amp;", "&")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_form_is_read_as_a_browser_would() {
        let page = "<p>a</p><form method=\"post\" action=\"/login\"><input type=\"hidden\" name=\"a\" \
                    value=\"1 &amp;amp; &lt;2&gt;\"><label>b</label><textarea id=\"c\" name=\"c\">\n\
                    {\n&quot;}</textarea><button name=\"d\">D</button></form>";
        let form = Form::read(page, &Url::parse("http://localhost:1/x?y").unwrap()).unwrap();
        assert_eq!(form.action.as_str(), "http://localhost:1/login");
        assert_eq!(form.value("a"), Some("1 &amp; <2>"));
        assert_eq!(form.value("c"), Some("{\r\n\"}"));
        assert_eq!(form.fields.len(), 2);
        assert!(Form::read("<p>no form</p>", &form.action).is_none());
    }
}
