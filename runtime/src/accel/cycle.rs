//! The cycle simulator: three queues, one DRAM bus, event by event.
//!
//! A queue executes in order. The head that can start first runs next: it starts when its queue is free, its tokens have been given
//! and what `sync` names has ended; what moves bytes of DRAM then takes the bus for whole bursts, in order of these
//! times. A transfer leaves its queue when it leaves the bus, and ends a latency later. Where banks are asked for by more than one,
//! what was ready first has them ([`super::banks`]).

use super::access::{Access, Memory, accesses};
use super::array::Blocks;
use super::banks::Words;
use super::config::AccelConfig;
use super::host::host_places;
use super::step::{ConvStep, LanesOver, Operation, Queue, Step, Weights};
use crate::program::Program;
use std::collections::VecDeque;
use std::ops::Range;

/// Cycles of decoding, fetching and writing that every operation of the execute queue has besides its work.
pub const OVERHEAD: u64 = 8;

/// When a step ran.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Span {
    /// First cycle of work.
    pub start: u64,
    /// When its queue is free again.
    pub free: u64,
    /// When what it wrote is there, and its tokens are given.
    pub end: u64,
    /// Cycles of work between start and free: array, vector unit or bus.
    pub busy: u64,
    /// Cycles between start and free in which it waited for banks of a buffer.
    pub conflicts: u64,
    /// Cycles in which the planes of the array, or the lanes of the vector unit, work.
    pub compute: u64,
    /// Cycles on the bus.
    pub bus: u64,
    /// Cycles before the start in which it waited for tokens of the queue that feeds it, for the bus, or for data.
    pub starved: u64,
    /// Cycles before the start in which it waited for the queue that it feeds, or for `sync`.
    pub blocked: u64,
}

/// What the queues of a machine did over a program, or over an operator of it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct QueueCounters {
    /// Cycles of work.
    pub busy: u64,
    /// Cycles in which it waited for what feeds it.
    pub starved: u64,
    /// Cycles in which it waited for what it feeds, or for `sync`.
    pub blocked: u64,
    /// Cycles in which its work waited for banks of a buffer.
    pub conflicts: u64,
    /// Cycles without an instruction.
    pub idle: u64,
}

impl ConvStep {
    /// Blocks of rows of this step: its channels, cut anew in each group.
    pub fn row_blocks(&self, rows: u32) -> u64 {
        let size = (self.layer_outputs / self.groups).max(1);
        let (first, last) = (self.outputs.start / size, (self.outputs.end - 1) / size);
        let in_group = |g: u32| {
            let end = self.outputs.end.min((g + 1).saturating_mul(size));
            u64::from(end - self.outputs.start.max(g * size)).div_ceil(rows.into())
        };
        if first == last {
            return in_group(first);
        }
        in_group(first) + in_group(last) + u64::from(last - first - 1) * u64::from(size.div_ceil(rows))
    }

    /// Steps of a block.
    pub fn steps(&self, lanes: u32) -> u64 {
        let taps = u64::from(self.window.kernel[0]) * u64::from(self.window.kernel[1]);
        let (channels, lanes) = (u64::from(self.group_inputs()), u64::from(lanes));
        match self.lanes_over {
            LanesOver::Channels => channels.div_ceil(lanes) * taps,
            LanesOver::Taps => taps.div_ceil(lanes) * channels,
            LanesOver::Depth => (taps * channels).div_ceil(lanes),
        }
    }

    /// Positions of the result.
    pub fn positions(&self) -> u64 {
        u64::from(self.extent[0]) * u64::from(self.extent[1])
    }

    /// Blocks of rows x columns, over all channels and positions.
    pub fn blocks(&self, config: &AccelConfig) -> u64 {
        self.row_blocks(config.rows) * self.positions().div_ceil(config.columns.into())
    }

    /// Cycles of the planes, and of the whole step: docs/accelerator.md.
    pub fn array_cycles(&self, config: &AccelConfig) -> [u64; 2] {
        let blocks = Blocks {
            count: self.blocks(config),
            positions: self.positions(),
            planes: self.steps(config.lanes) * config.serial.planes(self.bits),
        };
        let time = blocks.time(config);
        [time.compute, OVERHEAD + time.drained]
    }
}

