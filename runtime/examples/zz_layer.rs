//! scratch
#![allow(clippy::all, missing_docs, warnings, unsafe_code)]
#[path = "../tests/support/net.rs"]
mod net;
use net::{Net, Random, square};
use releqc_runtime::{BitWidth, Session, SessionOptions};
fn main() {
    let a: Vec<String> = std::env::args().skip(1).collect();
    let n = |i: usize| a[i].parse::<u32>().unwrap();
    let (h, w, c, o, k) = (n(0), n(1), n(2), n(3), n(4));
    let bits: Vec<u8> = a[5].split(',').map(|v| v.parse().unwrap()).collect();
    let isa = a.get(6).map(|v| v.parse().unwrap());
    let packs: Vec<String> = a.get(7).map(|s| s.split(',').map(str::to_owned).collect()).unwrap_or(vec![
        "0".into(),
        "64".into(),
        "auto".into(),
    ]);
    let mut sessions = vec![];
    for &b in &bits {
        for p in &packs {
            let (mut net, x) = Net::new(1, [c, h, w], 128);
            net.normal = true;
            let y = net.conv(x, o, square(k, 1, k / 2), 1, BitWidth::new(b).unwrap(), [0, 0, 255]).unwrap();
            let z = net.dequantize(y);
            net.output(z);
            let art = net.artifact();
            use releqc_runtime::session::WeightLayout::*;
            let s = Session::with_weights(
                &art,
                SessionOptions { isa, threads: 1 },
                match p.as_str() {
                    "0" => Widened,
                    "64" => Packed,
                    _ => Fastest,
                },
            )
            .unwrap();
            sessions.push((b, p.clone(), s, vec![]));
        }
    }
    let mut r = Random(1);
    let x: Vec<f32> = (0..sessions[0].2.input_len()).map(|_| r.normal()).collect();
    for _ in 0..40 {
        for (_, _, s, t) in &mut sessions {
            t.push(s.profile(&x, 10).unwrap()[1].as_secs_f64() * 1e6);
        }
    }
    let tiles = (k * k * c).div_ceil(4) as f64 * o.div_ceil(16) as f64;
    for (b, p, _, t) in &mut sessions {
        t.sort_by(f64::total_cmp);
        println!("k{b} pack {p:>2}: {:8.2} us low, {:8.2} med, {:.2} ns/tile", t[4], t[20], t[4] * 1e3 / tiles);
    }
}
