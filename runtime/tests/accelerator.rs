//! The accelerator: the simulator equals the reference executor byte for byte, and executes what its program says.
#![cfg(feature = "encode")]
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod random_network;

use proptest::prelude::*;
use random_network::{Builder, random, sample, small};
use releqc_runtime::BitWidth;
use releqc_runtime::accel::config::ENOUGH_BANKS;
use releqc_runtime::accel::cost::{self, CostModel, LayerShape};
use releqc_runtime::accel::cycle::simulate as simulate_cycles;
use releqc_runtime::accel::step::{Operation, Queue, Sections, Weights, steps};
use releqc_runtime::accel::table::{DEFINITIONS, Definition, Instruction};
use releqc_runtime::accel::{self, AccelConfig, AccelError, AccelProgram, Serial, Simulator, text};
use releqc_runtime::format::Artifact;
use releqc_runtime::program::{Conv, Destination, LayerKind, Op, Window};
use releqc_runtime::reference::Reference;
use std::collections::BTreeSet;
use std::time::Instant;

fn bits(outputs: Vec<Vec<f32>>) -> Vec<Vec<u32>> {
    outputs.into_iter().map(|output| output.into_iter().map(f32::to_bits).collect()).collect()
}

fn reference(artifact: &Artifact, input: &[f32]) -> Vec<Vec<u32>> {
    bits(Reference::new(artifact).run(input).unwrap())
}

fn simulate(artifact: &Artifact, input: &[f32]) -> Vec<Vec<u32>> {
    bits(Simulator::new(artifact).unwrap().run(input).unwrap())
}

