//! What must hold of a program before it runs.
//!
//! [`super::step::steps`] has checked that every address lies in its memory. Here: every token taken was given by an earlier
//! instruction, so that no queue can wait for ever, and none is left; every entry is written before it is read; an entry is
//! written only when tokens or `sync` say that earlier reads and writes of other queues have ended, and read only when its writers
//! have; every host value is written once, so every output is. Findings are collected, at most [`MOST_FINDINGS`].

use super::access::{Access, Memory, accesses};
use super::config::AccelConfig;
use super::error::AccelError;
use super::host::host_places;
use super::program::AccelProgram;
use super::step::{Memories, Operation, Queue, Step};
use crate::program::Program;
use std::collections::{BTreeMap, VecDeque};
use std::ops::Range;

/// Findings that are collected before the rest is skipped.
pub const MOST_FINDINGS: usize = 8;

/// Bound on the runs and words of bits that verifying looks at, so that a program with large loops is refused in time.
const MOST_LOOKED_AT: usize = 1 << 30;

/// How many steps of each queue are known to have ended: one more than the index of the last.
type Clock = [usize; 3];

fn join(clock: &mut Clock, other: &Clock) {
    clock.iter_mut().zip(other).for_each(|(mine, theirs)| *mine = (*mine).max(*theirs));
}

/// A bit an entry.
struct Bits(Vec<u64>);

impl Bits {
    fn new(len: usize) -> Self {
        Bits(vec![0; len.div_ceil(64)])
    }

    fn words(range: &Range<usize>) -> impl Iterator<Item = (usize, u64)> + use<> {
        let Range { start, end } = *range;
        (start / 64..end.div_ceil(64)).map(move |word| {
            let low = start.saturating_sub(64 * word);
            let high = (end - 64 * word).min(64);
            (word, (u64::MAX >> (64 - (high - low))) << low)
        })
    }

    fn all(&self, range: &Range<usize>) -> bool {
        Self::words(range).all(|(word, mask)| self.0[word] & mask == mask)
    }

    fn any(&self, range: &Range<usize>) -> bool {
        Self::words(range).any(|(word, mask)| self.0[word] & mask != 0)
    }

    fn set(&mut self, range: &Range<usize>) {
        Self::words(range).for_each(|(word, mask)| self.0[word] |= mask);
    }
}

/// The last step of a queue that touched each entry.
#[derive(Default)]
struct Touched(BTreeMap<usize, (usize, usize)>);

impl Touched {
    /// The latest step that touched any of a range, plus one.
    fn latest(&self, range: &Range<usize>) -> usize {
        let before = self.0.range(..range.start).next_back().filter(|(_, (end, _))| *end > range.start);
        before.into_iter().chain(self.0.range(range.clone())).map(|(_, (_, step))| step + 1).max().unwrap_or(0)
    }

    fn insert(&mut self, range: Range<usize>, step: usize) {
        if let Some((&start, &(end, other))) = self.0.range(..range.start).next_back() {
            if end > range.start {
                self.0.insert(start, (range.start, other));
            }
            if end > range.end {
                self.0.insert(range.end, (end, other));
            }
        }
        let covered: Vec<usize> = self.0.range(range.clone()).map(|(&start, _)| start).collect();
        for start in covered {
            if let Some((end, other)) = self.0.remove(&start)
                && end > range.end
            {
                self.0.insert(range.end, (end, other));
            }
        }
        self.0.insert(range.start, (range.end, step));
    }
}

/// Checks the steps of a program.
///
/// # Errors
/// All findings, up to [`MOST_FINDINGS`].
pub fn verify(
    steps: &[Step],
    program: &AccelProgram,
    network: &Program,
    config: &AccelConfig,
) -> Result<(), AccelError> {
    let findings = findings(steps, program, network, config);
    if findings.is_empty() { Ok(()) } else { Err(AccelError::Refused(findings.join("; "))) }
}

