//! Writes the inputs that fuzzing begins with: small networks with every operator, their accelerator programs and the text of those.
//!
//! `seeds FOLDER` makes `FOLDER/artifact`, `FOLDER/accelerator` and `FOLDER/assembler`.

#[path = "../../../runtime/tests/support/net.rs"]
#[allow(dead_code, unreachable_pub, reason = "shared by tests")]
mod net;

use net::{Net, Random, square};
use releqc_fuzz_entries::accelerator;
use releqc_runtime::BitWidth;
use releqc_runtime::accel::text::disassemble;
use releqc_runtime::accel::{self, AccelConfig, AccelProgram};
use releqc_runtime::float::RecurrentKind;
use releqc_runtime::format::{ArtifactParts, encode};
use releqc_runtime::function::Function;
use releqc_runtime::program::{ArithmeticKind, FloatId, Op, Order, TensorId};
use std::path::Path;

/// Networks, the first [`SINGLE`] of one operator on codes, the others of two or three.
const NETWORKS: u64 = 256;
const SINGLE: u64 = 64;

fn main() -> std::io::Result<()> {
    let folder = std::env::args_os().nth(1).expect("a folder");
    let write = |target: &str, name: String, bytes: &[u8]| {
        let folder = Path::new(&folder).join(target);
        std::fs::create_dir_all(&folder)?;
        std::fs::write(folder.join(name), bytes)
    };
    for seed in 0..NETWORKS {
        let Net { program, constants, weights, .. } = network(seed);
        // Half of them come with a program of their own.
        let accelerator = accel::lower(&program, &AccelConfig::default()).ok().filter(|_| seed.is_multiple_of(2));
        let accelerator = accelerator.unwrap_or_default();
        let metadata =
            [("name".to_owned(), format!("net{seed}"))].into_iter().filter(|_| seed.is_multiple_of(3)).collect();
        let parts = ArtifactParts { metadata, program, constants, weights, accelerator };
        write("artifact", format!("net{seed}.rq"), &encode(&parts))?;
    }
    for number in 0..accelerator::NETWORKS {
        let artifact = accelerator::network(number);
        let choice = [number as u8];
        let program = AccelProgram::decode(artifact.accelerator()).expect("a lowered program");
        let text = disassemble(&program, Some(artifact.program()));
        write("accelerator", format!("net{number}.acc"), &[&choice, artifact.accelerator()].concat())?;
        write("assembler", format!("net{number}.s"), &[&choice, text.as_bytes()].concat())?;
    }
    Ok(())
}

/// A small input, one operator, and outputs of codes and floats.
fn network(seed: u64) -> Net {
    let r = &mut Random(seed);
    let extents = [r.between(1, 3), r.between(1, 4), r.between(1, 4)];
    let (mut net, x) = Net::new(seed, extents, [0, 128, 7][seed as usize % 3]);
    let bits = BitWidth::new(2 + (seed % 7) as u8).expect("2..=8");
    let mut codes = operator(&mut net, r, x, seed);
    for more in 0..(seed / SINGLE).min(2) {
        codes = operator(&mut net, r, codes, seed / (3 + more));
    }
    let mut floats = net.dequantize(codes);
    for _ in 0..seed / 8 % 3 {
        floats = net.island(r, floats);
    }
    if seed.is_multiple_of(5) {
        floats = recurrent(
            &mut net,
            RecurrentKind::ALL[(seed / 5) as usize % RecurrentKind::ALL.len()],
            seed.is_multiple_of(2),
        );
    }
    net.output(floats);
    if seed.is_multiple_of(4) {
        let logits = net.logits(codes, 4, bits);
        let softmax = net.softmax(logits, seed.is_multiple_of(8));
        net.output(softmax);
    }
    net
}

/// One operator on codes, by the seed.
fn operator(net: &mut Net, r: &mut Random, x: TensorId, seed: u64) -> TensorId {
    let bits = BitWidth::new(2 + (seed % 7) as u8).expect("2..=8");
    let [height, width, channels] = net.extents(x);
    match seed % 16 {
        0 => net.conv(x, 3, square(2, 1, 1), 1, bits, [3, 0, 255]).unwrap_or(x),
        1 => net.conv(x, channels, square(3, 2, 1), channels, bits, [0, 0, 90]).unwrap_or(x),
        2 => net.fully_connected(x, 5, bits),
        3 => net.max_pool(x, square(2, 1, 1)).unwrap_or(x),
        4 => net.average_pool(x, square(2, 2, 1), seed & 16 == 0, 9).unwrap_or(x),
        5 => net.add(x, x, [5, 1, 250]),
        6 => net.affine(x, [5, 0, 255]),
        7 => net.concat(&[(x, false), (x, true)]),
        8 => net.reshape(x, [1, 1, height * width * channels]),
        9 => net.table(x, 4, seed & 16 == 0),
        10 => net.moved(r, x),
        11 => arithmetic(net, r, x),
        12 => net.turned(r, x, [9, 0, 255]),
        13 => net.concat_along(r.below(3) as usize, &[(x, None), (x, Some(0.7))], [2, 200]),
        14 => net.fully_connected_rows(r, x),
        _ => {
            let other = net.input(vec![2, 3]);
            net.quantize(other, [2, 1, 3], Order::Same, 7)
        }
    }
}

fn arithmetic(net: &mut Net, r: &mut Random, x: TensorId) -> TensorId {
    let gate = net.gate(r, x);
    let kind = ArithmeticKind::ALL[r.below(ArithmeticKind::ALL.len() as u32) as usize];
    net.arithmetic(r, kind, [x, gate], [8, 0, 255])
}

/// A recurrent layer over constants, with an initial state where it is `stateful`.
fn recurrent(net: &mut Net, kind: RecurrentKind, stateful: bool) -> FloatId {
    let (steps, batch, hidden, gates) = (2, 2, 3, kind.gates() as u32);
    let mut r = Random(3);
    let state = batch * hidden;
    let mut xs = vec![net.float_constant(&mut r, steps * batch * gates * hidden)];
    if stateful {
        xs.push(net.float_constant(&mut r, state));
    }
    let words: Vec<u32> = (0..gates * hidden * (hidden + 1)).map(|_| r.normal().to_bits()).collect();
    let constants_offset = net.add_constants(words.into_iter());
    let y = net.slot((steps + kind.extra_states() as u32) * state);
    let functions = [Function::Sigmoid, Function::Tanh, Function::Tanh][..kind.functions()].to_vec();
    net.program.ops.push(Op::FloatRecurrent {
        kind,
        xs,
        y,
        reverse: stateful,
        steps,
        batch,
        hidden,
        functions,
        clip: f32::INFINITY,
        peepholes: false,
        constants_offset,
    });
    y
}