fn sections(artifact: &Artifact) -> Sections {
    Sections { weights: artifact.weights_section().len(), constants: artifact.constants_section().len() }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 2000, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn simulator_equals_reference(seed in any::<u64>()) {
        let artifact = random(seed).artifact();
        let input = sample(&artifact, seed);
        prop_assert_eq!(simulate(&artifact, &input), reference(&artifact, &input));
    }

    /// On machines of all sizes the emitted program passes the verifier and gives the same bytes; its cycles are at least those of the
    /// array, the vector unit and the bus alone; every queue's counters account for every cycle.
    #[test]
    fn every_machine_gives_the_same_bytes(seed in any::<u64>()) {
        for config in machines() {
            let builder = random(seed);
            let program = accel::lower::program(&builder.program, &config).unwrap();
            let artifact = builder.artifact();
            let input = sample(&artifact, seed);
            let outputs = Simulator::with_program(&artifact, &program, &config).unwrap().run(&input).unwrap();
            prop_assert_eq!(bits(outputs), reference(&artifact, &input));
            let model = CostModel { config, ..CostModel::default() };
            let cost = cost::program_cost(&program, sections(&artifact), artifact.program(), &model).unwrap();
            prop_assert!(cost.cycles >= cost.bound);
            for counters in cost.queues {
                let waits = counters.starved + counters.blocked + counters.conflicts;
                prop_assert_eq!(counters.busy + waits + counters.idle, cost.cycles.0);
            }
            prop_assert_eq!(cost.layers.iter().map(|layer| layer.cycles.0).sum::<u64>(), cost.cycles.0);
            prop_assert_eq!(text::assemble(&text::disassemble(&program, Some(artifact.program()))).unwrap(), program);
        }
    }

    /// The execute queue without anything to wait for takes the sum of what its instructions take.
    #[test]
    fn nothing_waits_without_latency_on_a_wide_bus(seed in any::<u64>()) {
        let config = AccelConfig {
            dram_latency_cycles: 0,
            dram_bytes_per_cycle: 4096,
            weight_banks: ENOUGH_BANKS,
            activation_banks: ENOUGH_BANKS,
            ..AccelConfig::default()
        };
        let builder = random(seed);
        let program = accel::lower::program(&builder.program, &config).unwrap();
        let artifact = builder.artifact();
        let model = CostModel { config, ..CostModel::default() };
        let cost = cost::program_cost(&program, sections(&artifact), artifact.program(), &model).unwrap();
        let execute = &cost.queues[Queue::Execute as usize];
        prop_assert_eq!(execute.conflicts, 0);
        if execute.starved + execute.blocked == 0 {
            prop_assert_eq!(execute.busy, cost.cycles.0);
        }
        // What is left to wait for is the first load.
        prop_assert!(execute.starved + execute.blocked <= 64, "{:?}", execute);
    }

    #[test]
    fn assemble_inverts_disassemble(seed in any::<u64>()) {
        let artifact = random(seed).artifact();
        let program = AccelProgram::decode(artifact.accelerator()).unwrap();
        prop_assert_eq!(&text::assemble(&text::disassemble(&program, Some(artifact.program()))).unwrap(), &program);
        prop_assert_eq!(program.encode().unwrap(), artifact.accelerator());
    }

    #[test]
    fn any_word_is_refused_or_round_trips(word in any::<u128>(), opcode in 0u8..0x20) {
        for word in [word, word & !0xff | u128::from(opcode), word & 0xff_ffff_ff00 | u128::from(opcode)] {
            if let Ok(instruction) = Instruction::decode(word) {
                prop_assert_eq!(instruction.encode().unwrap(), word);
                prop_assert_eq!(Instruction::parse(&instruction.to_string()).unwrap(), instruction);
            }
        }
    }

    #[test]
    fn damaged_programs_are_refused_or_run(seed in any::<u64>(), edits in proptest::collection::vec(any::<(u16, u8)>(), 1..6)) {
        let artifact = random(seed).artifact();
        let mut bytes = artifact.accelerator().to_vec();
        for (at, value) in edits {
            let at = usize::from(at) % bytes.len();
            bytes[at] ^= value;
        }
        let program = AccelProgram::decode(&bytes);
        let simulator = program.and_then(|program| Simulator::with_program(&artifact, &program, &AccelConfig::default()));
        if let Ok(mut simulator) = simulator {
            simulator.run(&sample(&artifact, seed)).unwrap();
        }
    }

    #[test]
    fn edited_instructions_are_refused_or_run(edits in proptest::collection::vec(any::<(u16, u8, u32, u8)>(), 1..4)) {
        let artifact = small().artifact();
        let mut program = AccelProgram::decode(artifact.accelerator()).unwrap();
        for (at, field, value, magnitude) in edits {
            let at = usize::from(at) % program.instructions.len();
            let instruction = program.instructions[at];
            let fields = instruction.definition().fields;
            let Some(chosen) = fields.get(usize::from(field) % fields.len().max(1)) else { continue };
            let value = u128::from(value >> (magnitude % 32)) & ((1 << chosen.bits) - 1);
            let before = fields.iter().take_while(|field| field.name != chosen.name).map(|field| field.bits).sum::<u32>();
            let word = instruction.encode().unwrap();
            let old = u128::from(instruction.field(chosen.name).unwrap());
            program.instructions[at] = Instruction::decode(word ^ (old ^ value) << (8 + before)).unwrap_or(instruction);
        }
        if let Ok(mut simulator) = Simulator::with_program(&artifact, &program, &AccelConfig::default()) {
            simulator.run(&sample(&artifact, 5)).unwrap();
        }
    }

    /// The table of the search has the cycles of the planes that the program takes, and a walk over the blocks and lanes counts as many.
    #[test]
    fn planes_of_a_layer_are_those_of_its_program(seed in any::<u64>()) {
        let model = CostModel::default();
        let builder = random(seed);
        let program = accel::lower::program(&builder.program, &model.config).unwrap();
        let artifact = builder.artifact();
        let network = artifact.program();
        let cost = cost::program_cost(&program, sections(&artifact), network, &model).unwrap();
        let weighted: Vec<_> = cost.layers.iter().filter(|layer| layer.bits.is_some()).collect();
        prop_assert_eq!(weighted.len(), network.convs().count());
        for (conv, layer) in network.convs().zip(weighted) {
            let shape = LayerShape::of(network, conv);
            let estimate = model.layer(&shape, conv.bits);
            // A range of channels that ends inside a group cuts its block of rows.
            prop_assert!(estimate.compute <= layer.compute);
            prop_assert!(conv.groups > 1 || estimate.compute == layer.compute);
            prop_assert_eq!(network.macs(conv), layer.macs);
            prop_assert_eq!(artifact.weights(conv).len() as u64, layer.weight_bytes);
            let counted = counted_cycles(&shape, conv.bits.bits().into(), &model.config);
            prop_assert_eq!(estimate.compute.0, counted);
        }
    }
}

