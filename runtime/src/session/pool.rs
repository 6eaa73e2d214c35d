//! Worker threads of a session: they live as long as it does, and sleep between runs.
//!
//! A step's parts are cut into one contiguous range a thread, so which thread computes what never depends on time. Within a run workers
//! wait for the next step actively; the caller wakes them once a run.
#![allow(unsafe_code, reason = "hands a borrowed kernel to threads that finish before the borrow ends")]

use crate::kernels::{Kernel, Memory};
use std::cell::UnsafeCell;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::thread::{self, JoinHandle};

/// Turns of active waiting before a thread offers its core to others.
const SPINS: u32 = 2000;

/// One step: what to compute, on what.
#[derive(Clone, Copy)]
struct Job {
    kernel: *const dyn Kernel,
    memory: Memory,
}

struct Shared {
    /// Counts steps; a change tells workers to begin.
    step: AtomicUsize,
    /// Workers that have not finished the step.
    pending: AtomicUsize,
    /// Whether a run is under way.
    running: AtomicBool,
    stop: AtomicBool,
    /// A worker panicked.
    failed: AtomicBool,
    job: UnsafeCell<Option<Job>>,
    /// Threads, the caller's included.
    threads: usize,
}

// SAFETY: `job` is written only while no worker reads it: after `pending` reached 0 and before `step` changes, which publishes it. The
// kernel behind its pointer is `Sync`, and `Memory` is.
unsafe impl Sync for Shared {}
// SAFETY: as above.
unsafe impl Send for Shared {}

/// The workers.
pub(super) struct Pool {
    shared: Arc<Shared>,
    workers: Vec<JoinHandle<()>>,
}

/// Waits until `done`, actively at first.
fn wait_until(done: impl Fn() -> bool) {
    let mut turns = 0;
    while !done() {
        turns += 1;
        if turns < SPINS {
            std::hint::spin_loop();
        } else {
            thread::yield_now();
        }
    }
}

impl Pool {
    /// `threads - 1` workers beside the caller; fewer where the system gives no more.
    pub(super) fn new(threads: usize) -> Self {
        let shared = |threads| {
            Arc::new(Shared {
                step: AtomicUsize::new(0),
                pending: AtomicUsize::new(0),
                running: AtomicBool::new(false),
                stop: AtomicBool::new(false),
                failed: AtomicBool::new(false),
                job: UnsafeCell::new(None),
                threads,
            })
        };
        let shared = shared(threads);
        let spawn = |index| {
            let shared = Arc::clone(&shared);
            thread::Builder::new().name(format!("releqc-{index}")).spawn(move || work(&shared, index))
        };
        let workers: Vec<_> = (1..threads).map_while(|index| spawn(index).ok()).collect();
        Pool { shared, workers }
    }

    /// Wakes the workers for a run.
    pub(super) fn begin(&self) -> Awake<'_> {
        self.shared.running.store(true, Ordering::Release);
        self.workers.iter().for_each(|worker| worker.thread().unpark());
        Awake(self)
    }

    /// Computes all parts of a kernel on all threads.
    ///
    /// # Panics
    /// When a worker panicked: a planning bug.
    fn run(&self, kernel: &dyn Kernel, memory: &Memory) {
        let shared = &*self.shared;
        // SAFETY: the lifetime is erased only until this function returns, which is after the last worker finished.
        let kernel_ptr: *const dyn Kernel =
            unsafe { std::mem::transmute::<*const (dyn Kernel + '_), *const (dyn Kernel + 'static)>(kernel) };
        shared.pending.store(self.workers.len(), Ordering::Relaxed);
        // SAFETY: no worker reads the job now: each finished the step before, and waits for `step` to change.
        unsafe { *shared.job.get() = Some(Job { kernel: kernel_ptr, memory: *memory }) };
        shared.step.fetch_add(1, Ordering::Release);
        let own = catch_unwind(AssertUnwindSafe(|| {
            compute(kernel, memory, 0, shared.threads);
            // Parts of workers that could not be started.
            (self.workers.len() + 1..shared.threads).for_each(|index| compute(kernel, memory, index, shared.threads));
        }));
        wait_until(|| shared.pending.load(Ordering::Acquire) == 0);
        if let Err(panic) = own {
            std::panic::resume_unwind(panic);
        }
        assert!(!shared.failed.load(Ordering::Acquire), "a worker thread panicked");
    }
}

/// A run under way: the workers wait for its steps actively, and sleep once it is dropped.
pub(super) struct Awake<'a>(&'a Pool);

impl Awake<'_> {
    /// [`Pool::run`].
    pub(super) fn step(&self, kernel: &dyn Kernel, memory: &Memory) {
        self.0.run(kernel, memory);
    }
}

impl Drop for Awake<'_> {
    fn drop(&mut self) {
        self.0.shared.running.store(false, Ordering::Release);
    }
}

impl Drop for Pool {
    fn drop(&mut self) {
        self.shared.stop.store(true, Ordering::Release);
        for worker in self.workers.drain(..) {
            worker.thread().unpark();
            // A worker's panic was reported by `run`.
            let _ = worker.join();
        }
    }
}

/// The share of thread `index`.
fn compute(kernel: &dyn Kernel, memory: &Memory, index: usize, threads: usize) {
    let parts = kernel.parts();
    let share = parts * index / threads..parts * (index + 1) / threads;
    if !share.is_empty() {
        kernel.run(memory, share);
    }
}

/// The life of worker `index`.
fn work(shared: &Shared, index: usize) {
    let mut seen = 0;
    loop {
        wait_until(|| {
            let idle = shared.step.load(Ordering::Acquire) == seen && !shared.stop.load(Ordering::Acquire);
            if idle && !shared.running.load(Ordering::Acquire) {
                thread::park();
            }
            !idle
        });
        if shared.stop.load(Ordering::Acquire) {
            return;
        }
        seen = seen.wrapping_add(1);
        // SAFETY: `step` changed after the job was written, and it is not written again before this worker has finished.
        let job = unsafe { *shared.job.get() };
        if let Some(Job { kernel, memory }) = job {
            // SAFETY: the caller waits in `Pool::run`, where it borrows the kernel, until `pending` is 0.
            let kernel = unsafe { &*kernel };
            let done = catch_unwind(AssertUnwindSafe(|| compute(kernel, &memory, index, shared.threads)));
            if done.is_err() {
                shared.failed.store(true, Ordering::Release);
            }
        }
        shared.pending.fetch_sub(1, Ordering::AcqRel);
    }
}
