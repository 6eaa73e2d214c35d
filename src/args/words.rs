//! The first word: a command, or the model of `compile`.

use crate::failure::Failure;
use std::ffi::OsString;
use std::path::Path;

/// Every command; `help` is clap's.
const COMMANDS: &[&str] = &[
    "compile",
    "check",
    "inspect",
    "run",
    "eval",
    "bench",
    "sim",
    "disasm",
    "emit-c",
    "export",
    "compare",
    "diff",
    "worker",
    "completions",
    "man",
    "help",
];

/// Inserts `compile` where the first word after the common flags is no command.
///
/// # Errors
/// When that word can only be a mistyped command: no flag, no file, and without an extension.
pub(super) fn with_default_command(mut words: Vec<OsString>) -> Result<Vec<OsString>, Failure> {
    const OWN: [&str; 4] = ["-h", "--help", "-V", "--version"];
    let mut at = 1;
    while let Some(word) = words.get(at).map(|word| word.to_string_lossy()) {
        match &*word {
            "--json" | "--quiet" => at += 1,
            "--threads" => at += 2,
            word if word.starts_with("--threads=") => at += 1,
            word if COMMANDS.contains(&word) || OWN.contains(&word) => return Ok(words),
            word => {
                let path = Path::new(&words[at]);
                if !word.starts_with('-') && path.extension().is_none() && !path.exists() {
                    return Err(mistyped(word));
                }
                words.insert(1, "compile".into());
                return Ok(words);
            }
        }
    }
    Ok(words)
}

fn mistyped(word: &str) -> Failure {
    let what = format!("{word:?}: neither a command nor a model file");
    match similar(word) {
        Some(command) => Failure::input(format!("{what}; did you mean {command}?")),
        None => Failure::input(format!("{what}; the commands are {}", COMMANDS.join(", "))),
    }
}

/// The command that begins so, or that differs least, where that is little.
fn similar(word: &str) -> Option<&'static str> {
    let word = word.to_ascii_lowercase();
    let most = |command: &str| command.len().div_ceil(3);
    let near = COMMANDS.iter().map(|command| (distance(&word, command), *command));
    let begun = COMMANDS.iter().find(|command| word.len() >= 2 && command.starts_with(&word));
    begun.copied().or_else(|| {
        near.filter(|(distance, command)| *distance <= most(command)).min_by_key(|(distance, _)| *distance).map(|n| n.1)
    })
}

/// Letters to insert, delete, replace or swap with their neighbour (optimal string alignment).
fn distance(a: &str, b: &str) -> usize {
    let (a, b): (Vec<char>, Vec<char>) = (a.chars().collect(), b.chars().collect());
    let mut rows = vec![vec![0; b.len() + 1]; a.len() + 1];
    for i in 0..=a.len() {
        for j in 0..=b.len() {
            rows[i][j] = match (i, j) {
                (0, _) => j,
                (_, 0) => i,
                _ => {
                    let replaced = rows[i - 1][j - 1] + usize::from(a[i - 1] != b[j - 1]);
                    let swapped = i > 1 && j > 1 && a[i - 1] == b[j - 2] && a[i - 2] == b[j - 1];
                    let swapped = if swapped { rows[i - 2][j - 2] + 1 } else { usize::MAX };
                    replaced.min(rows[i - 1][j] + 1).min(rows[i][j - 1] + 1).min(swapped)
                }
            };
        }
    }
    rows[a.len()][b.len()]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_nearest_command_is_found() {
        for (word, command) in [
            ("inspct", "inspect"),
            ("Check", "check"),
            ("rnu", "run"),
            ("evla", "eval"),
            ("dis", "disasm"),
            ("comp", "compile"),
        ] {
            assert_eq!(similar(word), Some(command), "{word}");
        }
        assert_eq!(similar("optimise"), None);
    }

    #[test]
    fn what_can_be_a_model_is_left_to_compile() {
        let words = |line: &str| with_default_command(line.split(' ').map(OsString::from).collect());
        assert_eq!(words("releqc absent.onnx -o y").unwrap()[1], "compile");
        assert_eq!(words("releqc -o y absent").unwrap()[1], "compile");
        assert!(words("releqc --threads 2 inspct a.rq").is_err());
    }
}