/// The default machine, a wide one with several tiles, a small one with two requantizers a row, and one whose buffers hold next to
/// nothing and to which activations are serial too.
fn machines() -> [AccelConfig; 4] {
    let default = AccelConfig::default();
    let wide = AccelConfig { tiles: 16, ..default };
    let small = AccelConfig {
        rows: 8,
        columns: 4,
        lanes: 8,
        weight_sram_bytes: 4096,
        activation_sram_bytes: 1024,
        constant_slots: 64,
        dram_bytes_per_cycle: 4,
        dram_burst_bytes: 32,
        vector_lanes: 4,
        requantizers: 2,
        ..default
    };
    let tiny = AccelConfig {
        tiles: 3,
        rows: 5,
        columns: 3,
        lanes: 4,
        weight_sram_bytes: 512,
        activation_sram_bytes: 200,
        constant_slots: 32,
        dram_latency_cycles: 7,
        serial: Serial::Both,
        ..small
    };
    [default, wide, small, tiny]
}

/// Walks the array block by block and lane by lane.
fn counted_cycles(shape: &LayerShape, bits: u64, config: &AccelConfig) -> u64 {
    let mut blocks = 0u64;
    for _group in 0..shape.groups {
        let mut channels = shape.group_outputs;
        while channels > 0 {
            channels -= channels.min(config.rows);
            let mut positions = shape.output[0] * shape.output[1];
            while positions > 0 {
                positions -= positions.min(config.columns);
                blocks += 1;
            }
        }
    }
    let fill = |mut values: u64| {
        let mut steps = 0u64;
        while values > 0 {
            values -= values.min(config.lanes.into());
            steps += 1;
        }
        steps
    };
    let (taps, channels) = (u64::from(shape.kernel[0] * shape.kernel[1]), u64::from(shape.group_inputs));
    let over_channels: u64 = (0..taps).map(|_| fill(channels)).sum();
    let over_taps: u64 = (0..channels).map(|_| fill(taps)).sum();
    let dense = shape.kernel == shape.input && shape.groups == 1 && !shape.padded;
    let steps = if dense { fill(taps * channels) } else { over_channels.min(over_taps) };
    let mut cycles = 0;
    while blocks > 0 {
        blocks -= blocks.min(config.tiles.into());
        cycles += steps * bits;
    }
    cycles
}

/// Cycles of an EXECUTE, counted cycle by cycle: an array that computes a block while the requantizers drain the one before.
#[test]
fn drains_overlap_the_next_block() {
    for seed in 0..300 {
        let builder = random(seed);
        let requantizers = 1 + (seed % 4) as u32;
        let config = AccelConfig { lanes: 64, requantizers, ..AccelConfig::default() };
        let program = accel::lower::program(&builder.program, &config).unwrap();
        let artifact = builder.artifact();
        for step in steps(&program, sections(&artifact), artifact.program(), &config).unwrap() {
            let Operation::Conv(conv) = &step.operation else { continue };
            let Weights::Buffer { .. } = conv.weights else { continue };
            let block = conv.steps(config.lanes) * u64::from(conv.bits.bits());
            let in_a_run = conv.positions().div_ceil(config.columns.into());
            let blocks = conv.row_blocks(config.rows) * in_a_run;
            let columns = |b: u64| {
                let left = conv.positions() - b % in_a_run * u64::from(config.columns);
                left.min(config.columns.into()).div_ceil(requantizers.into())
            };
            // Planes left of the block that is computed, cycles left to drain the block before.
            let (mut computing, mut planes, mut draining, mut cycles) = (0, block, 0, 0u64);
            while computing < blocks || draining > 0 {
                cycles += 1;
                let drained = draining <= 1;
                draining = u64::saturating_sub(draining, 1);
                if computing < blocks {
                    planes = planes.saturating_sub(1);
                    if planes == 0 && drained {
                        draining = columns(computing);
                        computing += 1;
                        planes = block;
                    }
                }
            }
            assert_eq!(conv.array_cycles(&config), [blocks * block, 8 + cycles], "seed {seed}: {conv:?}");
        }
    }
}

