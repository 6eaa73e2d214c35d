//! The accelerator: the simulator equals the reference executor byte for byte, and executes what its program says.
#![cfg(feature = "encode")]
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod random_network;

use proptest::prelude::*;
use random_network::{Builder, random, sample, small};
use releqc_runtime::BitWidth;
use releqc_runtime::accel::cost::{self, CostModel, LayerShape};
use releqc_runtime::accel::step::Sections;
use releqc_runtime::accel::table::{DEFINITIONS, Instruction};
use releqc_runtime::accel::{self, AccelConfig, AccelError, AccelProgram, Simulator, text};
use releqc_runtime::format::Artifact;
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

    #[test]
    fn ranges_of_outputs_give_the_same_bytes(seed in any::<u64>()) {
        let config = AccelConfig { weight_sram_bytes: 64, ..AccelConfig::default() };
        let builder = random(seed);
        let program = accel::lower::program(&builder.program, &config).unwrap();
        let artifact = builder.artifact();
        let input = sample(&artifact, seed);
        let outputs = Simulator::with_program(&artifact, &program, &config).unwrap().run(&input).unwrap();
        prop_assert_eq!(bits(outputs), reference(&artifact, &input));
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
        let sections = Sections { weights: 1 << 40, constants: 1 << 40 };
        if let Ok(report) = cost::estimate_program(&program, sections, artifact.program(), &CostModel::default()) {
            prop_assert!(report.energy_pj.0.is_finite());
        }
    }

    #[test]
    fn cost_of_a_layer_is_that_of_its_program(seed in any::<u64>(), tiles in 1u32..5, sram in 64u32..4096) {
        let config = AccelConfig { tiles, weight_sram_bytes: sram, activation_sram_bytes: sram, ..AccelConfig::default() };
        let model = CostModel { config, ..CostModel::default() };
        let builder = random(seed);
        let program = accel::lower::program(&builder.program, &config).unwrap();
        let artifact = builder.artifact();
        let network = artifact.program();
        let report = cost::estimate_program(&program, sections(&artifact), network, &model).unwrap();
        let weighted: Vec<_> = report.layers.iter().filter(|layer| layer.bits.is_some()).collect();
        prop_assert_eq!(weighted.len(), network.convs().count());
        for (conv, layer) in network.convs().zip(weighted) {
            let shape = LayerShape::of(network, conv);
            prop_assert_eq!(model.layer(&shape, conv.bits), layer.cost);
            prop_assert_eq!(model.layer(&shape, BitWidth::MAX), layer.baseline_8bit);
            prop_assert_eq!(network.macs(conv), layer.macs);
            prop_assert_eq!(artifact.weights(conv).len() as u64, layer.weight_bytes);
            let ranges = config.output_ranges(conv.outputs, shape.depth(), conv.bits);
            let counted: u64 = ranges.map(|range| counted_cycles(&shape, range, conv.bits.bits().into(), &config)).sum();
            prop_assert_eq!(layer.cost.compute.0, counted);
            let compute = |bits| model.layer(&shape, bits).compute.0;
            // Ranges of a layer round up one by one to tiles and to groups.
            prop_assert!(tiles > 1 || conv.groups > 1 || compute(BitWidth::MIN) * 4 == compute(BitWidth::MAX));
        }
    }
}

/// Walks the array block by block and lane by lane.
fn counted_cycles(shape: &LayerShape, outputs: std::ops::Range<u32>, bits: u64, config: &AccelConfig) -> u64 {
    let mut blocks = 0u64;
    for group in 0..shape.groups {
        let channels =
            (0..shape.group_outputs).map(|o| group * shape.group_outputs + o).filter(|o| outputs.contains(o));
        let mut channels = channels.count() as u32;
        while channels > 0 {
            channels -= channels.min(config.rows);
            for _row in 0..shape.output[0] {
                let mut positions = shape.output[1];
                while positions > 0 {
                    positions -= positions.min(config.columns);
                    blocks += 1;
                }
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
    let steps = if shape.kernel == shape.input { fill(taps * channels) } else { over_channels.min(over_taps) };
    let mut cycles = 0;
    while blocks > 0 {
        blocks -= blocks.min(config.tiles.into());
        cycles += steps * bits;
    }
    cycles
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
            } else if field.name != "operator" {
                inert.push(format!("{at} {} {}", definition.mnemonic, field.name));
            }
            shift += field.bits;
        }
    }
    for definition in DEFINITIONS {
        for field in definition.fields.iter().filter(|field| field.name != "operator") {
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
    let parts = program.instructions.iter().filter_map(|instruction| match instruction {
        Instruction::Conv { first_output, outputs, .. } => Some((*first_output, *outputs)),
        _ => None,
    });
    // 800 weights a channel: eleven blocks of 16 channels, 12,800 bytes each, in 144 KiB.
    let parts: Vec<_> = parts.collect();
    assert_eq!(parts, [(0, 20), (0, 50), (0, 176), (176, 176), (352, 148)]);
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
        ("CONV operator=1", "CONV operators=1"),
        ("QUANTIZE operator=0 host=0", "QUANTIZE operator=0 host=4000"),
        (".host", ".hosts"),
    ] {
        messages += &refused(from, to);
    }
    let bytes = artifact.accelerator();
    let mut newer = bytes.to_vec();
    newer[8] = 3;
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

#[test]
fn disassembly_and_cost_of_a_small_network() {
    let artifact = small().artifact();
    let program = AccelProgram::decode(artifact.accelerator()).unwrap();
    snapshot("accelerator_program", &text::disassemble(&program, Some(artifact.program())));
    snapshot("accelerator_cost", &cost::estimate(&artifact).unwrap().to_string());
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
    };
    let compute = |shape: &LayerShape, bits| model.layer(shape, BitWidth::new(bits).unwrap()).compute.0;
    // ceil(40/16) * 3^2 steps, ceil(20/16) * ceil(30/16) * 30 blocks.
    assert_eq!(compute(&shape(40, 20, 1, 3, 30, 30), 5), 3 * 9 * (2 * 2 * 30) * 5);
    // One input channel: taps on the lanes, ceil(25/16) steps.
    assert_eq!(compute(&shape(1, 20, 1, 5, 28, 24), 4), 2 * (2 * 2 * 24) * 4);
    // Depthwise: a block an output channel, ceil(9/16) steps.
    assert_eq!(compute(&shape(1, 1, 64, 3, 14, 14), 8), 64 * 14 * 8);
    // Fully connected: ceil(800/16) steps, ceil(500/16) blocks.
    let fc = shape(50, 500, 1, 4, 4, 1);
    assert_eq!(compute(&fc, 3), 50 * 32 * 3);
    // Its time is that of fetching its weights and constants.
    let cost = model.layer(&fc, BitWidth::MAX);
    assert_eq!((cost.dram.0, cost.cycles.0), ((400_000 + 9_600 + 4_000) / 16, (400_000 + 9_600 + 4_000) / 16));
}
