//! Files that appear whole or not at all.

use crate::failure::Failure;
use std::ffi::OsString;
use std::fs;
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use tempfile::Builder;

/// A place for a file, checked before any work: its folder exists and can be written.
#[derive(Debug)]
pub(crate) struct Output {
    shown: PathBuf,
    /// Where the bytes go, links followed.
    target: PathBuf,
    /// Whether it is a device or pipe, which is written and never replaced.
    special: bool,
}

impl Output {
    /// Checks `path`; nothing is created. `inputs` must not be overwritten.
    pub(crate) fn at(path: &Path, inputs: &[&Path]) -> Result<Self, Failure> {
        let refuse = |what: String| Err(Failure::input(format!("output {}: {what}", path.display())));
        let target = canonical(path);
        if inputs.iter().any(|input| fs::canonicalize(input).is_ok_and(|input| input == target)) {
            return refuse("it is also an input and would be overwritten".into());
        }
        let special = match fs::metadata(&target) {
            Ok(found) if found.is_dir() => return refuse("it is a folder; a file name is required".into()),
            Ok(found) => !found.is_file(),
            Err(_) => false,
        };
        if target.file_name().is_none() {
            return refuse("a file name is required".into());
        }
        if !special {
            let folder = folder_of(&target);
            if !folder.is_dir() {
                return refuse(format!("the folder {} does not exist", folder.display()));
            }
            if let Err(error) = tempfile::tempfile_in(folder) {
                return refuse(format!("the folder {} cannot be written: {error}", folder.display()));
            }
        }
        Ok(Output { shown: path.to_owned(), target, special })
    }

    /// Checks a place for a folder of the program's own, which may be there or not; nothing is created.
    pub(crate) fn folder(path: &Path, inputs: &[&Path]) -> Result<Self, Failure> {
        if path.is_dir() {
            return Ok(Output { shown: path.to_owned(), target: canonical(path), special: false });
        }
        match fs::metadata(path) {
            Ok(_) => Err(Failure::input(format!("output {}: a file is there; a folder is required", path.display()))),
            Err(_) => Output::at(path, inputs),
        }
    }

    /// Writes the whole file: into a temporary one beside it, which then takes its name.
    pub(crate) fn write(&self, fill: impl FnOnce(&mut dyn Write) -> io::Result<()>) -> Result<(), Failure> {
        self.try_write(fill).map_err(|error| Failure::input(format!("output {}: {error}", self.shown.display())))
    }

    fn try_write(&self, fill: impl FnOnce(&mut dyn Write) -> io::Result<()>) -> io::Result<()> {
        if self.special {
            let mut file = fs::OpenOptions::new().write(true).open(&self.target)?;
            return fill(&mut file);
        }
        let mut builder = Builder::new();
        builder.prefix(".releqc-");
        #[cfg(unix)]
        {
            use std::os::unix::fs::PermissionsExt;
            // As any new file: what the umask leaves.
            builder.permissions(fs::Permissions::from_mode(0o666));
        }
        let mut file = builder.tempfile_in(folder_of(&self.target))?;
        #[cfg(unix)]
        if let Ok(old) = fs::metadata(&self.target) {
            // What is replaced keeps its mode, which the umask would cut.
            file.as_file().set_permissions(old.permissions())?;
        }
        let mut buffered = io::BufWriter::with_capacity(1 << 16, file.as_file_mut());
        fill(&mut buffered)?;
        buffered.flush()?;
        drop(buffered);
        file.as_file().sync_all()?;
        file.persist(&self.target).map_err(|error| error.error)?;
        Ok(())
    }

    pub(crate) fn path(&self) -> &Path {
        &self.shown
    }

    /// The name for a file beside this one to be made from: as the user wrote it, or where a link leads.
    pub(crate) fn name(&self) -> &Path {
        let link = fs::symlink_metadata(&self.shown).is_ok_and(|found| found.is_symlink());
        if link { &self.target } else { &self.shown }
    }

    /// Whether it is a device or pipe.
    pub(crate) fn is_special(&self) -> bool {
        self.special
    }
}