#[test]
fn random_networks_have_every_operator_and_width() {
    let mut seen = BTreeSet::new();
    for seed in 0..200 {
        let program = random(seed).program;
        seen.extend(program.ops.iter().map(|op| op.label().to_owned()));
        seen.extend(program.convs().map(|conv| format!("{} bits", conv.bits)));
        seen.extend(program.convs().map(|conv| format!("grouped {}", conv.groups > 1)));
    }
    assert_eq!(seen.len(), 11 + 7 + 2, "{seen:?}");
}

#[test]
fn random_networks_have_varied_outputs() {
    let varied = (0..200).filter(|&seed| {
        let artifact = random(seed).artifact();
        let outputs = simulate(&artifact, &sample(&artifact, seed));
        outputs[0].iter().collect::<BTreeSet<_>>().len() >= 3
    });
    assert!(varied.count() > 100, "most networks must not saturate");
}

/// Fields that change no result: for reports, and when something happens.
const REPORTED: [&str; 3] = ["operator", "sync", "lanes_over"];

/// Every value of every field matters somewhere: a change is refused or changes an output. `operator` only names the layer.
#[test]
fn every_field_is_executed() {
    let artifact = small().artifact();
    let input = sample(&artifact, 5);
    let program = AccelProgram::decode(artifact.accelerator()).unwrap();
    let expected = reference(&artifact, &input);
    assert_eq!(simulate(&artifact, &input), expected);
    let mut inert = Vec::new();
    let mut effective = BTreeSet::new();
    for (at, instruction) in program.instructions.iter().enumerate() {
        let (word, definition) = (instruction.encode().unwrap(), instruction.definition());
        let mut shift = 8;
        for field in definition.fields {
            let value = word >> shift & ((1 << field.bits) - 1);
            let changes = [1, 16, 1 << (field.bits - 1), 3 << (field.bits / 2)]
                .map(|flip| (value ^ flip) & ((1 << field.bits) - 1));
            let changed = changes.into_iter().filter(|&v| v != value).any(|changed| {
                let mut program = program.clone();
                let Ok(instruction) = Instruction::decode(word ^ (value ^ changed) << shift) else { return true };
                program.instructions[at] = instruction;
                let simulator = Simulator::with_program(&artifact, &program, &AccelConfig::default());
                simulator.map_or(true, |mut simulator| bits(simulator.run(&input).unwrap()) != expected)
            });
            if changed {
                effective.insert((definition.mnemonic, field.name));
            } else if !REPORTED.contains(&field.name) {
                inert.push(format!("{at} {} {}", definition.mnemonic, field.name));
            }
            shift += field.bits;
        }
    }
    let used = |d: &&Definition| program.instructions.iter().any(|i| i.definition().opcode == d.opcode);
    for definition in DEFINITIONS.iter().filter(used) {
        for field in definition.fields.iter().filter(|field| !REPORTED.contains(&field.name)) {
            assert!(effective.contains(&(definition.mnemonic, field.name)), "{} {}", definition.mnemonic, field.name);
        }
    }
    assert!(inert.is_empty(), "{inert:?}");
}

/// An instruction that names an operator of the network computes that one, and no instruction names one that is not its own.
#[test]
fn named_operators_are_executed() {
    let artifact = small().artifact();
    let input = sample(&artifact, 5);
    let program = AccelProgram::decode(artifact.accelerator()).unwrap();
    let expected = reference(&artifact, &input);
    for (at, instruction) in program.instructions.iter().enumerate() {
        let own = match instruction {
            Instruction::Vector { operator } | Instruction::Host { operator } => *operator,
            _ => continue,
        };
        for operator in (0..30).filter(|&operator| operator != own) {
            let mut program = program.clone();
            program.instructions[at] = match instruction {
                Instruction::Vector { .. } => Instruction::Vector { operator },
                _ => Instruction::Host { operator },
            };
            if let Ok(mut simulator) = Simulator::with_program(&artifact, &program, &AccelConfig::default()) {
                assert_ne!(bits(simulator.run(&input).unwrap()), expected, "{instruction} as {operator}");
            }
        }
    }
}

