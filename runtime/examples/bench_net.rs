//! Latency of the eight networks of the paper with random weights, batch 1, from f32 input to f32 output.
//!
//! `bench_net NAME [--bits paper|K|K,K,..] [--isa ISA] [--without F,F] [--threads N] [--table]`; the last line is the median in
//! microseconds.
//! `--against K` compares each layer with the same layer at other widths, `--against-threads N` the whole net with other threads: both
//! in turns in one process. `--loads` times loading from a file, `--batch N` a sample of a batch.

#![allow(clippy::print_stdout, reason = "a program that prints")]

#[path = "../tests/support/net.rs"]
#[allow(dead_code, unreachable_pub, clippy::expect_used, reason = "shared with the tests")]
mod net;

use net::{Net, Random, square};
use releqc_runtime::format::{Artifact, ArtifactParts, encode};
use releqc_runtime::program::{Op, TensorId, Window};
use releqc_runtime::{BitWidth, Session, SessionOptions};
use std::error::Error;
use std::time::{Duration, Instant};

const RELU: [u8; 3] = [0, 0, 255];
const SIGNED: [u8; 3] = [128, 0, 255];

/// Widths in layer order; the last one repeats.
struct Widths(Vec<u8>, usize);

impl Widths {
    fn next(&mut self) -> BitWidth {
        let bits = self.0[self.1.min(self.0.len() - 1)];
        self.1 += 1;
        BitWidth::new(bits).unwrap_or(BitWidth::MAX)
    }
}

fn paper(name: &str) -> Option<&'static [u8]> {
    Some(match name {
        "lenet" => &[2, 2, 3, 2],
        "simplenet" => &[5],
        "svhn10" => &[8, 4, 4, 4, 4, 4, 4, 4, 4, 8],
        "resnet20" => &[8, 2, 2, 3, 2, 2, 2, 3, 2, 3, 3, 3, 2, 2, 2, 3, 2, 2, 2, 2, 2, 8],
        "vgg11" => &[8, 5, 8, 5, 6, 6, 6, 6, 8],
        "vgg16" => &[8, 8, 8, 6, 8, 6, 8, 6, 8, 6, 8, 6, 8, 6, 8, 8],
        "alexnet" => &[8, 4, 4, 4, 4, 4, 4, 8],
        "mobilenet" => &[8, 5, 6, 6, 4, 4, 7, 8, 4, 6, 8, 5, 5, 8, 6, 7, 7, 7, 6, 8, 6, 8, 8, 6, 7, 5, 5, 7],
        _ => return None,
    })
}

/// A net in the making: sequential, with the current tensor.
struct Chain {
    net: Net,
    x: TensorId,
    widths: Widths,
}

impl Chain {
    fn new(shape: [u32; 3], widths: Widths) -> Self {
        let (mut net, x) = Net::new(1, shape, 128);
        net.normal = true;
        Chain { net, x, widths }
    }

    fn windowed(&mut self, outputs: u32, window: Window, groups: u32, clamp: [u8; 3]) {
        let bits = self.widths.next();
        if let Some(y) = self.net.conv(self.x, outputs, window, groups, bits, clamp) {
            self.x = y;
        }
    }

    fn conv(&mut self, outputs: u32, kernel: u32, stride: u32) {
        self.windowed(outputs, square(kernel, stride, kernel / 2), 1, RELU);
    }

    fn max_pool(&mut self, kernel: u32, stride: u32) {
        if let Some(y) = self.net.max_pool(self.x, square(kernel, stride, 0)) {
            self.x = y;
        }
    }

    fn global_pool(&mut self) {
        let [h, w, _] = self.net.extents(self.x);
        let window = Window { kernel: [h, w], ..square(1, 1, 0) };
        if let Some(y) = self.net.average_pool(self.x, window, false, 0) {
            self.x = y;
        }
    }

    fn fc(&mut self, outputs: u32) {
        let bits = self.widths.next();
        self.x = self.net.fully_connected(self.x, outputs, bits);
    }

    fn finish(mut self, outputs: u32) -> Artifact {
        let bits = self.widths.next();
        let y = self.net.logits(self.x, outputs, bits);
        self.net.output(y);
        self.net.artifact()
    }
}

