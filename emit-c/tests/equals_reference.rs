//! Emitted C, compiled with every warning an error and under sanitizers, gives the bytes of the reference executor.

#![allow(missing_docs, clippy::unwrap_used, clippy::panic, clippy::print_stderr, reason = "a test")]

#[path = "../../runtime/tests/support/net.rs"]
#[allow(dead_code, unreachable_pub, reason = "shared by tests")]
mod net;

use net::{Net, Random};
use releqc_emit_c::{Emitted, emit};
use releqc_runtime::format::{Artifact, ArtifactParts, LoadOptions, encode};
use releqc_runtime::program::{ArithmeticKind, Order, TensorId, Window};
use releqc_runtime::reference::Reference;
use releqc_runtime::{BitWidth, Pixels};
use std::io::Write;
use std::path::Path;
use std::process::{Command, Stdio};

/// Random networks; each is compiled once.
const CASES: u64 = 60;

/// Compilers that are there; the one called `cc` always is, as Rust needs it.
fn compilers() -> Vec<&'static str> {
    let works = |name: &&str| Command::new(name).arg("--version").output().is_ok_and(|output| output.status.success());
    let found: Vec<&str> = ["cc", "clang"].into_iter().filter(works).collect();
    if !found.contains(&"clang") {
        eprintln!("skipped: clang is not there");
    }
    found
}

/// Compiles `emitted` under sanitizers and runs it on the bytes of samples.
fn computed(emitted: &Emitted, artifact: &Artifact, compiler: &str, input: &[u8], pixels: bool) -> Vec<u32> {
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("net.h"), &emitted.header).unwrap();
    std::fs::write(folder.path().join("net.c"), &emitted.source).unwrap();
    let driver = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/driver.c");
    let outputs: usize = artifact.program().outputs.iter().map(|(port, _)| port.len()).sum();
    let mut command = Command::new(compiler);
    command.args(["-std=c99", "-Wall", "-Wextra", "-Werror", "-pedantic", "-O1", "-fsanitize=address,undefined"]);
    command.args(["-fno-sanitize-recover=all", "-DHEADER=\"net.h\"", "-DRUN=net_run"]);
    command.args([format!("-DINPUTS={}", artifact.program().input_len()), format!("-DOUTPUTS={outputs}")]);
    command.args(emitted.takes_pixels.then_some("-DRUN_U8=net_run_u8"));
    command.current_dir(folder.path()).arg("-I.").arg(driver).args(["net.c", "-o", "net"]);
    let compiled = command.output().unwrap();
    assert!(compiled.status.success(), "{compiler}: {}", String::from_utf8_lossy(&compiled.stderr));
    let mut run = Command::new(folder.path().join("net"));
    run.args(pixels.then_some("pixels")).stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = run.spawn().unwrap();
    let mut stdin = child.stdin.take().unwrap();
    let input = input.to_vec();
    let writer = std::thread::spawn(move || stdin.write_all(&input));
    let output = child.wait_with_output().unwrap();
    writer.join().unwrap().unwrap();
    assert!(output.status.success(), "{compiler}: {}", String::from_utf8_lossy(&output.stderr));
    output.stdout.chunks_exact(4).map(|word| u32::from_le_bytes(word.try_into().unwrap())).collect()
}

fn expected(artifact: &Artifact, samples: &[Vec<f32>]) -> Vec<u32> {
    let reference = Reference::new(artifact);
    let run = |x: &Vec<f32>| reference.run(x).unwrap().concat();
    samples.iter().flat_map(run).map(f32::to_bits).collect()
}

fn check(artifact: &Artifact, compiler: &str, what: &str) {
    let emitted = emit(artifact, "net").unwrap();
    let mut r = Random(7);
    let odd = [f32::NAN, f32::INFINITY, f32::NEG_INFINITY, 1e30, -0.0, 1e-40];
    let len = artifact.program().input_len();
    let mut value = || if r.once_in(100) { odd[r.below(6) as usize] } else { r.normal() * 1.5 };
    let samples: Vec<Vec<f32>> = (0..3).map(|_| (0..len).map(|_| value()).collect()).collect();
    let bytes: Vec<u8> = samples.iter().flatten().flat_map(|v| v.to_le_bytes()).collect();
    let (found, expected) = (computed(&emitted, artifact, compiler, &bytes, false), expected(artifact, &samples));
    let differs = found.iter().zip(&expected).position(|(a, b)| a != b);
    assert!(found.len() == expected.len() && differs.is_none(), "{what}, {compiler}: differs first at {differs:?}");
}