/// Without any one of its instructions a program is refused or computes something else.
#[test]
fn every_instruction_is_needed() {
    let artifact = small().artifact();
    let input = sample(&artifact, 5);
    let program = AccelProgram::decode(artifact.accelerator()).unwrap();
    let expected = reference(&artifact, &input);
    for at in 0..program.instructions.len() {
        let mut shorter = program.clone();
        let removed = shorter.instructions.remove(at);
        // It names the operator and keeps an order that tokens need not keep here.
        if matches!(removed, Instruction::Begin { .. }) {
            continue;
        }
        if let Ok(mut simulator) = Simulator::with_program(&artifact, &shorter, &AccelConfig::default()) {
            assert_ne!(bits(simulator.run(&input).unwrap()), expected, "{at} {removed}");
        }
    }
}

#[test]
fn a_residual_network_is_compact_fast_and_equal() {
    for k in [2, 4, 8] {
        let artifact = Builder::residual(BitWidth::new(k).unwrap()).artifact();
        let input = sample(&artifact, 1);
        let mut simulator = Simulator::new(&artifact).unwrap();
        let start = Instant::now();
        let outputs = bits(simulator.run(&input).unwrap());
        let (seconds, bytes) = (start.elapsed().as_secs_f64(), artifact.accelerator().len());
        let report = cost::estimate(&artifact).unwrap();
        println!(
            "{k} bits: program {bytes} bytes, simulated in {seconds:.3} s, {:.1} us on the machine",
            report.latency_us()
        );
        assert!(report.program.cycles >= report.program.bound);
        assert_eq!(outputs, reference(&artifact, &input));
        assert!(bytes < 5 << 10, "{bytes} bytes");
        assert!(outputs[0].iter().collect::<BTreeSet<_>>().len() > 5, "the logits must not saturate");
    }
}

#[test]
fn a_layer_larger_than_the_weight_memory_is_fetched_in_parts() {
    let artifact = Builder::lenet(BitWidth::MAX).artifact();
    let input = sample(&artifact, 1);
    let mut simulator = Simulator::new(&artifact).unwrap();
    let start = Instant::now();
    let outputs = bits(simulator.run(&input).unwrap());
    println!("lenet at 8 bits: simulated in {:.4} s", start.elapsed().as_secs_f64());
    assert_eq!(outputs, reference(&artifact, &input));
    let program = AccelProgram::decode(artifact.accelerator()).unwrap();
    let all = steps(&program, sections(&artifact), artifact.program(), &AccelConfig::default()).unwrap();
    let loads = all.iter().filter_map(|step| match &step.operation {
        Operation::LoadWeights { source, .. } => Some(source.len()),
        _ => None,
    });
    // 800 weights a channel: at most eleven blocks of 16 channels, 12,800 bytes each, in 144 KiB.
    assert!(loads.clone().all(|bytes| bytes <= 144 << 10) && loads.count() > 5);
    assert_eq!(simulate_cycles(&all, artifact.program(), &AccelConfig::default()).len(), all.len());
    let report = cost::estimate(&artifact).unwrap();
    assert_eq!((report.speedup(), report.energy_ratio()), (1.0, 1.0));
}

