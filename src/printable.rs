//! Text from configs, files and topics on its way to a terminal: nothing in it may steer the terminal or hide.

/// Whether a character is not seen but acts: controls, line separators, marks of direction, zero-width characters.
fn is_hidden(c: char) -> bool {
    c.is_control()
        || matches!(c, '\u{ad}' | '\u{61c}' | '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2060}'..='\u{206f}' | '\u{feff}')
}

/// Hidden characters as escapes: `\n`, `\u{1b}`.
pub(crate) fn printable(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for c in text.chars() {
        if is_hidden(c) { out.extend(c.escape_default()) } else { out.push(c) }
    }
    out
}

/// A count in groups of three digits.
pub(crate) fn thousands(count: u64) -> String {
    let digits = count.to_string();
    let groups: Vec<&str> =
        digits.as_bytes().rchunks(3).rev().filter_map(|group| std::str::from_utf8(group).ok()).collect();
    groups.join(" ")
}

/// A line with one visible character for each of its own, so that columns stay where they are.
pub(crate) fn printable_line(text: &str) -> String {
    let shown = |c: char| match c {
        '\t' => ' ',
        '\0'..='\x1f' => char::from_u32(0x2400 + c as u32).expect("a control picture"),
        c if is_hidden(c) => '\u{fffd}',
        c => c,
    };
    text.chars().map(shown).collect()
}

/// One line of JSON that means the same, hidden characters as escapes.
pub(crate) fn printable_json(value: &serde_json::Value) -> String {
    let text = value.to_string();
    let mut out = String::with_capacity(text.len());
    for c in text.chars() {
        // JSON has no raw controls outside its strings, and escapes reach to U+FFFF, as all hidden characters do.
        if is_hidden(c) { out.push_str(&format!("\\u{:04x}", c as u32)) } else { out.push(c) }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_reaches_the_terminal_but_what_is_seen() {
        let evil = "a\x1b[31mb\u{9b}2J\u{202e}c\nd\u{7f}é茶";
        assert_eq!(printable(evil), "a\\u{1b}[31mb\\u{9b}2J\\u{202e}c\\nd\\u{7f}é茶");
        assert_eq!(printable_line("\tx\x1b\u{202e}é"), " x␛\u{fffd}é");
        let value = serde_json::json!({ "name": evil });
        let line = printable_json(&value);
        assert!(line.chars().all(|c| !is_hidden(c)), "{line}");
        assert_eq!(serde_json::from_str::<serde_json::Value>(&line).expect("JSON"), value);
    }
}
