//! Worker threads of a session: they live as long as it does.
//!
//! A step's parts are cut into chunks that any thread may compute: the caller takes them from the front, workers from the back, so that on
//! a quiet machine each meets the same rows step after step, and a worker that the system has put aside holds up nothing but the chunk
//! it has begun. Which thread computes a part never changes a byte of it.
//!
//! ```text
//! ticket:  step 16 bits | chunks 16 bits | taken from the back 16 bits | taken from the front 16 bits
//! ```
//!
//! A waiting worker is active for some microseconds, then offers its core to others, then sleeps until the next step.
#![allow(unsafe_code, reason = "hands a borrowed kernel to threads that finish before the borrow ends")]

use crate::kernels::{Borrowed, Bound, Memory};
use std::cell::UnsafeCell;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::thread::{self, JoinHandle};

/// Turns of active waiting before a thread offers its core to others: tens of microseconds.
const SPINS: u32 = 2000;
/// Turns after which a waiting worker sleeps.
const TURNS: u32 = SPINS + 20;
/// Chunks a thread: more even out what the system takes from one of them, fewer begin less often.
const CHUNKS: usize = 8;

/// One step: what to compute, on what.
#[derive(Clone, Copy)]
struct Job {
    kernel: *const Bound,
    memory: *const Memory,
}

/// A step's number and what of it is left.
#[derive(Clone, Copy)]
struct Ticket(u64);

/// What taking a chunk from the front adds.
const FRONT: u64 = 1;
/// What taking a chunk from the back adds.
const BACK: u64 = 1 << 16;

impl Ticket {
    fn new(step: u16, chunks: usize) -> Self {
        Ticket(u64::from(step) << 48 | (chunks as u64) << 32)
    }

    fn field(self, index: u32) -> usize {
        (self.0 >> (16 * index) & 0xffff) as usize
    }

    fn chunks(self) -> usize {
        self.field(2)
    }

    /// The chunk that is next at an end, unless all are taken.
    fn next(self, end: u64) -> Option<usize> {
        let (front, back) = (self.field(0), self.field(1));
        let left = front + back < self.chunks();
        left.then(|| if end == FRONT { front } else { self.chunks() - 1 - back })
    }
}

struct Shared {
    /// A [`Ticket`].
    ticket: AtomicU64,
    /// Chunks of the step that are computed.
    done: AtomicUsize,
    stop: AtomicBool,
    /// A worker panicked.
    failed: AtomicBool,
    /// Workers that have begun.
    begun: AtomicUsize,
    /// Workers that sleep, or are about to.
    asleep: Vec<AtomicBool>,
    job: UnsafeCell<Option<Job>>,
}

// SAFETY: `job` is written only while no chunk is left or under way, so that no worker reads it, and the ticket published after it; a
// worker reads it only while it holds a chunk. What is behind its pointers is `Sync`.
unsafe impl Sync for Shared {}
// SAFETY: as above.
unsafe impl Send for Shared {}

impl Shared {
    /// Takes a chunk: its index, and of how many.
    fn take(&self, end: u64) -> Option<(usize, usize)> {
        Ticket(self.ticket.load(Ordering::SeqCst)).next(end)?;
        // What counts is the ticket that was drawn, even where another step began in between.
        let ticket = Ticket(self.ticket.fetch_add(end, Ordering::AcqRel));
        ticket.next(end).map(|chunk| (chunk, ticket.chunks()))
    }
}

/// The workers.
pub(super) struct Threads {
    shared: Arc<Shared>,
    workers: Vec<JoinHandle<()>>,
}

impl Threads {
    /// `threads - 1` workers beside the caller; fewer where the system gives no more.
    pub(super) fn new(threads: usize) -> Self {
        let shared = Arc::new(Shared {
            ticket: AtomicU64::new(0),
            done: AtomicUsize::new(0),
            stop: AtomicBool::new(false),
            failed: AtomicBool::new(false),
            begun: AtomicUsize::new(0),
            asleep: (1..threads).map(|_| AtomicBool::new(false)).collect(),
            job: UnsafeCell::new(None),
        });
        let spawn = |index: usize| {
            let shared = Arc::clone(&shared);
            thread::Builder::new().name(format!("releqc-{index}")).spawn(move || work(&shared, index - 1))
        };
        let workers: Vec<_> = (1..threads).map_while(|index| spawn(index).ok()).collect();
        // What the system allocates for a thread is allocated now, not in a run.
        while shared.begun.load(Ordering::Acquire) < workers.len() {
            thread::yield_now();
        }
        Threads { shared, workers }
    }