#[test]
fn refusals_name_the_instruction_and_the_requirement() {
    let artifact = small().artifact();
    let program = AccelProgram::decode(artifact.accelerator()).unwrap();
    let text = text::disassemble(&program, None);
    let refused = |from: &str, to: &str| {
        let edited = text.replacen(from, to, 1);
        assert_ne!(edited, text, "{from}");
        let error = match text::assemble(&edited) {
            Ok(program) => Simulator::with_program(&artifact, &program, &AccelConfig::default()).err().unwrap(),
            Err(error) => error,
        };
        format!("{from} -> {to}\n    {error}\n")
    };
    let mut messages = String::new();
    for (from, to) in [
        ("SET_CLAMP lo=4 hi=99", "SET_CLAMP lo=9 hi=8"),
        ("bits=3", "bits=9"),
        ("groups=3", "groups=5"),
        ("weights=0 ", "weights=99999 "),
        ("channels=36", "channels=35"),
        ("SET_KERNEL", ";"),
        ("\nEND", ""),
        ("\nEND", "\nEND\nEND"),
        ("SET_STRIDE height=1", "SET_STRIDE height=0"),
        ("SET_STRIDE height=1", "SET_STRIDE height=99999999"),
        ("multiplier_a=0.75", "multiplier_a=inf"),
        ("multiplier_a=0.75", "multiplier_a=0.0"),
        ("POOL_MAX", "POOL_MIN"),
        ("EXECUTE wait_load", "EXECUTE wait_loads"),
        ("QUANTIZE host=0", "QUANTIZE host=4000"),
        ("EXECUTE wait_load=1", "EXECUTE wait_load=0"),
        ("signal_execute=1", "signal_execute=0"),
        // 2^64 values, which a sum of 64 bits takes for none.
        ("height=1 width=1 channels=20 channel", "height=16777216 width=16777216 channels=65536 channel"),
        (".host", ".hosts"),
    ] {
        messages += &refused(from, to);
    }
    let bytes = artifact.accelerator();
    let mut newer = bytes.to_vec();
    newer[8] = 4;
    let mut reserved = bytes.to_vec();
    *reserved.last_mut().unwrap() = 1;
    let mut other = bytes.to_vec();
    other[16] ^= 1;
    let other = AccelProgram::decode(&other).unwrap();
    let errors = [
        AccelProgram::decode(&[]).unwrap_err(),
        AccelProgram::decode(&bytes[..40]).unwrap_err(),
        AccelProgram::decode(&bytes[..bytes.len() - 1]).unwrap_err(),
        AccelProgram::decode(&newer).unwrap_err(),
        AccelProgram::decode(&reserved).unwrap_err(),
        Simulator::with_program(&artifact, &other, &AccelConfig::default()).err().unwrap(),
        Simulator::new(&small().with_accelerator(Vec::new())).err().unwrap(),
    ];
    assert_eq!(errors[6], AccelError::Missing);
    errors.iter().for_each(|error| messages += &format!("{error}\n"));
    snapshot("accelerator_refusals", &messages);
}

fn snapshot(name: &str, text: &str) {
    let mut settings = insta::Settings::clone_current();
    settings.set_snapshot_path(concat!(env!("CARGO_MANIFEST_DIR"), "/../snapshots"));
    settings.set_prepend_module_to_snapshot(false);
    settings.set_omit_expression(true);
    settings.bind(|| insta::assert_snapshot!(name, text));
}

fn cost_text(report: &cost::CostReport) -> String {
    use std::fmt::Write;
    let mut text = String::new();
    for layer in &report.program.layers {
        let [load, execute, store] = layer.queues.map(|q| [q.busy, q.starved, q.blocked, q.conflicts]);
        let (bound, energy) = (layer.bound_by(), layer.energy.total().0);
        writeln!(
            text,
            "{:10} {:>6} cycles, {bound}, load {load:?} execute {execute:?} store {store:?}, {energy:.1} pJ",
            layer.name, layer.cycles.0
        )
        .unwrap();
    }
    let (own, base) = (&report.program, &report.baseline_8bit);
    writeln!(text, "{} cycles, bound {}, at 8 bit {}, {:?}", own.cycles.0, own.bound.0, base.cycles.0, own.events)
        .unwrap();
    text
}

#[test]
fn disassembly_and_cost_of_a_small_network() {
    let artifact = small().artifact();
    let program = AccelProgram::decode(artifact.accelerator()).unwrap();
    snapshot("accelerator_program", &text::disassemble(&program, Some(artifact.program())));
    snapshot("accelerator_cost", &cost_text(&cost::estimate(&artifact).unwrap()));
}

#[test]
fn the_documented_instruction_table_is_that_of_the_source() {
    let document = std::fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/../docs/accelerator.md")).unwrap();
    let table = text::instruction_table();
    assert!(document.contains(&table), "docs/accelerator.md must contain\n{table}");
}