fn clamp(r: &mut Random) -> [u8; 3] {
    let (a, b) = (r.below(256) as u8, r.below(256) as u8);
    [r.below(256) as u8, a.min(b), if r.once_in(2) { 255 } else { a.max(b) }]
}

fn window(r: &mut Random, [height, width]: [u32; 2], dilated: bool) -> Window {
    let kernel = [r.between(1, 5.min(height + 1)), r.between(1, 5.min(width + 1))];
    let dilation = if dilated && r.once_in(3) { [r.between(1, 2), r.between(1, 3)] } else { [1, 1] };
    let padding = std::array::from_fn(|side| r.below(kernel[side % 2]));
    Window { kernel, stride: [r.between(1, 3), r.between(1, 3)], dilation, padding }
}

/// One random operator on `x`, or `x` where it does not fit.
fn step(r: &mut Random, net: &mut Net, x: TensorId) -> TensorId {
    let [h, w, c] = net.extents(x);
    let clamp = clamp(r);
    match r.below(13) {
        0 => {
            let window = window(r, [h, w], true);
            net.max_pool(x, window)
        }
        1 => {
            let (window, all) = (window(r, [h, w], false), r.once_in(2));
            net.average_pool(x, window, all, clamp[0])
        }
        2 => Some(net.affine(x, clamp)),
        3 => {
            let (gate, kind) = (net.gate(r, x), ArithmeticKind::ALL[r.below(5) as usize]);
            Some(net.arithmetic(r, kind, [x, gate], clamp))
        }
        4 => Some(net.turned(r, x, clamp)),
        5 => Some(net.table(x, clamp[0], c < 20 && r.once_in(2))),
        6 => Some(net.moved(r, x)),
        7 => {
            let other = net.affine(x, clamp);
            let parts = [(x, None), (other, Some(0.5 + r.unit())), (x, None)];
            Some(net.concat_along(r.below(3) as usize, &parts, [clamp[1], clamp[2]]))
        }
        8 => Some(net.fully_connected_rows(r, x)),
        9 => {
            let order = if r.once_in(2) { Order::Same } else { Order::ChannelFirst };
            let slot = net.dequantize_in(x, order);
            Some(net.quantize(slot, [h, w, c], order, clamp[0]))
        }
        _ => {
            let window = window(r, [h, w], true);
            let divisors: Vec<u32> = (1..=c).filter(|d| c % d == 0).collect();
            let groups = match r.below(3) {
                0 => c,
                1 => divisors[r.below(divisors.len() as u32) as usize],
                _ => 1,
            };
            let outputs = if groups == 1 { r.between(1, 20) } else { groups * r.between(1, 2) };
            let bits = BitWidth::new(r.between(2, 8) as u8).unwrap();
            net.conv(x, outputs, window, groups, bits, clamp)
        }
    }
    .unwrap_or(x)
}

fn random_net(seed: u64) -> Artifact {
    let mut r = Random(seed ^ 0xc99);
    let input = [r.between(1, 12), r.between(1, 10), r.between(1, 11)];
    let (mut net, mut x) = Net::new(seed, input, r.below(256) as u8);
    for _ in 0..r.between(2, 6) {
        x = step(&mut r, &mut net, x);
        if net.extents(x).iter().product::<u32>() > 6000 {
            break;
        }
    }
    let bits = BitWidth::new(r.between(2, 8) as u8).unwrap();
    let slot = match r.below(3) {
        0 => net.dequantize(x),
        1 => net.conv_logits(x, 9, net::square(1, 1, 0), 1, bits).unwrap(),
        _ => net.logits(x, r.between(1, 20), bits),
    };
    net.output(slot);
    if r.once_in(4) {
        // One slot twice, and an input that is an output.
        net.output(slot);
        net.output(net.program.inputs[0].1);
    }
    net.artifact()
}