/// Refuses two names of one place; each output comes with what the user knows it by.
pub(crate) fn require_different(outputs: &[(&str, &Output)]) -> Result<(), Failure> {
    for (index, (first, a)) in outputs.iter().enumerate() {
        if let Some((second, b)) = outputs[index + 1..].iter().find(|(_, b)| a.target == b.target) {
            let (a, b) = (a.shown.display(), b.shown.display());
            return Err(Failure::input(format!("{first} {a} and {second} {b} are the same file")));
        }
    }
    Ok(())
}

/// Words as a shell takes them, the program by its name alone.
pub(crate) fn shell_line(words: &[OsString]) -> String {
    let plain = |c: char| c.is_ascii_alphanumeric() || "-_./=,:+@%".contains(c);
    let quoted = |word: &OsString| {
        let word = word.to_string_lossy();
        if !word.is_empty() && word.chars().all(plain) {
            word.into_owned()
        } else {
            format!("'{}'", word.replace('\'', "'\\''"))
        }
    };
    let arguments = words.iter().skip(1).map(quoted);
    std::iter::once("releqc".to_owned()).chain(arguments).collect::<Vec<_>>().join(" ")
}

/// The path without links and dots, also of a file that is not there yet.
fn canonical(path: &Path) -> PathBuf {
    let beside = || Some(fs::canonicalize(folder_of(path)).ok()?.join(path.file_name()?));
    fs::canonicalize(path).ok().or_else(beside).unwrap_or_else(|| path.to_owned())
}

fn folder_of(path: &Path) -> &Path {
    path.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_failed_write_leaves_the_old_file_and_nothing_else() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("y");
        fs::write(&path, "old").unwrap();
        let output = Output::at(&path, &[]).unwrap();
        let failed = output.write(|file| {
            file.write_all(b"half")?;
            Err(io::Error::other("disk full"))
        });
        assert!(failed.is_err());
        assert_eq!(fs::read(&path).unwrap(), b"old");
        assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 1);
        output.write(|file| file.write_all(b"new")).unwrap();
        assert_eq!(fs::read(&path).unwrap(), b"new");
    }

    #[test]
    fn places_that_cannot_be_written_are_refused_at_once() {
        let dir = tempfile::tempdir().unwrap();
        let input = dir.path().join("x");
        fs::write(&input, "").unwrap();
        assert!(Output::at(&dir.path().join("absent/y"), &[]).is_err());
        assert!(Output::at(dir.path(), &[]).is_err());
        assert!(Output::at(&input, &[&input]).is_err());
        assert!(Output::at(&input.join("y"), &[]).is_err());
        assert!(Output::at(Path::new("y"), &[]).is_ok());
        assert!(Output::at(Path::new("/dev/null"), &[]).is_ok_and(|output| output.special));
    }

    #[test]
    fn words_come_back_from_a_shell() {
        let line = |words: &[&str]| shell_line(&words.iter().map(OsString::from).collect::<Vec<_>>());
        assert_eq!(line(&["/bin/releqc", "a.onnx", "-o", "b c.rq"]), "releqc a.onnx -o 'b c.rq'");
        assert_eq!(line(&["x", "it's", ""]), r"releqc 'it'\''s' ''");
    }

    #[test]
    fn two_names_of_one_place_are_noticed() {
        let dir = tempfile::tempdir().unwrap();
        fs::create_dir(dir.path().join("sub")).unwrap();
        let at = |name: &str| Output::at(&dir.path().join(name), &[]).unwrap();
        let (y, same, other) = (at("y"), at("sub/../y"), at("sub/y"));
        assert!(require_different(&[("a", &y), ("b", &other)]).is_ok());
        assert!(require_different(&[("a", &y), ("b", &other), ("c", &same)]).is_err());
        #[cfg(unix)]
        {
            std::os::unix::fs::symlink(dir.path().join("sub"), dir.path().join("link")).unwrap();
            assert!(require_different(&[("a", &other), ("b", &at("link/y"))]).is_err());
        }
    }
}
