//! How this process is known to others that work on the same folder, and how it tells them where data are.

use crate::failure::Failure;
use crate::rows;
use releqc_passes::compile::Sharing;
use std::ffi::OsString;
use std::fs;
use std::path::Path;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

/// This process, at work in a folder.
pub(crate) fn of_process(folder: &Path, lease: Duration) -> Sharing {
    Sharing { folder: folder.to_owned(), owner: owner(), lease }
}

/// Machine, process and moment: the same process number may return, on the same machine too.
fn owner() -> String {
    let host = fs::read_to_string("/proc/sys/kernel/hostname").ok().map(|name| name.trim().to_owned());
    let named = || ["HOSTNAME", "COMPUTERNAME"].iter().find_map(|name| std::env::var(name).ok());
    let host = host.filter(|name| !name.is_empty()).or_else(named).unwrap_or_else(|| "host".into());
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    format!("{host}-{}-{}", std::process::id(), now.as_nanos())
}

/// The words of `--data` as another process finds the same files: with absolute paths, as text.
pub(crate) fn absolute(given: &[OsString]) -> Result<Vec<String>, Failure> {
    let of_path = |path: &Path| {
        let at = |what: String| Failure::input(format!("--store: {}: {what}", path.display()));
        fs::metadata(path).map_err(|error| at(error.to_string()))?;
        // Links stay: other machines may have them where they have not what they lead to.
        let whole = std::path::absolute(path).map_err(|error| at(error.to_string()))?;
        let text = whole.to_str().ok_or_else(|| at("a path that is no UTF-8 cannot be told to workers".into()))?;
        Ok::<String, Failure>(text.to_owned())
    };
    let of_word = |word: &OsString| match rows::named(word) {
        Some((name, file)) if !Path::new(word).exists() => Ok(format!("{name}={}", of_path(&file)?)),
        _ => of_path(Path::new(word)),
    };
    given.iter().map(of_word).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_are_absolute_and_names_stay() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("x.npy");
        fs::write(&file, "").unwrap();
        let whole = fs::canonicalize(&file).unwrap();
        let whole = whole.to_str().unwrap();
        let words = [OsString::from(&file), OsString::from(format!("input={}", file.display()))];
        assert_eq!(absolute(&words).unwrap(), [whole.to_owned(), format!("input={whole}")]);
        assert!(absolute(&["absent".into()]).is_err());
        assert_ne!(owner(), owner());
    }
}