#[test]
fn random_networks_give_the_bytes_of_the_reference() {
    let compilers = compilers();
    for seed in 0..CASES {
        let compiler = compilers[seed as usize % compilers.len()];
        check(&random_net(seed), compiler, &format!("seed {seed}"));
    }
}

#[test]
fn every_width_gives_the_bytes_of_the_reference() {
    for bits in BitWidth::all() {
        let (mut net, x) = Net::new(bits.bits().into(), [5, 9, 8], 117);
        let x = net.conv(x, 14, net::square(3, 1, 1), 1, bits, [9, 0, 255]).unwrap();
        let x = net.conv(x, 14, net::square(3, 2, 1), 14, bits, [7, 7, 255]).unwrap();
        let x = net.fully_connected(x, 33, bits);
        let y = net.logits(x, 7, bits);
        net.output(y);
        let artifact = net.artifact();
        compilers().into_iter().for_each(|compiler| check(&artifact, compiler, &format!("{bits} bits")));
    }
}

#[test]
fn sums_that_wrap_are_defined() {
    let bits = BitWidth::MAX;
    let (mut net, x) = Net::new(1, [3, 4, 4], 200);
    net.extreme = true;
    let x = net.conv(x, 6, net::square(3, 1, 1), 1, bits, [9, 0, 255]).unwrap();
    let y = net.logits(x, 7, bits);
    net.output(y);
    let Net { program, mut constants, weights, .. } = net;
    // Biases at the ends of i32.
    for conv in program.convs() {
        for output in 0..conv.outputs as usize {
            let end = if output % 2 == 0 { i32::MAX } else { i32::MIN };
            let at = conv.constants_offset as usize + 4 * output;
            constants[at..at + 4].copy_from_slice(&end.to_le_bytes());
        }
    }
    let bytes = encode(&ArtifactParts { program, constants, weights, ..ArtifactParts::default() });
    let artifact = Artifact::from_bytes(bytes, LoadOptions::default()).unwrap();
    compilers().into_iter().for_each(|compiler| check(&artifact, compiler, "wrapping sums"));
}

#[test]
fn pixels_give_what_their_values_give() {
    let stated =
        [("preprocessing", "normalize"), ("preprocessing.mean", "0.485,0.456,0.4"), ("preprocessing.std", "0.25")];
    for recorded in [&stated[..], &[("preprocessing", "raw")]] {
        for order in [Order::ChannelFirst, Order::Same] {
            let (mut net, x) = Net::new(3, [3, 7, 6], 117);
            if let Some(releqc_runtime::program::Op::Quantize { order: of, .. }) = net.program.ops.first_mut() {
                *of = order;
            }
            let x = net.conv(x, 8, net::square(3, 1, 1), 1, BitWidth::MIN, [0, 0, 255]).unwrap();
            let y = net.logits(x, 5, BitWidth::MAX);
            net.output(y);
            let Net { program, constants, weights, .. } = net;
            let metadata = recorded.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect();
            let bytes = encode(&ArtifactParts { program, constants, weights, metadata, ..ArtifactParts::default() });
            let artifact = Artifact::from_bytes(bytes, LoadOptions::default()).unwrap();
            let mapping = Pixels::recorded(artifact.metadata()).unwrap();
            let mut r = Random(9);
            let pixels: Vec<u8> = (0..126).map(|_| r.below(256) as u8).collect();
            let channel = |i: usize| if order == Order::Same { i % 3 } else { i / 42 };
            let values = pixels.iter().enumerate().map(|(i, &pixel)| mapping.value(pixel, channel(i))).collect();
            let emitted = emit(&artifact, "net").unwrap();
            assert!(emitted.takes_pixels);
            assert_eq!(computed(&emitted, &artifact, "cc", &pixels, true), expected(&artifact, &[values]));
        }
    }
}