    /// Wakes the workers for a run.
    pub(super) fn begin(&self) -> Awake<'_> {
        self.wake();
        Awake(self)
    }

    fn wake(&self) {
        for (worker, asleep) in self.workers.iter().zip(&self.shared.asleep) {
            if asleep.load(Ordering::SeqCst) {
                worker.thread().unpark();
            }
        }
    }

    /// Computes all parts of a kernel on all threads.
    ///
    /// # Panics
    /// When a thread panicked: a planning bug.
    fn run(&self, kernel: &Bound, memory: &mut Borrowed) {
        let (shared, memory) = (&*self.shared, &**memory);
        kernel.assert_fits(memory);
        let chunks = kernel.parts().min(CHUNKS * (self.workers.len() + 1));
        shared.done.store(0, Ordering::Relaxed);
        // SAFETY: no chunk of the step before is left or under way. The pointers are used only until this function returns, which is
        // after the last chunk was computed.
        unsafe { *shared.job.get() = Some(Job { kernel, memory }) };
        let step = Ticket(shared.ticket.load(Ordering::Relaxed)).field(3) as u16;
        shared.ticket.store(Ticket::new(step.wrapping_add(1), chunks).0, Ordering::SeqCst);
        self.wake();
        let mut panic = None;
        while let Some((chunk, chunks)) = shared.take(FRONT) {
            // After a panic the chunks that are left only count as done.
            if panic.is_none() {
                // SAFETY: the memory fits, and is borrowed for this function; each chunk is computed once.
                panic = catch_unwind(AssertUnwindSafe(|| unsafe { compute(kernel, memory, chunk, chunks) })).err();
            }
            shared.done.fetch_add(1, Ordering::AcqRel);
        }
        let mut turns = 0;
        while shared.done.load(Ordering::Acquire) < chunks {
            turns += 1;
            if turns < SPINS { std::hint::spin_loop() } else { thread::yield_now() }
        }
        // The next step begins without it, whichever thread panicked.
        let failed = shared.failed.swap(false, Ordering::AcqRel);
        if let Some(panic) = panic {
            std::panic::resume_unwind(panic);
        }
        assert!(!failed, "a worker thread panicked");
    }
}

/// A run under way.
pub(super) struct Awake<'a>(&'a Threads);

impl Awake<'_> {
    /// [`Threads::run`].
    pub(super) fn step(&self, kernel: &Bound, memory: &mut Borrowed) {
        self.0.run(kernel, memory);
    }
}

impl Drop for Threads {
    fn drop(&mut self) {
        self.shared.stop.store(true, Ordering::SeqCst);
        for worker in self.workers.drain(..) {
            worker.thread().unpark();
            // A worker's panic was reported by `run`.
            let _ = worker.join();
        }
    }
}

/// Computes chunk `chunk` of `chunks`.
///
/// # Safety
/// The kernel fits the memory, on which nothing runs meanwhile but other chunks of it.
unsafe fn compute(kernel: &Bound, memory: &Memory, chunk: usize, chunks: usize) {
    let parts = kernel.parts();
    // SAFETY: by the contract; chunks share no part.
    unsafe { kernel.run_parts(memory, parts * chunk / chunks..parts * (chunk + 1) / chunks) };
}

/// The life of worker `index`.
fn work(shared: &Shared, index: usize) {
    let mut turns = 0;
    shared.begun.fetch_add(1, Ordering::Release);
    while !shared.stop.load(Ordering::SeqCst) {
        let Some((chunk, chunks)) = shared.take(BACK) else {
            turns += 1;
            match turns {
                ..SPINS => std::hint::spin_loop(),
                SPINS..TURNS => thread::yield_now(),
                _ => {
                    sleep(shared, index);
                    turns = 0;
                }
            }
            continue;
        };
        turns = 0;
        // SAFETY: this thread holds a chunk, so the job stays until `done` counts it.
        let job = unsafe { *shared.job.get() };
        if let Some(Job { kernel, memory }) = job {
            // SAFETY: the caller waits in `Threads::run`, where it borrows both, until all chunks are done.
            let (kernel, memory) = unsafe { (&*kernel, &*memory) };
            // SAFETY: `Threads::run` checked that it fits; this thread alone took the chunk.
            if catch_unwind(AssertUnwindSafe(|| unsafe { compute(kernel, memory, chunk, chunks) })).is_err() {
                shared.failed.store(true, Ordering::Release);
            }
        }
        shared.done.fetch_add(1, Ordering::AcqRel);
    }
}

/// Sleeps until it is woken, unless there is something to do: the caller publishes work before it looks for sleepers, a worker says that
/// it sleeps before it looks for work, so that one of the two sees the other.
fn sleep(shared: &Shared, index: usize) {
    shared.asleep[index].store(true, Ordering::SeqCst);
    let idle = Ticket(shared.ticket.load(Ordering::SeqCst)).next(BACK).is_none();
    if idle && !shared.stop.load(Ordering::SeqCst) {
        thread::park();
    }
    shared.asleep[index].store(false, Ordering::SeqCst);
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::kernels::{Input, Kernel};
    use std::ops::Range;
    use std::sync::Barrier;

    /// Two parts that meet, each on its thread, and then panic or do not.
    struct Meet {
        barrier: Barrier,
        panics: bool,
    }

    impl Kernel for Meet {
        fn parts(&self) -> usize {
            2
        }

        unsafe fn run(&self, _: &Memory, _: Range<usize>) {
            self.barrier.wait();
            assert!(!self.panics, "as asked");
        }
    }

    #[test]
    fn a_step_after_one_that_panicked_on_every_thread_runs() {
        let threads = Threads::new(2);
        let mut memory = Borrowed::new(&mut [], &mut [], Input::Floats(&[]));
        for panics in [true, false, true, false] {
            let kernel = Bound::new(Box::new(Meet { barrier: Barrier::new(2), panics }), 0);
            let done = catch_unwind(AssertUnwindSafe(|| threads.begin().step(&kernel, &mut memory)));
            assert_eq!(done.is_err(), panics);
        }
    }
}
