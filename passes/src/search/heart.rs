//! Signs of life between processes that share a folder: files whose modification time moves as long as their owner lives.
//!
//! No clocks are compared. Whoever watches a file counts on its own clock for how long the time of the file has not moved; so it does not
//! matter whose clock is wrong, or what time a file server gives.

use super::files::is_gone;
use std::collections::{BTreeMap, BTreeSet};
use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant, SystemTime};

/// Beats in the time after which a silent owner counts as dead.
const BEATS: u32 = 4;

/// Moves the times of files until it is dropped.
#[derive(Debug)]
pub(super) struct Heart {
    shared: Arc<Shared>,
    thread: Option<JoinHandle<()>>,
}

#[derive(Debug, Default)]
struct Shared {
    state: Mutex<State>,
    ended: Condvar,
}

#[derive(Debug, Default)]
struct State {
    paths: BTreeSet<PathBuf>,
    ended: bool,
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Heart {
    /// Beats several times in a `lease`.
    ///
    /// # Errors
    /// Where no thread can be started.
    pub(super) fn new(lease: Duration) -> io::Result<Self> {
        let shared = Arc::new(Shared::default());
        let of_thread = Arc::clone(&shared);
        let beat = move || {
            let mut state = of_thread.lock();
            while !state.ended {
                let waited = of_thread.ended.wait_timeout(state, lease / BEATS);
                state = waited.unwrap_or_else(PoisonError::into_inner).0;
                // A file that somebody took away has no more signs of life to give.
                state.paths.iter().for_each(|path| drop(touch(path)));
            }
        };
        let thread = thread::Builder::new().name("heart".into()).spawn(beat)?;
        Ok(Heart { shared, thread: Some(thread) })
    }

    pub(super) fn beat_for(&self, path: &Path) {
        self.shared.lock().paths.insert(path.to_path_buf());
    }

    pub(super) fn forget(&self, path: &Path) {
        self.shared.lock().paths.remove(path);
    }
}

impl Drop for Heart {
    fn drop(&mut self) {
        self.shared.lock().ended = true;
        self.shared.ended.notify_all();
        if let Some(thread) = self.thread.take() {
            // It has nothing to say, not even that it panicked.
            let _ = thread.join();
        }
    }
}

fn touch(path: &Path) -> io::Result<()> {
    File::options().append(true).open(path)?.set_modified(SystemTime::now())
}

/// What was seen of others' signs of life.
#[derive(Debug, Default)]
pub(super) struct Watch {
    seen: BTreeMap<PathBuf, (SystemTime, Instant)>,
}

impl Watch {
    /// For how long the file has been seen without a sign of life; `None` where there is no file.
    ///
    /// # Errors
    /// Where the system cannot tell.
    pub(super) fn silence(&mut self, path: &Path) -> io::Result<Option<Duration>> {
        let modified = match fs::metadata(path).and_then(|found| found.modified()) {
            Err(error) if is_gone(&error) => {
                self.seen.remove(path);
                return Ok(None);
            }
            modified => modified?,
        };
        let now = Instant::now();
        let seen = self.seen.entry(path.to_path_buf()).or_insert((modified, now));
        if seen.0 != modified {
            *seen = (modified, now);
        }
        Ok(Some(now - seen.1))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_is_silent_once_its_owner_is_gone_whatever_the_clocks_say() {
        let folder = tempfile::tempdir().expect("folder");
        let path = folder.path().join("claim");
        let mut watch = Watch::default();
        assert_eq!(watch.silence(&path).expect("looks"), None);
        fs::write(&path, "").expect("writes");
        // The clock of whoever wrote it is a day behind.
        let behind = SystemTime::now() - Duration::from_secs(24 * 3600);
        File::options().append(true).open(&path).expect("opens").set_modified(behind).expect("dates");
        assert_eq!(watch.silence(&path).expect("looks"), Some(Duration::ZERO), "seen for the first time");
        let lease = Duration::from_millis(200);
        let heart = Heart::new(lease).expect("beats");
        heart.beat_for(&path);
        let end = Instant::now() + 4 * lease;
        while Instant::now() < end {
            assert!(watch.silence(&path).expect("looks").expect("is there") < lease, "it beats");
            thread::sleep(lease / 20);
        }
        drop(heart);
        thread::sleep(Duration::from_millis(10));
        let before = watch.silence(&path).expect("looks").expect("is there");
        thread::sleep(2 * lease);
        let after = watch.silence(&path).expect("looks").expect("is there");
        assert!(after > lease && after > before, "{before:?} {after:?}");
    }
}
