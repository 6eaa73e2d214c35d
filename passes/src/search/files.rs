//! Files that appear whole or not at all in folders that several processes write.

use std::fs::{self, File};
use std::io::{self, ErrorKind, Write};
use std::path::Path;
use std::time::Duration;
use tempfile::{Builder, NamedTempFile};

/// Names that begin so are of files not yet whole; a killed process leaves them behind.
const UNFINISHED: &str = ".tmp-";

/// An unfinished file older than this is nobody's; far longer than clocks differ.
const ABANDONED: Duration = Duration::from_secs(24 * 3600);

/// Writes a file unless there is one of that name: true where it was written now. On return it is on disk, also if the process is
/// killed at once. The first of several writers wins.
pub(super) fn write_once(path: &Path, bytes: &[u8]) -> io::Result<bool> {
    match unfinished(path, bytes)?.persist_noclobber(path) {
        Ok(_) => {
            settle(path);
            Ok(true)
        }
        Err(refused) if refused.error.kind() == ErrorKind::AlreadyExists => Ok(false),
        // A file system without links: the name goes to the last writer.
        Err(refused) => {
            refused.file.persist(path).map_err(|error| error.error)?;
            settle(path);
            Ok(true)
        }
    }
}

fn unfinished(path: &Path, bytes: &[u8]) -> io::Result<NamedTempFile> {
    let mut builder = Builder::new();
    builder.prefix(UNFINISHED);
    #[cfg(unix)]
    {
        use std::os::unix::fs::PermissionsExt;
        // As any new file: what the umask leaves. Other users may work on the same folder.
        builder.permissions(fs::Permissions::from_mode(0o666));
    }
    let mut file = builder.tempfile_in(path.parent().unwrap_or(Path::new(".")))?;
    file.write_all(bytes)?;
    file.as_file().sync_all()?;
    Ok(file)
}

/// Brings the name to disk too, where the system can do that to folders.
fn settle(path: &Path) {
    if let Some(Ok(folder)) = path.parent().map(File::open) {
        let _ = folder.sync_all();
    }
}

/// Whether there is no such file; a network file system has a word of its own for one that was there a moment ago.
pub(super) fn is_gone(error: &io::Error) -> bool {
    matches!(error.kind(), ErrorKind::NotFound | ErrorKind::StaleNetworkFileHandle)
}

/// The bytes of a file; `None` where there is none.
pub(super) fn read(path: &Path) -> io::Result<Option<Vec<u8>>> {
    match fs::read(path) {
        Ok(bytes) => Ok(Some(bytes)),
        Err(error) if is_gone(&error) => Ok(None),
        Err(error) => Err(error),
    }
}

/// Removes a file; one that is not there is removed already.
pub(super) fn remove(path: &Path) -> io::Result<()> {
    match fs::remove_file(path) {
        Err(error) if !is_gone(&error) => Err(error),
        _ => Ok(()),
    }
}

/// Names of the whole files in a folder, sorted; none where there is no folder.
pub(super) fn names(folder: &Path) -> io::Result<Vec<String>> {
    let entries = match fs::read_dir(folder) {
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(Vec::new()),
        entries => entries?,
    };
    let mut names = Vec::new();
    for entry in entries {
        // A name that is no text was not given by this program.
        if let Ok(name) = entry?.file_name().into_string()
            && !name.starts_with('.')
        {
            names.push(name);
        }
    }
    names.sort();
    Ok(names)
}

/// Removes what killed processes have left unfinished long ago.
pub(super) fn sweep(folder: &Path) -> io::Result<()> {
    for entry in fs::read_dir(folder)? {
        let entry = entry?;
        let unfinished = entry.file_name().to_string_lossy().starts_with(UNFINISHED);
        let old = || entry.metadata().and_then(|found| found.modified()).ok().and_then(|at| at.elapsed().ok());
        if unfinished && old().is_some_and(|age| age > ABANDONED) {
            remove(&entry.path())?;
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_of_many_writers_wins_and_the_file_is_whole() {
        let folder = tempfile::tempdir().expect("folder");
        let path = folder.path().join("answer");
        let content = |writer: u8| vec![writer; 100_000];
        let written = std::thread::scope(|scope| {
            let path = &path;
            let writers: Vec<_> =
                (0..8u8).map(|writer| scope.spawn(move || write_once(path, &content(writer)))).collect();
            writers.into_iter().map(|writer| writer.join().expect("ends").expect("writes")).collect::<Vec<bool>>()
        });
        assert_eq!(written.iter().filter(|&&first| first).count(), 1);
        let bytes = read(&path).expect("reads").expect("is there");
        assert_eq!(bytes.len(), 100_000);
        assert!(bytes.iter().all(|&byte| byte == bytes[0]), "one writer's bytes alone");
        assert_eq!(names(folder.path()).expect("lists"), ["answer"]);
        assert_eq!(std::fs::read_dir(folder.path()).expect("lists").count(), 1, "nothing unfinished is left");
    }

    #[test]
    fn what_was_left_unfinished_just_now_may_be_somebodys() {
        let folder = tempfile::tempdir().expect("folder");
        let (fresh, old) = (folder.path().join(".tmp-fresh"), folder.path().join(".tmp-old"));
        for path in [&fresh, &old] {
            fs::write(path, "half").expect("writes");
        }
        let long_ago = std::time::SystemTime::now() - 2 * ABANDONED;
        File::options().write(true).open(&old).expect("opens").set_modified(long_ago).expect("dates");
        sweep(folder.path()).expect("sweeps");
        assert!(fresh.exists() && !old.exists());
    }
}