/// Compiles for a Cortex-M core and runs on samples in QEMU, by semihosting.
fn on_board(emitted: &Emitted, artifact: &Artifact, [board, core, floats]: [&str; 3], input: &[u8]) -> Vec<u32> {
    let folder = tempfile::tempdir().unwrap();
    let write = |name: &str, bytes: &[u8]| std::fs::write(folder.path().join(name), bytes).unwrap();
    write("net.h", emitted.header.as_bytes());
    write("net.c", emitted.source.as_bytes());
    write("x.bin", input);
    let embedded = Path::new(env!("CARGO_MANIFEST_DIR")).join("../benches/embedded");
    let outputs: usize = artifact.program().outputs.iter().map(|(port, _)| port.len()).sum();
    let mut command = Command::new("arm-none-eabi-gcc");
    command.args([
        core,
        "-mthumb",
        floats,
        "-std=c99",
        "-Wall",
        "-Wextra",
        "-Werror",
        "-O2",
        "-nostartfiles",
        "-Wl,--gc-sections",
    ]);
    command.args([
        "-ffunction-sections",
        "--specs=rdimon.specs",
        "-DSEMIHOSTING",
        "-DHEADER=\"net.h\"",
        "-DRUN=net_run",
        "-I.",
        "-T",
    ]);
    command.arg(embedded.join("mps2.ld")).args([embedded.join("start.c"), embedded.join("samples.c")]);
    command.args([format!("-DINPUTS={}", artifact.program().input_len()), format!("-DOUTPUTS={outputs}")]);
    let built = command.current_dir(folder.path()).args(["net.c", "-o", "net.elf"]).output().unwrap();
    assert!(built.status.success(), "{board}: {}", String::from_utf8_lossy(&built.stderr));
    let mut qemu = Command::new("qemu-system-arm");
    qemu.args(["-M", board, "-nographic", "-semihosting-config", "enable=on,target=native", "-kernel", "net.elf"]);
    let ran = qemu.current_dir(folder.path()).output().unwrap();
    assert!(ran.status.success(), "{board}: {}", String::from_utf8_lossy(&ran.stderr));
    let bytes = std::fs::read(folder.path().join("y.bin")).unwrap();
    bytes.chunks_exact(4).map(|word| u32::from_le_bytes(word.try_into().unwrap())).collect()
}

/// A core without DSP instructions and float unit, and one with both.
#[test]
fn cores_of_microcontrollers_give_the_bytes_of_the_reference() {
    let works = |name: &&str| Command::new(name).arg("--version").output().is_ok_and(|output| output.status.success());
    if !["arm-none-eabi-gcc", "qemu-system-arm"].iter().all(works) {
        eprintln!("skipped: arm-none-eabi-gcc or qemu-system-arm is not there");
        return;
    }
    let boards = [
        ["mps2-an385", "-mcpu=cortex-m3", "-mfloat-abi=soft"],
        ["mps2-an500", "-mcpu=cortex-m7+nofp.dp", "-mfloat-abi=hard"],
    ];
    for seed in 100..104 {
        let artifact = random_net(seed);
        let mut r = Random(seed);
        let sample: Vec<f32> = (0..artifact.program().input_len()).map(|_| r.normal() * 1.5).collect();
        let bytes: Vec<u8> = sample.iter().flat_map(|v| v.to_le_bytes()).collect();
        let (emitted, expected) = (emit(&artifact, "net").unwrap(), expected(&artifact, &[sample]));
        for board in boards {
            assert_eq!(on_board(&emitted, &artifact, board, &bytes), expected, "seed {seed}, {}", board[0]);
        }
    }
}

#[test]
fn what_has_no_c_is_named() {
    let (mut net, x) = Net::new(3, [3, 4, 4], 7);
    let y = net.logits(x, 5, BitWidth::MAX);
    let first = net.softmax(y, false);
    let second = net.softmax(first, true);
    net.output(second);
    let artifact = net.artifact();
    let error = emit(&artifact, "net").unwrap_err().to_string();
    assert_eq!(error, "emit-c takes operators on codes; this network has 2 softmax");
    assert!(emit(&artifact, "a-b").unwrap_err().to_string().starts_with("name \"a-b\": a letter"));
}