/// The formulas of docs/accelerator.md by hand: 16 x 16 elements of 16 lanes.
#[test]
fn cycles_follow_the_formulas() {
    let model = CostModel::default();
    let shape = |group_inputs, group_outputs, groups, kernel, input, output| LayerShape {
        group_inputs,
        group_outputs,
        groups,
        kernel: [kernel; 2],
        input: [input; 2],
        output: [output; 2],
        result_bytes: 1,
        padded: false,
    };
    let compute = |shape: &LayerShape, bits| model.layer(shape, BitWidth::new(bits).unwrap()).compute.0;
    // ceil(40/16) * 3^2 steps, ceil(20/16) * ceil(30^2/16) blocks.
    assert_eq!(compute(&shape(40, 20, 1, 3, 30, 30), 5), 3 * 9 * (2 * 57) * 5);
    // One input channel: taps on the lanes, ceil(25/16) steps.
    assert_eq!(compute(&shape(1, 20, 1, 5, 28, 24), 4), 2 * (2 * 36) * 4);
    // Depthwise: a block an output channel, ceil(9/16) steps.
    assert_eq!(compute(&shape(1, 1, 64, 3, 14, 14), 8), 64 * 13 * 8);
    // Fully connected: ceil(800/16) steps, ceil(500/16) blocks.
    let fc = shape(50, 500, 1, 4, 4, 1);
    assert_eq!(compute(&fc, 3), 50 * 32 * 3);
    // Its time is that of fetching its weights and constants.
    let cost = model.layer(&fc, BitWidth::MAX);
    assert_eq!(cost.cycles.0, (400_000u64 + 9_600 + 4_000).div_ceil(64) * 4 + 8);
}

/// What is serial changes the cycles of the planes, and no other event but those of the elements.
#[test]
fn a_step_takes_the_bits_of_what_is_serial() {
    let cost = |serial, bits: u8| {
        let model = CostModel { config: AccelConfig { serial, ..AccelConfig::default() }, ..CostModel::default() };
        let builder = Builder::residual(BitWidth::new(bits).unwrap());
        let program = accel::lower::program(&builder.program, &model.config).unwrap();
        let artifact = builder.artifact();
        cost::program_cost(&program, sections(&artifact), artifact.program(), &model).unwrap()
    };
    let compute = |cost: &cost::ProgramCost| {
        cost.layers.iter().filter(|layer| layer.bits.is_some()).map(|layer| layer.compute.0).sum::<u64>()
    };
    for bits in [2, 5, 8] {
        let all = Serial::ALL.map(|serial| cost(serial, bits));
        let [weights, activations, both] = all.each_ref().map(compute);
        assert_eq!((activations * u64::from(bits), both), (8 * weights, 8 * weights));
        let [weights, activations, both] = all.map(|cost| cost.events);
        assert_eq!(both.element_cycles, 8 * weights.element_cycles);
        let same = |events: cost::Events| cost::Events { element_cycles: 0, ..events };
        assert_eq!((same(activations), same(both)), (same(weights), same(weights)));
    }
}

/// The drain of a depthwise layer hides its planes; with four requantizers a row, narrow weights make it faster.
#[test]
fn requantizers_uncover_the_planes_of_a_depthwise_layer() {
    let cycles = |requantizers, bits: u8| {
        let mut b = Builder::new(3, 32, 16, 16);
        let x = b.quantize();
        let window = Window { kernel: [3, 3], stride: [1, 1], dilation: [1, 1], padding: [1; 4] };
        b.conv(x, window, 32, 32, BitWidth::new(bits).unwrap(), false);
        let model =
            CostModel { config: AccelConfig { requantizers, ..AccelConfig::default() }, ..CostModel::default() };
        let program = accel::lower::program(&b.program, &model.config).unwrap();
        let sections = Sections { weights: b.weights.len(), constants: b.constants.len() };
        let cost = cost::program_cost(&program, sections, &b.program, &model).unwrap();
        let shape = LayerShape::of(&b.program, b.program.convs().next().unwrap());
        let estimate = model.layer(&shape, BitWidth::new(bits).unwrap()).cycles.0;
        (cost.layers.iter().find(|layer| layer.bits.is_some()).unwrap().queues[1].busy, estimate)
    };
    // 32 channels x 16 rows are 512 blocks of 16 columns.
    let whole = |drain: u64, bits: u64| 8 + 511 * drain.max(bits) + bits + drain;
    assert_eq!((cycles(1, 2), cycles(1, 8)), ((whole(16, 2), whole(16, 2)), (whole(16, 8), whole(16, 8))));
    // The planes bind: two executions of 16 channels each, so that weights come while the first runs.
    let twice = |bits: u64| 2 * (8 + 256 * bits + 4);
    assert_eq!((cycles(4, 4), cycles(4, 8)), ((twice(4), whole(4, 4)), (twice(8), whole(4, 8))));
}

