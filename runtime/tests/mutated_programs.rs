//! Damaged accelerator programs are refused or run: no panic, no hang, no allocation beyond the stated bound.
//!
//! `RELEQC_MUTANTS` sets how many are made; 100,000 take some minutes in a release build.

#![cfg(feature = "encode")]
#![allow(unsafe_code, clippy::unwrap_used, reason = "a test with a counting allocator")]

#[allow(dead_code, reason = "shared by tests")]
mod random_network;

use random_network::{Builder, Stream, random, sample, small};
use releqc_runtime::BitWidth;
use releqc_runtime::accel::cost::{CostModel, program_cost};
use releqc_runtime::accel::step::Sections;
use releqc_runtime::accel::table::Instruction;
use releqc_runtime::accel::{self, AccelConfig, AccelProgram, Simulator, text};
use releqc_runtime::format::Artifact;
use std::alloc::{GlobalAlloc, Layout, System};
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

struct Counting;

static LIVE: AtomicUsize = AtomicUsize::new(0);
static MOST: AtomicUsize = AtomicUsize::new(0);

// SAFETY: hands every call on to the system's allocator. `realloc` is that of the trait: the old and the new block count together.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        MOST.fetch_max(LIVE.fetch_add(layout.size(), Ordering::Relaxed) + layout.size(), Ordering::Relaxed);
        // SAFETY: the caller's contract.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
        LIVE.fetch_sub(layout.size(), Ordering::Relaxed);
        // SAFETY: the caller's contract.
        unsafe { System.dealloc(pointer, layout) }
    }
}

#[global_allocator]
static COUNTING: Counting = Counting;

/// Held by each test, so that nothing else allocates meanwhile.
static ALONE: Mutex<()> = Mutex::new(());

/// Longest time that a damaged program may take: these networks have few products.
const MOST_TIME: Duration = Duration::from_secs(10);

fn count() -> usize {
    std::env::var("RELEQC_MUTANTS").map_or(3000, |count| count.parse().unwrap())
}

/// A network, its machine and its program.
struct Original {
    artifact: Artifact,
    config: AccelConfig,
    program: AccelProgram,
    input: Vec<f32>,
}

fn original(builder: Builder, config: AccelConfig, seed: u64) -> Original {
    let program = accel::lower::program(&builder.program, &config).unwrap();
    let artifact = builder.artifact();
    let input = sample(&artifact, seed);
    Original { artifact, config, program, input }
}

fn originals() -> Vec<Original> {
    let default = AccelConfig::default();
    let tiny = AccelConfig {
        tiles: 3,
        rows: 5,
        columns: 3,
        lanes: 4,
        weight_sram_bytes: 512,
        activation_sram_bytes: 200,
        constant_slots: 32,
        dram_bytes_per_cycle: 4,
        dram_burst_bytes: 32,
        vector_lanes: 4,
        ..default
    };
    let machine = |seed: u64| if seed.is_multiple_of(2) { default } else { tiny };
    let mut all: Vec<Original> = (0..60).map(|seed| original(random(seed), machine(seed), seed)).collect();
    all.extend([original(small(), default, 1), original(small(), tiny, 2)]);
    all.push(original(Builder::residual(BitWidth::new(3).unwrap()), default, 3));
    all
}

/// Bytes that decoding, checking, simulating and costing a program may allocate at once: its memories twice, and 1 KiB for each
/// instruction that it has when unrolled, of which there are at most 2^17 beyond its own.
fn most_bytes(original: &Original, len: usize) -> usize {
    let Original { artifact, config, .. } = original;
    let network = artifact.program();
    let host: usize = network.input_len() + network.floats.iter().map(|slot| slot.len as usize).sum::<usize>();
    let buffers = config.weight_sram_bytes as usize + config.activation_sram_bytes as usize;
    let memories = buffers + network.arena_bytes as usize + 8 * config.constant_slots as usize + 4 * host;
    2 * memories + (1 << 10) * ((1 << 17) + len / 16) + (4 << 20)
}

/// What became of the programs.
#[derive(Debug, Default)]
struct Tally {
    unreadable: usize,
    refused: usize,
    executed: usize,
    slowest: Duration,
    most: usize,
}

impl Tally {
    /// Reads a program, and checks, simulates and costs it where it can be read.
    fn attempt(&mut self, original: &Original, len: usize, read: impl FnOnce() -> Option<AccelProgram>, what: &str) {
        let before = LIVE.load(Ordering::Relaxed);
        MOST.store(before, Ordering::Relaxed);
        let start = Instant::now();
        match read().map(|program| execute(original, &program)) {
            None => self.unreadable += 1,
            Some(false) => self.refused += 1,
            Some(true) => self.executed += 1,
        }
        let (taken, most) = (start.elapsed(), MOST.load(Ordering::Relaxed) - before);
        assert!(taken < MOST_TIME, "{what}: {taken:?}");
        assert!(most <= most_bytes(original, len), "{what}: {most} bytes allocated");
        self.slowest = self.slowest.max(taken);
        self.most = self.most.max(most);
    }
}