fn build(name: &str, widths: Vec<u8>) -> Option<Artifact> {
    let chain = |shape| Chain::new(shape, Widths(widths, 0));
    let vgg = |mut n: Chain, plan: &[u32], hidden: &[u32]| {
        for &item in plan {
            if item == 0 { n.max_pool(2, 2) } else { n.conv(item, 3, 1) }
        }
        hidden.iter().for_each(|&width| n.fc(width));
        n.finish(10)
    };
    Some(match name {
        "lenet" => {
            let mut n = chain([1, 28, 28]);
            for outputs in [20, 50] {
                n.windowed(outputs, square(5, 1, 0), 1, SIGNED);
                n.max_pool(2, 2);
            }
            n.fc(500);
            n.finish(10)
        }
        "simplenet" => {
            let mut n = chain([3, 32, 32]);
            for outputs in [6, 16] {
                n.windowed(outputs, square(5, 1, 0), 1, RELU);
                n.max_pool(2, 2);
            }
            n.fc(120);
            n.fc(84);
            n.finish(10)
        }
        "svhn10" => vgg(chain([3, 32, 32]), &[32, 32, 0, 64, 64, 0, 128, 128, 128, 0, 256, 256, 0], &[]),
        "resnet20" => {
            let mut n = chain([3, 32, 32]);
            n.conv(16, 3, 1);
            for (stage, channels) in [16, 32, 64].into_iter().enumerate() {
                for block in 0..3 {
                    let stride = if stage > 0 && block == 0 { 2 } else { 1 };
                    let entry = n.x;
                    n.conv(channels, 3, stride);
                    n.windowed(channels, square(3, 1, 1), 1, SIGNED);
                    let main = n.x;
                    n.x = entry;
                    if stride == 2 {
                        n.windowed(channels, square(1, 2, 0), 1, SIGNED);
                    }
                    n.x = n.net.add(main, n.x, RELU);
                }
            }
            n.global_pool();
            n.finish(10)
        }
        "vgg11" => vgg(chain([3, 32, 32]), &[64, 0, 128, 0, 256, 256, 0, 512, 512, 0, 512, 512, 0], &[]),
        "vgg16" => vgg(
            chain([3, 32, 32]),
            &[64, 64, 0, 128, 128, 0, 256, 256, 256, 0, 512, 512, 512, 0, 512, 512, 512, 0],
            &[512, 512],
        ),
        "alexnet" => {
            let mut n = chain([3, 224, 224]);
            n.windowed(64, square(11, 4, 2), 1, RELU);
            n.max_pool(3, 2);
            n.conv(192, 5, 1);
            n.max_pool(3, 2);
            n.conv(384, 3, 1);
            n.conv(256, 3, 1);
            n.conv(256, 3, 1);
            n.max_pool(3, 2);
            n.fc(4096);
            n.fc(4096);
            n.finish(1000)
        }
        "mobilenet" => {
            let mut n = chain([3, 224, 224]);
            n.conv(32, 3, 2);
            let mut plan = vec![(64, 1), (128, 2), (128, 1), (256, 2), (256, 1), (512, 2)];
            plan.extend([(512, 1); 5]);
            plan.extend([(1024, 2), (1024, 1)]);
            for (channels, stride) in plan {
                let inputs = n.net.extents(n.x)[2];
                n.windowed(inputs, square(3, stride, 1), inputs, RELU);
                n.conv(channels, 1, 1);
            }
            n.global_pool();
            n.finish(1000)
        }
        _ => return None,
    })
}

fn median(times: &mut [Duration]) -> f64 {
    times.sort_unstable();
    times[times.len() / 2].as_secs_f64() * 1e6
}