/// Elements that the vector unit takes.
pub(super) fn vector_elements(operation: &Operation, network: &Program) -> u64 {
    use crate::program::Op;
    let elements = match operation {
        Operation::Quantize { y, .. } | Operation::Reshape { y, .. } => y.len(),
        Operation::PoolMax { y, window, .. } | Operation::PoolAvg { y, window, .. } => {
            window.kernel[0] as usize * window.kernel[1] as usize * y.view.len()
        }
        Operation::Add { y, .. } => 2 * y.view.len(),
        Operation::Affine { x, .. } | Operation::Channels { x, .. } | Operation::Dequantize { x, .. } => x.len(),
        Operation::Vector { operator, .. } => {
            let op = &network.ops[usize::from(*operator)];
            let result = op.writes().map_or(0, |id| network.tensor(id).len());
            if matches!(op, Op::Arithmetic { .. }) { 2 * result } else { result }
        }
        Operation::Conv(conv) if matches!(conv.weights, Weights::Section { .. }) => {
            let positions = conv.extent[0] as usize * conv.extent[1] as usize;
            positions * conv.depth() * conv.layer_outputs as usize
        }
        _ => 0,
    };
    elements as u64
}

/// Bytes of DRAM that a step of some accesses moves, and the cycles of the bus for them.
pub(super) fn dram(step: &Step, accesses: &[Access], network: &Program, config: &AccelConfig) -> [u64; 2] {
    let buffer = config.activation_sram_bytes as usize;
    let moved = |run: u64, runs: u64| [run * runs, config.dram_cycles(run, runs)];
    let add = |[a, b]: [u64; 2], [c, d]: [u64; 2]| [a + c, b + d];
    let of = |access: &Access| match access.memory {
        Memory::Activations if access.first >= buffer => {
            let (run, runs) = if access.run == access.pitch { (access.len(), 1) } else { (access.run, access.runs) };
            moved(run as u64, runs as u64)
        }
        // Host operators and outputs move nothing: the host has its memory.
        Memory::Host if !matches!(step.operation, Operation::Host(_) | Operation::Return { .. }) => {
            moved(4 * access.len() as u64, 1)
        }
        _ => [0, 0],
    };
    let operands = accesses.iter().map(of).fold([0, 0], add);
    let constants = match &step.operation {
        Operation::LoadWeights { source, slots, .. } => {
            let half = moved(4 * slots.len() as u64, 1);
            add(moved(source.len() as u64, 1), add(half, half))
        }
        Operation::Affine { constants, .. } => moved(constants.len() as u64, 1),
        Operation::Vector { operator, .. } => moved(constant_bytes(network, *operator), 1),
        Operation::Conv(ConvStep { weights: Weights::Section { weights, constants }, .. }) => {
            add(moved(weights.len() as u64, 1), moved(constants.len() as u64, 1))
        }
        _ => [0, 0],
    };
    add(operands, constants)
}

/// Bytes of the constants section that an operator of the vector unit reads.
fn constant_bytes(network: &Program, operator: u16) -> u64 {
    use crate::program::Op;
    match &network.ops[usize::from(operator)] {
        Op::Table { x, per_channel: true, .. } => 256 * u64::from(network.tensor(*x).channels),
        Op::Table { .. } => 256,
        Op::Constant { y, .. } => network.tensor(*y).len() as u64,
        _ => 0,
    }
}

/// Runs the queues; yields when each step ran. The steps have been verified: no queue waits for ever.
pub fn simulate(steps: &[Step], network: &Program, config: &AccelConfig) -> Vec<Span> {
    let host_places = host_places(network).0;
    let mut queues: [VecDeque<usize>; 3] = Default::default();
    for (index, step) in steps.iter().enumerate() {
        queues[step.queue as usize].push_back(index);
    }
    let mut clock =
        Clock { spans: vec![Span::default(); steps.len()], ran: vec![false; steps.len()], ..Clock::default() };
    // The head of a queue, when it can start.
    while let Some((ready, queue)) = Queue::ALL
        .into_iter()
        .filter_map(|queue| {
            let head = *queues[queue as usize].front()?;
            clock.ready(&steps[head]).map(|ready| (ready, queue))
        })
        .min_by_key(|(ready, queue)| (ready.time, *queue))
    {
        let Some(index) = queues[queue as usize].pop_front() else { break };
        let step = &steps[index];
        let accesses = accesses(&step.operation, network, &host_places);
        let words = Words::of(&step.operation, &accesses, config);
        let [_, bus] = dram(step, &accesses, network, config);
        let latency = u64::from(config.dram_latency_cycles);
        let granted = if bus > 0 { ready.time.max(clock.bus_free) } else { ready.time };
        // Queues that move wait for banks on the bus, the execute queue does not.
        let moved = match queue {
            Queue::Execute => granted + bus,
            Queue::Load | Queue::Store => words.end(granted, bus, &clock.working(&[Queue::Execute]), config),
        };
        if bus > 0 {
            clock.bus_free = moved;
        }
        let arrived = if bus > 0 { moved + latency } else { 0 };
        let span = match (&step.operation, queue) {
            (Operation::Host(_) | Operation::Return { .. }, _) => {
                Span { start: ready.time, free: ready.time, end: ready.time, ..Span::default() }
            }
            (_, Queue::Load | Queue::Store) => Span {
                start: granted,
                free: moved,
                end: arrived,
                busy: bus,
                conflicts: moved - granted - bus,
                bus,
                starved: ready.starved + granted - ready.time,
                blocked: ready.blocked,
                ..Span::default()
            },
            (operation, Queue::Execute) => {
                let [compute, work] = match operation {
                    Operation::Conv(conv) if matches!(conv.weights, Weights::Buffer { .. }) => {
                        conv.array_cycles(config)
                    }
                    operation => {
                        let cycles = vector_elements(operation, network).div_ceil(config.vector_lanes.into());
                        [cycles, cycles + OVERHEAD]
                    }
                };
                let others = clock.working(&[Queue::Load, Queue::Store]);
                let worked = words.end(ready.time, work, &others, config);
                let conflicts = worked - ready.time - work;
                // Operands that stream from and to DRAM hold the unit up.
                let end = worked.max(arrived);
                let waited = end - worked;
                let starved = ready.starved + waited;
                Span {
                    start: ready.time + waited,
                    free: end,
                    end,
                    busy: work,
                    conflicts,
                    compute,
                    bus,
                    starved,
                    blocked: ready.blocked,
                }
            }
        };
        clock.finish(index, step, span, words);
    }
    clock.spans
}