/// Whether a program is accepted; then it is executed and costed. What can be read has one text and one encoding.
fn execute(original: &Original, program: &AccelProgram) -> bool {
    let Original { artifact, config, input, .. } = original;
    let encoded = program.encode().unwrap();
    assert_eq!(AccelProgram::decode(&encoded).as_ref(), Ok(program));
    assert_eq!(text::assemble(&text::disassemble(program, Some(artifact.program()))).as_ref(), Ok(program));
    let model = CostModel { config: *config, ..CostModel::default() };
    let sections =
        Sections { weights: artifact.weights_section().len(), constants: artifact.constants_section().len() };
    let cost = program_cost(program, sections, artifact.program(), &model);
    if let Ok(cost) = &cost {
        assert!(cost.cycles >= cost.bound);
    }
    match Simulator::with_program(artifact, program, config) {
        Ok(mut simulator) => {
            assert!(cost.is_ok());
            simulator.run(input).unwrap();
            true
        }
        Err(error) => {
            assert!(!error.to_string().is_empty());
            false
        }
    }
}

/// Numbers that stand at the ends of ranges.
const EDGES: [u64; 12] = [0, 1, 2, 15, 16, 17, 0xff, 0xffff, 0x1ff_ffff, 0xffff_ffff, 1 << 31, u64::MAX];

/// Another value for a field of an instruction, if it then still is one.
fn edit_field(stream: &mut Stream, instruction: &Instruction) -> Instruction {
    let fields = instruction.definition().fields;
    if fields.is_empty() {
        return *instruction;
    }
    let chosen = stream.next() as usize % fields.len();
    let shift = 8 + fields[..chosen].iter().map(|field| field.bits).sum::<u32>();
    let mask = (1u128 << fields[chosen].bits) - 1;
    let word = instruction.encode().unwrap();
    let old = word >> shift & mask;
    let new = match stream.within(0, 4) {
        0 => u128::from(EDGES[stream.next() as usize % EDGES.len()]),
        1 => old + 1,
        2 => old.wrapping_sub(1),
        3 => old ^ 1 << stream.within(0, fields[chosen].bits - 1),
        _ => u128::from(stream.next() >> stream.within(0, 31)),
    } & mask;
    Instruction::decode(word ^ (old ^ new) << shift).unwrap_or(*instruction)
}

/// Instructions edited, moved, repeated, left out, or taken from another program.
fn edit_instructions(stream: &mut Stream, program: &AccelProgram, other: &AccelProgram) -> AccelProgram {
    let mut edited = program.clone();
    for _ in 0..=stream.within(0, 3) {
        let instructions = &mut edited.instructions;
        let len = instructions.len();
        if len == 0 {
            break;
        }
        let at = stream.next() as usize % len;
        match stream.within(0, 9) {
            0..=4 => instructions[at] = edit_field(stream, &instructions[at]),
            5 => drop(instructions.remove(at)),
            6 => instructions.insert(at, instructions[stream.next() as usize % len]),
            7 => instructions.swap(at, stream.next() as usize % len),
            8 => instructions.insert(at, other.instructions[stream.next() as usize % other.instructions.len()]),
            _ => {
                let times = EDGES[stream.next() as usize % EDGES.len()] as u16;
                let length = stream.within(1, 9) as u8;
                let step = EDGES[stream.next() as usize % 6] as u32;
                let (outputs, channels, load, store) = (step, step, step, step);
                instructions.insert(at, Instruction::Loop { times, length, outputs, channels, load, store });
            }
        }
    }
    match stream.within(0, 19) {
        0 => edited.arena_bytes = EDGES[stream.next() as usize % EDGES.len()] as u32,
        1 => edited.host_values = EDGES[stream.next() as usize % EDGES.len()] as u32,
        2 => edited.input_values = EDGES[stream.next() as usize % EDGES.len()] as u32,
        _ => {}
    }
    edited
}

#[test]
fn damaged_programs_are_refused_or_run_within_bounds() {
    let _alone = ALONE.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
    let originals = originals();
    let mut stream = Stream::new(100);
    let mut tally = Tally::default();
    let start = Instant::now();
    for mutant in 0..count() {
        let original = &originals[stream.next() as usize % originals.len()];
        let other = &originals[stream.next() as usize % originals.len()].program;
        let what = format!("mutant {mutant}");
        if mutant % 4 == 0 {
            // Bytes, so that headers and reserved bits are met too.
            let mut bytes = original.program.encode().unwrap();
            for _ in 0..=stream.within(0, 4) {
                let at = stream.next() as usize % bytes.len();
                match stream.within(0, 7) {
                    0 => bytes.truncate(at.max(1)),
                    1 => bytes.extend_from_within(..at),
                    2 => bytes[at] = EDGES[stream.next() as usize % EDGES.len()] as u8,
                    _ => bytes[at] ^= 1 << stream.within(0, 7),
                }
            }
            tally.attempt(original, bytes.len(), || AccelProgram::decode(&bytes).ok(), &what);
        } else {
            let edited = edit_instructions(&mut stream, &original.program, other);
            let len = 16 * edited.instructions.len();
            tally.attempt(original, len, || Some(edited), &what);
        }
    }
    println!("{} programs in {:.1} s: {tally:?}", count(), start.elapsed().as_secs_f64());
    assert!(tally.unreadable > 0 && tally.refused > 0 && tally.executed > 0, "{tally:?}");
}