fn print_table(session: &mut Session, x: &[f32]) -> Result<(), Box<dyn Error>> {
    let times = session.profile(x, 30)?;
    let program = session.artifact().program().clone();
    let total: f64 = times.iter().map(Duration::as_secs_f64).sum();
    println!("{:>9} {:>5} {:>4} {:>8} {:>8}  operator", "us", "share", "bits", "GMAC/s", "GB/s");
    for (op, time) in program.ops.iter().zip(&times) {
        let seconds = time.as_secs_f64();
        let share = 100.0 * seconds / total;
        match op {
            Op::Conv(conv) => {
                let x = program.tensor(conv.x);
                let [h, w] = program.conv_output(conv);
                let bytes = session.artifact().weight_range(conv).len() as f64;
                println!(
                    "{:9.2} {share:4.1}% {:>4} {:8.1} {:8.2}  {} {}x{}x{} -> {h}x{w}x{} kernel {:?} groups {}",
                    seconds * 1e6,
                    conv.bits.bits(),
                    program.macs(conv) as f64 / seconds / 1e9,
                    bytes / seconds / 1e9,
                    op.label(),
                    x.height,
                    x.width,
                    x.channels,
                    conv.outputs,
                    conv.window.kernel,
                    conv.groups,
                );
            }
            _ => println!("{:9.2} {share:4.1}% {:>4} {:>8} {:>8}  {}", seconds * 1e6, "", "", "", op.label()),
        }
    }
    println!("{:9.2} sum", total * 1e6);
    Ok(())
}

/// Turns of a comparison, and runs of a turn.
const TURNS: usize = 25;
const RUNS: usize = 8;

/// The time below which a tenth of `times` lies: what the machine does in quiet moments.
fn quiet(times: &mut [Duration]) -> f64 {
    times.sort_unstable();
    times[times.len() / 10].as_secs_f64() * 1e6
}

/// Each layer at its width and at that of `other`.
fn compare_layers(session: &mut Session, other: &mut Session, x: &[f32]) -> Result<(), Box<dyn Error>> {
    let program = session.artifact().program().clone();
    let others: Vec<u8> = other.artifact().program().convs().map(|conv| conv.bits.bits()).collect();
    let mut times = vec![[Vec::new(), Vec::new()]; program.ops.len()];
    for _ in 0..TURNS {
        for (side, session) in [&mut *session, &mut *other].into_iter().enumerate() {
            for (times, time) in times.iter_mut().zip(session.profile(x, RUNS)?) {
                times[side].push(time);
            }
        }
    }
    println!("{:>4} {:>9} {:>4} {:>9} {:>6}  layer", "bits", "us", "bits", "us", "faster");
    let convs = program.ops.iter().zip(&mut times).filter_map(|(op, times)| match op {
        Op::Conv(conv) => Some((conv, times)),
        _ => None,
    });
    for ((conv, times), bits) in convs.zip(others) {
        let [own, others] = times;
        let (own, others) = (quiet(own), quiet(others));
        let (x, [h, w]) = (program.tensor(conv.x), program.conv_output(conv));
        println!(
            "{:>4} {own:9.2} {bits:>4} {others:9.2} {:6.2}  {}x{}x{} -> {h}x{w}x{} kernel {:?} groups {}",
            conv.bits.bits(),
            others / own,
            x.height,
            x.width,
            x.channels,
            conv.outputs,
            conv.window.kernel,
            conv.groups,
        );
    }
    Ok(())
}

/// The whole net in two sessions.
fn compare_runs(session: &mut Session, other: &mut Session, x: &[f32]) -> Result<(), Box<dyn Error>> {
    let mut y = vec![0.0; session.output_len()];
    let mut times = [Vec::new(), Vec::new()];
    let start = Instant::now();
    while start.elapsed() < Duration::from_secs(4) {
        for (times, session) in times.iter_mut().zip([&mut *session, &mut *other]) {
            for _ in 0..3 {
                let begin = Instant::now();
                session.run(x, &mut y)?;
                times.push(begin.elapsed());
            }
        }
    }
    let [own, others] = &mut times;
    let middle = [median(own), median(others)];
    // Both cores are seldom free on a shared machine: the best hundredth, which leaves out single flukes.
    let [best, others_best] = [&*own, others].map(|times| times[times.len() / 100].as_secs_f64() * 1e6);
    println!("{} threads {best:.1} us, {} threads {others_best:.1} us", session.threads(), other.threads());
    println!("{:.2} times as fast at best, {:.2} by medians", others_best / best, middle[1] / middle[0]);
    Ok(())
}