fn findings(steps: &[Step], program: &AccelProgram, network: &Program, config: &AccelConfig) -> Vec<String> {
    let host_places = host_places(network).0;
    let Memories { buffer, arena, weights, slots } = Memories::new(config, program.arena_bytes);
    let mut written = [buffer + arena, weights, slots, program.host_values as usize].map(Bits::new);
    written[Memory::Host as usize].set(&(0..program.input_values as usize));
    let mut order = Order::default();
    let mut findings = Vec::new();
    let mut looked_at = 0usize;
    for (index, step) in steps.iter().enumerate() {
        if findings.len() >= MOST_FINDINGS {
            break;
        }
        let mut find = |what: String| findings.push(format!("instruction {}: {what}", step.at));
        if let Err(what) = order.start(index, step) {
            find(what);
            // The order is lost.
            break;
        }
        for access in accesses(&step.operation, network, &host_places) {
            let memory = access.memory as usize;
            looked_at = looked_at.saturating_add(access.runs).saturating_add(access.len() / 64);
            if looked_at > MOST_LOOKED_AT {
                find("it moves more than can be verified in time".into());
                return findings;
            }
            if !order.is_ordered(step.queue, &access) {
                let what =
                    if access.is_write { "writes what another queue may still use" } else { "may read too early" };
                find(format!("it {what} in {:?} {:?}", access.memory, access.hull()));
            }
            order.touch(index, step.queue, &access);
            let bits = &mut written[memory];
            for run in access.runs() {
                if !access.is_write {
                    if !bits.all(&run) {
                        find(format!("it reads {:?} {run:?}, not all of which has been written", access.memory));
                        break;
                    }
                } else if access.memory == Memory::Host && bits.any(&run) {
                    find(format!("it writes host values {run:?} again"));
                    break;
                } else {
                    bits.set(&run);
                }
            }
        }
        if matches!(&step.operation, Operation::Return { values } if values.is_empty()) {
            find("it returns nothing".into());
        }
    }
    if findings.is_empty() {
        findings.extend(order.left());
    }
    findings
}

/// What is known to have ended.
#[derive(Default)]
struct Order {
    /// When the last step of each queue has ended.
    ended: [Clock; 3],
    /// Tokens between queues: from, to.
    tokens: [[VecDeque<Clock>; 3]; 3],
    /// When all steps before the one of an index have ended.
    before: Vec<Clock>,
    touched: [[[Touched; 2]; 3]; Memory::COUNT],
    clock: Clock,
}

impl Order {
    /// The clock at which a step starts, and its tokens.
    fn start(&mut self, index: usize, step: &Step) -> Result<(), String> {
        let queue = step.queue as usize;
        let last = self.before.last().copied().unwrap_or_default();
        if self.before.is_empty() {
            self.before.push(last);
        }
        let mut clock = self.ended[queue];
        let mut next = last;
        next[queue] = index + 1;
        self.before.push(next);
        join(&mut clock, &self.before[step.after]);
        let tokens = &step.tokens;
        let waits =
            [(tokens.wait_load, Queue::Load), (tokens.wait_execute, Queue::Execute), (tokens.wait_store, Queue::Store)];
        for (_, from) in waits.into_iter().filter(|(waits, _)| *waits) {
            let token = self.tokens[from as usize][queue].pop_front();
            let token = token
                .ok_or_else(|| format!("it waits for a token of the {from:?} queue that nothing before it gives"))?;
            join(&mut clock, &token);
        }
        self.clock = clock;
        clock[queue] = index + 1;
        self.ended[queue] = clock;
        let signals = [
            (tokens.signal_load, Queue::Load),
            (tokens.signal_execute, Queue::Execute),
            (tokens.signal_store, Queue::Store),
        ];
        for (_, to) in signals.into_iter().filter(|(signals, _)| *signals) {
            self.tokens[queue][to as usize].push_back(clock);
        }
        Ok(())
    }

    /// Whether the steps of other queues that an access depends on have ended.
    fn is_ordered(&self, queue: Queue, access: &Access) -> bool {
        let hull = access.hull();
        let others = Queue::ALL.into_iter().filter(|other| *other != queue);
        others.into_iter().all(|other| {
            let [reads, writes] = &self.touched[access.memory as usize][other as usize];
            let latest = writes.latest(&hull).max(if access.is_write { reads.latest(&hull) } else { 0 });
            latest <= self.clock[other as usize]
        })
    }

    fn touch(&mut self, index: usize, queue: Queue, access: &Access) {
        // Only one queue touches host values.
        if access.memory != Memory::Host {
            self.touched[access.memory as usize][queue as usize][usize::from(access.is_write)]
                .insert(access.hull(), index);
        }
    }

    /// Tokens that nobody took.
    fn left(&self) -> Vec<String> {
        let pairs = Queue::ALL.into_iter().flat_map(|from| Queue::ALL.map(|to| (from, to)));
        pairs
            .filter(|&(from, to)| !self.tokens[from as usize][to as usize].is_empty())
            .map(|(from, to)| {
                let count = self.tokens[from as usize][to as usize].len();
                format!("{count} tokens from the {from:?} queue to the {to:?} queue are left")
            })
            .collect()
    }
}
