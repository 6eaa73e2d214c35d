//! Whether stderr takes colours: <https://no-color.org>, <https://bixense.com/clicolors>.

use std::ffi::OsString;

/// Whether to write colour codes, by the variables that `variable` knows. `NO_COLOR` (not empty) forbids them, `CLICOLOR_FORCE` (not 0) asks for them
/// everywhere; else they are for a terminal that neither is `dumb` nor has `CLICOLOR=0`.
pub(crate) fn wanted(terminal: bool, variable: impl Fn(&str) -> Option<OsString>) -> bool {
    let set = |name: &str| variable(name).filter(|value| !value.is_empty());
    if set("NO_COLOR").is_some() {
        return false;
    }
    if set("CLICOLOR_FORCE").is_some_and(|value| value != "0") {
        return true;
    }
    terminal && set("CLICOLOR").is_none_or(|value| value != "0") && !is_dumb(variable)
}

/// Whether the terminal understands no control codes at all.
pub(crate) fn is_dumb(variable: impl Fn(&str) -> Option<OsString>) -> bool {
    variable("TERM").is_some_and(|term| term == "dumb")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_environment_decides() {
        let wanted = |terminal: bool, set: &[(&str, &str)]| {
            wanted(terminal, |name| set.iter().find(|(known, _)| *known == name).map(|(_, value)| value.into()))
        };
        assert!(wanted(true, &[]) && wanted(true, &[("TERM", "xterm"), ("NO_COLOR", "")]));
        assert!(wanted(false, &[("CLICOLOR_FORCE", "1")]) && wanted(true, &[("CLICOLOR", "1")]));
        for set in [("NO_COLOR", "1"), ("TERM", "dumb"), ("CLICOLOR", "0")] {
            assert!(!wanted(true, &[set]), "{set:?}");
        }
        assert!(!wanted(false, &[]) && !wanted(true, &[("NO_COLOR", "1"), ("CLICOLOR_FORCE", "1")]));
    }
}
