//! Numbers, arrays and names as C text.

use std::fmt::{Display, Write};

/// Columns of a line of an array.
const COLUMNS: usize = 100;

/// Words that no name may be, and names that the primitives use.
const WORDS: &[&str] = &[
    "auto", "break", "case", "char", "const", "continue", "default", "do", "double", "else", "enum", "extern", "float",
    "for", "goto", "if", "inline", "int", "long", "register", "restrict", "return", "short", "signed", "sizeof",
    "static", "struct", "switch", "typedef", "union", "unsigned", "void", "volatile", "while",
];

/// Whether functions may begin with it, in C and C++.
pub(crate) fn is_identifier(name: &str) -> bool {
    let begins = name.starts_with(|c: char| c.is_ascii_alphabetic());
    let rest = name.chars().all(|c| c.is_ascii_alphanumeric() || c == '_');
    begins && rest && name.len() <= 63 && !WORDS.contains(&name)
}

/// The shortest decimal that reads back as `value`, a finite number.
pub(crate) fn float(value: f32) -> String {
    format!("{value:e}f")
}

/// Text that can stand in a comment.
pub(crate) fn comment(text: &str) -> String {
    let safe = |c: char| if c.is_ascii_graphic() && !matches!(c, '*' | '?' | '\\') || c == ' ' { c } else { '_' };
    text.chars().take(60).map(safe).collect()
}

/// `static const TYPE NAME[COUNT] = {..};`
pub(crate) fn array(kind: &str, name: &str, values: impl ExactSizeIterator<Item = impl Display>) -> String {
    let mut text = format!("static const {kind} {name}[{}] = {{\n", values.len());
    let mut line = String::from("   ");
    for value in values {
        let value = value.to_string();
        if line.len() + value.len() + 2 > COLUMNS {
            let _ = writeln!(text, "{line}");
            line.truncate(3);
        }
        let _ = write!(line, " {value},");
    }
    let _ = writeln!(text, "{line}\n}};\n");
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_identifiers_or_refused() {
        for name in ["net", "lenet_5", "A"] {
            assert!(is_identifier(name), "{name}");
        }
        for name in ["", "5net", "a-b", "é", "float", "_net", &"a".repeat(64)] {
            assert!(!is_identifier(name), "{name}");
        }
    }

    #[test]
    fn floats_read_back() {
        for value in [1.0f32, 0.1, 1.5e-12, 1_048_576.0, f32::MIN_POSITIVE, 16_777_217.0 / 3.0] {
            let text = float(value);
            assert_eq!(text.trim_end_matches('f').parse::<f32>(), Ok(value), "{text}");
        }
    }

    #[test]
    fn comments_stay_comments() {
        assert_eq!(comment("a*/b\n??/ \\"), "a_/b___/ _");
    }
}