/// The worked example of docs/accelerator.md.
#[test]
fn the_worked_example_takes_168_cycles() {
    let mut b = Builder::new(1, 8, 4, 4);
    let x = b.quantize();
    let window = Window { kernel: [3, 3], stride: [1, 1], dilation: [1, 1], padding: [1; 4] };
    b.conv(x, window, 1, 8, BitWidth::new(2).unwrap(), false);
    let config = AccelConfig::default();
    let program = accel::lower::program(&b.program, &config).unwrap();
    let sections = Sections { weights: b.weights.len(), constants: b.constants.len() };
    let all = steps(&program, sections, &b.program, &config).unwrap();
    // The layer alone, its input there.
    let layer: Vec<_> = all.into_iter().filter(|step| step.operator == Some(1)).collect();
    let [load, execute] = simulate_cycles(&layer, &b.program, &config)[..] else { panic!("{layer:?}") };
    assert_eq!((load.start, load.free, load.end, load.bus), (0, 28, 128, 28));
    assert_eq!((execute.start, execute.end, execute.busy, execute.compute), (128, 168, 40, 16));
}

/// VGG-16 without weights: its program is small, and simulated in time.
#[test]
fn a_large_network_is_small_and_simulated_in_time() {
    let mut b = Builder::new(5, 3, 224, 224);
    let mut x = b.quantize();
    let (mut weights, mut constants) = (0u64, 0u64);
    let mut layer = |b: &mut Builder, x, kernel: u32, outputs: u32, bits: u8, size: u32| {
        let padding = if kernel == 3 { [1; 4] } else { [0; 4] };
        let window = Window { kernel: [kernel; 2], stride: [1, 1], dilation: [1, 1], padding };
        let depth = u64::from(kernel * kernel * b.program.tensor(x).channels);
        let y = b.tensor("y", [size, size, outputs], 0.1, 0);
        b.program.ops.push(Op::Conv(Conv {
            name: format!("layer{}", b.program.ops.len()),
            kind: LayerKind::Conv,
            x,
            destination: Destination::Codes { y, lo: 0, hi: 255 },
            window,
            groups: 1,
            outputs,
            bits: BitWidth::new(bits).unwrap(),
            weights_offset: weights,
            constants_offset: constants,
        }));
        weights += (depth * u64::from(outputs.next_multiple_of(16))).next_multiple_of(64);
        constants += (8 * u64::from(outputs)).next_multiple_of(64);
        y
    };
    let window = Window { kernel: [2, 2], stride: [2, 2], dilation: [1, 1], padding: [0; 4] };
    let mut size = 224;
    for (stage, channels) in [(2, 64), (2, 128), (3, 256), (3, 512), (3, 512)] {
        for _ in 0..stage {
            x = layer(&mut b, x, 3, channels, 8, size);
        }
        size /= 2;
        let y = b.tensor("pool", [size, size, channels], 0.1, 0);
        b.program.ops.push(Op::MaxPool { x, y, window, lo: 0, hi: 255 });
        x = y;
    }
    // 25,088 inputs at 4 bits: a block of 16 outputs takes 200,704 bytes of the weight buffer.
    for (kernel, outputs, bits) in [(7, 4096, 4), (1, 4096, 8), (1, 1000, 8)] {
        x = layer(&mut b, x, kernel, outputs, bits, 1);
    }
    let config = AccelConfig::default();
    let program = accel::lower::program(&b.program, &config).unwrap();
    let bytes = program.encode().unwrap().len();
    assert!(bytes < 64 << 10, "{bytes} bytes");
    let sections = Sections { weights: weights as usize, constants: constants as usize };
    let start = Instant::now();
    let cost = cost::program_cost(&program, sections, &b.program, &CostModel::default()).unwrap();
    let seconds = start.elapsed().as_secs_f64();
    println!("vgg-16: {bytes} bytes, {} cycles simulated in {seconds:.3} s, bound {}", cost.cycles.0, cost.bound.0);
    assert!(cost.cycles >= cost.bound && seconds < 2.0);
    assert!(cost.cycles.0 < cost.bound.0 * 3 / 2, "{} cycles, {} at least", cost.cycles.0, cost.bound.0);
}