/// Pieces that are put into text.
const PIECES: [&str; 16] = [
    "0",
    "-1",
    "4294967296",
    "99999999999999999999",
    "1e39",
    "nan",
    "=",
    ";",
    "\n",
    " ",
    "\u{e9}",
    "EXECUTE",
    "LOOP ",
    ".arena 9",
    "\n.isa 3.0\n",
    "\t",
];

/// A text with lines moved, repeated and left out, and with other numbers in them.
fn edit_text(stream: &mut Stream, text: &str) -> String {
    let mut lines: Vec<String> = text.lines().map(str::to_owned).collect();
    for _ in 0..=stream.within(0, 2) {
        let (at, other) = (stream.next() as usize % lines.len(), stream.next() as usize % lines.len());
        match stream.within(0, 6) {
            0 => lines.swap(at, other),
            1 => drop(lines.remove(at)),
            2 => lines.insert(at, lines[other].clone()),
            3 => {
                let line = &mut lines[at];
                let place = stream.next() as usize % (line.len() + 1);
                let place = (0..=place).rev().find(|&place| line.is_char_boundary(place)).unwrap_or(0);
                line.insert_str(place, PIECES[stream.next() as usize % PIECES.len()]);
            }
            // A number instead of a digit.
            _ => {
                let digits: Vec<usize> =
                    lines[at].char_indices().filter(|(_, c)| c.is_ascii_digit()).map(|(i, _)| i).collect();
                if let Some(&digit) = digits.get(stream.next() as usize % digits.len().max(1)) {
                    let number = EDGES[stream.next() as usize % EDGES.len()].to_string();
                    lines[at].replace_range(digit..=digit, &number);
                }
            }
        }
        if lines.is_empty() {
            lines.push(String::new());
        }
    }
    lines.join("\n")
}

#[test]
fn damaged_texts_are_refused_or_run_within_bounds() {
    let _alone = ALONE.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
    let originals = originals();
    let texts: Vec<String> = originals.iter().map(|original| text::disassemble(&original.program, None)).collect();
    let mut stream = Stream::new(200);
    let mut tally = Tally::default();
    let start = Instant::now();
    for mutant in 0..count() {
        let chosen = stream.next() as usize % originals.len();
        let text = edit_text(&mut stream, &texts[chosen]);
        let read = || text::assemble(&text).ok();
        tally.attempt(&originals[chosen], text.len(), read, &format!("text {mutant}"));
    }
    println!("{} texts in {:.1} s: {tally:?}", count(), start.elapsed().as_secs_f64());
    assert!(tally.unreadable > 0 && tally.refused > 0 && tally.executed > 0, "{tally:?}");
}

/// Programs by hand have no network that bounds their memories; they have fixed bounds.
#[test]
fn damaged_programs_by_hand_are_refused_or_run_within_bounds() {
    let _alone = ALONE.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
    let texts = [include_str!("../../examples/fully_connected.s"), include_str!("../../examples/conv_pool.s")];
    let config = AccelConfig::default();
    let mut stream = Stream::new(300);
    let (mut unreadable, mut refused, mut executed) = (0, 0, 0);
    let start = Instant::now();
    for mutant in 0..count() {
        let text = edit_text(&mut stream, texts[mutant % 2]);
        let before = LIVE.load(Ordering::Relaxed);
        MOST.store(before, Ordering::Relaxed);
        let began = Instant::now();
        match text::assemble_by_hand(&text, &config) {
            Err(_) => unreadable += 1,
            Ok(assembly) => match Simulator::bare(&assembly, &config) {
                Err(_) => refused += 1,
                Ok(mut simulator) => {
                    simulator.run(&vec![1.0; assembly.program.input_values as usize]).unwrap();
                    executed += 1;
                }
            },
        }
        assert!(began.elapsed() < MOST_TIME, "by hand {mutant}: {:?}", began.elapsed());
        // Arena, host memory, two sections, and the copies of the sections: 64 MiB each.
        let most = MOST.load(Ordering::Relaxed) - before;
        assert!(most < 8 << 26, "by hand {mutant}: {most} bytes allocated");
    }
    let seconds = start.elapsed().as_secs_f64();
    println!("{} by hand in {seconds:.1} s: {unreadable} unreadable, {refused} refused, {executed} executed", count());
    assert!(unreadable > 0 && refused > 0 && executed > 0);
}
