//! `${…}` in strings of the config: filled in, and kept out of messages.

/// Values at least this long are found wherever they stand in a message; shorter ones only between quotation marks.
const LONG_CHARS: usize = 8;
/// Pieces of a value at least this long give it away.
const PIECE_CHARS: usize = 6;

/// What variables were filled in, so that messages can say their names instead.
#[derive(Clone, Debug, Default)]
pub struct Variables {
    filled: Vec<Filled>,
}

/// A text that came from the environment, and how it is written in the config.
#[derive(Clone, Debug)]
struct Filled {
    value: String,
    written: String,
}

impl Variables {
    /// Replaces `${NAME}`, `${NAME:-default}` and `${NAME:?message}`; `$${` stands for `${`. The value of a variable is
    /// text: it cannot become anything else, and is not looked into again.
    pub(super) fn fill(&mut self, text: &str, variable: &dyn Fn(&str) -> Option<String>) -> Result<String, String> {
        let known = self.filled.len();
        let mut out = String::with_capacity(text.len());
        let mut rest = text;
        while let Some(at) = rest.find("${") {
            if rest[..at].ends_with('$') {
                out.push_str(&rest[..at]);
                out.push('{');
                rest = &rest[at + 2..];
                continue;
            }
            out.push_str(&rest[..at]);
            let end = rest[at..].find('}').ok_or("a `${` is not closed")?;
            let inner = &rest[at + 2..at + end];
            let (name, otherwise) = match inner.find(":-").or_else(|| inner.find(":?")) {
                Some(split) => (&inner[..split], Some((&inner[split..split + 2], &inner[split + 2..]))),
                None => (inner, None),
            };
            if name.is_empty() || !name.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'_') {
                return Err(format!("`{name}` is no name of a variable"));
            }
            match (variable(name), otherwise) {
                (Some(value), _) => {
                    out.push_str(&value);
                    self.filled.push(Filled { value, written: format!("${{{name}}}") });
                }
                (None, Some((":-", default))) => out.push_str(default),
                (None, Some((_, message))) => return Err(format!("the variable `{name}` is not set: {message}")),
                (None, None) => return Err(format!("the variable `{name}` is not set")),
            }
            rest = &rest[at + end + 1..];
        }
        out.push_str(rest);
        if self.filled.len() > known {
            self.filled.push(Filled { value: out.clone(), written: text.to_owned() });
        }
        Ok(out)
    }

    /// Keeps a text out of messages, too, that comes from elsewhere.
    pub(super) fn keep_out(&mut self, secret: String) {
        self.filled.push(Filled { value: secret, written: "***".into() });
    }

    /// A message with the names of variables instead of their values.
    pub fn conceal(&self, message: &str) -> String {
        let mut out = String::with_capacity(message.len());
        let mut at = 0;
        while let Some(next) = message[at..].chars().next() {
            let here = self.filled.iter().filter_map(|filled| Some((filled.stands_at(message, at)?, filled)));
            if let Some((length, filled)) = here.max_by_key(|(length, _)| *length) {
                out.push_str(&filled.written);
                at += length;
            } else {
                out.push(next);
                at += next.len_utf8();
            }
        }
        out
    }

    /// Whether a message still holds a piece of a value.
    pub(super) fn is_given_away(&self, message: &str) -> bool {
        self.filled.iter().any(|filled| {
            let chars: Vec<char> = filled.value.chars().collect();
            let mut pieces = chars.windows(PIECE_CHARS).map(|piece| piece.iter().collect::<String>());
            pieces.any(|piece| message.contains(&piece) && !filled.written.contains(&piece))
        })
    }
}

impl Filled {
    /// The bytes of the value, plain or escaped, where it stands in `message` at `at`.
    fn stands_at(&self, message: &str, at: usize) -> Option<usize> {
        let escaped = self.value.escape_debug().to_string();
        [self.value.as_str(), &escaped].into_iter().filter(|value| !value.is_empty()).find_map(|value| {
            let rest = message[at..].strip_prefix(value)?;
            let is_quote = |c: Option<char>| c.is_some_and(|c| matches!(c, '`' | '"' | '\''));
            let is_quoted = is_quote(message[..at].chars().next_back()) && is_quote(rest.chars().next());
            (is_quoted || value.chars().count() >= LONG_CHARS).then_some(value.len())
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn filled(text: &str, value: &str) -> Variables {
        let mut variables = Variables::default();
        variables.fill(text, &|_| Some(value.to_owned())).expect("set");
        variables
    }

    #[test]
    fn messages_say_the_name_of_a_variable() {
        let url = filled("pg://me:${PASSWORD}@db", "hunter2");
        assert_eq!(url.conceal("`pg://me:hunter2@db` is no URL"), "`pg://me:${PASSWORD}@db` is no URL");
        assert_eq!(url.conceal("nothing with `hunter2`"), "nothing with `${PASSWORD}`");
        let long = filled("${A}", "a\nlong value");
        assert_eq!(long.conceal("in a\nlong value, or \"a\\nlong value\""), "in ${A}, or \"${A}\"");
        assert_eq!(filled("${A}", "is").conceal("`is` is no name"), "`${A}` is no name");
        assert_eq!(filled("${A:-plain}", "plain").conceal("a plain word"), "a plain word");
        let mut file = Variables::default();
        file.keep_out("hunter22".into());
        assert_eq!(file.conceal("user me, password hunter22"), "user me, password ***");
        assert!(url.is_given_away("unexpected `hunter`") && !url.is_given_away("`pg://me` is no PASSWORD"));
    }
}