/// Writes the artifact to a file and loads it again and again: every byte is verified, then the net is planned.
fn print_loads(artifact: &Artifact, options: SessionOptions) -> Result<(), Box<dyn Error>> {
    let bytes = encode(&ArtifactParts {
        program: artifact.program().clone(),
        constants: artifact.constants_section().to_vec(),
        weights: artifact.weights_section().to_vec(),
        ..ArtifactParts::default()
    });
    let path = std::env::temp_dir().join(format!("bench_net-{}.rq", std::process::id()));
    std::fs::write(&path, &bytes)?;
    let (mut opened, mut planned) = (Vec::new(), Vec::new());
    for _ in 0..20 {
        let start = Instant::now();
        let artifact = Artifact::open(&path)?;
        opened.push(start.elapsed());
        let start = Instant::now();
        Session::new(&artifact, options)?;
        planned.push(start.elapsed());
    }
    std::fs::remove_file(&path)?;
    println!("{:.1} MB, milliseconds: opened and verified, planned", bytes.len() as f64 / 1e6);
    for (name, times) in [("opened", &mut opened), ("planned", &mut planned)] {
        let middle = median(times) / 1e3;
        println!("{name}: {middle:.2} median, {:.2} least", times[0].as_secs_f64() * 1e3);
    }
    Ok(())
}

fn main() -> Result<(), Box<dyn Error>> {
    let mut arguments = std::env::args().skip(1);
    let name = arguments.next().ok_or("usage: bench_net NAME [--bits ..] [--isa ..] [--threads N] [--table]")?;
    let (mut bits, mut options, mut table) = ("paper".to_owned(), SessionOptions::default(), false);
    let (mut against, mut against_threads, mut loads, mut batch) = (None, None, false, None);
    while let Some(flag) = arguments.next() {
        let mut value = || arguments.next().ok_or(format!("{flag} needs a value"));
        match flag.as_str() {
            "--bits" => bits = value()?,
            "--isa" => options.isa = Some(value()?.parse()?),
            "--without" => options.without = value()?.parse()?,
            "--threads" => options.threads = value()?.parse()?,
            "--table" => table = true,
            "--batch" => batch = Some(value()?.parse()?),
            "--loads" => loads = true,
            "--against" => against = Some(value()?),
            "--against-threads" => against_threads = Some(value()?.parse()?),
            other => return Err(format!("unknown flag {other}").into()),
        }
    }
    let network = |bits: &str| -> Result<Artifact, Box<dyn Error>> {
        let widths = match bits {
            "paper" => paper(&name).ok_or("unknown network")?.to_vec(),
            list => list.split(',').map(str::parse).collect::<Result<_, _>>()?,
        };
        Ok(build(&name, widths).ok_or("unknown network")?)
    };
    let artifact = network(&bits)?;
    if loads {
        return print_loads(&artifact, options);
    }
    let start = Instant::now();
    let mut session = Session::new(&artifact, options)?;
    let planned = start.elapsed();
    let mut random = Random(1);
    let x: Vec<f32> = (0..session.input_len()).map(|_| random.normal()).collect();
    let mut y = vec![0.0; session.output_len()];
    session.run(&x, &mut y)?;
    if let Some(bits) = against {
        return compare_layers(&mut session, &mut Session::new(&network(&bits)?, options)?, &x);
    }
    if let Some(samples) = batch {
        let mut session = Session::for_batches(&artifact, options, samples)?;
        let (x, mut y) = (x.repeat(samples), vec![0.0; samples * session.output_len()]);
        let mut times: Vec<Duration> = Vec::new();
        for _ in 0..30 {
            let begin = Instant::now();
            session.run_batch(&x, &mut y)?;
            times.push(begin.elapsed() / samples as u32);
        }
        let middle = median(&mut times);
        println!("{middle:.2} us a sample, {:.2} at best", times[0].as_secs_f64() * 1e6);
        return Ok(());
    }
    if let Some(threads) = against_threads {
        let mut other = Session::new(&artifact, SessionOptions { threads, ..options })?;
        let compare = if table { compare_layers } else { compare_runs };
        return compare(&mut session, &mut other, &x);
    }
    if table {
        println!("isa {}, planned in {:.1} ms", session.isa(), planned.as_secs_f64() * 1e3);
        print_table(&mut session, &x)?;
    }
    let (mut times, start) = (Vec::new(), Instant::now());
    while start.elapsed() < Duration::from_millis(400) || times.len() < 5 {
        let begin = Instant::now();
        session.run(&x, &mut y)?;
        times.push(begin.elapsed());
    }
    let middle = median(&mut times);
    if table {
        println!("{:9.2} minimum", times[0].as_secs_f64() * 1e6);
    }
    println!("{middle:.2}");
    Ok(())
}