/// When a step can start, and what it waited for.
#[derive(Clone, Copy)]
struct Ready {
    time: u64,
    starved: u64,
    blocked: u64,
}

#[derive(Default)]
struct Clock {
    spans: Vec<Span>,
    ran: Vec<bool>,
    free: [u64; 3],
    /// The last work of each queue, and the words that it asks for in a cycle.
    working: [Option<(Range<u64>, Words)>; 3],
    bus_free: u64,
    tokens: [[VecDeque<u64>; 3]; 3],
    /// All steps before `swept` have ended by `swept_end`.
    swept: usize,
    /// The latest end of the steps before each index below `swept`, in order.
    ends: Vec<u64>,
}

impl Clock {
    fn ready(&mut self, step: &Step) -> Option<Ready> {
        let queue = step.queue as usize;
        let free = self.free[queue];
        while self.swept < self.ran.len() && self.ran[self.swept] {
            let last = self.ends.last().copied().unwrap_or(0);
            self.ends.push(last.max(self.spans[self.swept].end));
            self.swept += 1;
        }
        let synced = match step.after {
            0 => 0,
            after => *self.ends.get(after - 1)?,
        };
        let token = |waits: bool, from: Queue| {
            if waits { self.tokens[from as usize][queue].front().copied() } else { Some(0) }
        };
        let (load, store) = (token(step.tokens.wait_load, Queue::Load)?, token(step.tokens.wait_store, Queue::Store)?);
        let execute = token(step.tokens.wait_execute, Queue::Execute)?;
        let (feeds, fed) = match step.queue {
            Queue::Load => (0, execute),
            Queue::Execute => (load, store),
            Queue::Store => (execute, 0),
        };
        let time = free.max(synced).max(feeds).max(fed);
        let waited = time - free;
        let starved = if feeds == time { waited } else { 0 };
        Some(Ready { time, starved, blocked: waited - starved })
    }

    /// The last work of some queues, in order of time. What they did before has ended when another queue's head is ready.
    fn working(&self, queues: &[Queue]) -> Vec<(Range<u64>, Words)> {
        let mut all: Vec<_> = queues.iter().filter_map(|&queue| self.working[queue as usize].clone()).collect();
        all.sort_by_key(|(during, _)| during.start);
        all
    }

    fn finish(&mut self, index: usize, step: &Step, span: Span, words: Words) {
        let (queue, tokens) = (step.queue as usize, &step.tokens);
        self.working[queue] = Some((span.start..span.free, words));
        for (waits, from) in
            [(tokens.wait_load, Queue::Load), (tokens.wait_execute, Queue::Execute), (tokens.wait_store, Queue::Store)]
        {
            if waits {
                self.tokens[from as usize][queue].pop_front();
            }
        }
        for (signals, to) in [
            (tokens.signal_load, Queue::Load),
            (tokens.signal_execute, Queue::Execute),
            (tokens.signal_store, Queue::Store),
        ] {
            if signals {
                self.tokens[queue][to as usize].push_back(span.end);
            }
        }
        self.free[queue] = span.free;
        self.spans[index] = span;
        self.ran[index] = true;
    }
}
